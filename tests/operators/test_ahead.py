"""What a worker has learned and not committed stands in its replica's rows until pages that hold it take over."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.ahead import AHEAD, DOUBTFUL, add_learned
from operators.arrays import ACCUMULATOR
from operators.items import apply_contexts, apply_counts, apply_targets
from operators.replica_rows import take_headers
from state.arrays import Rows
from state.codec import bytes_of, on_disk, runs_of
from state.layout import ENTITY_HEADER, KIND_CATEGORY, KIND_ITEM, N_FACTORS, N_POPULARITIES
from state.updates import COUNTS

RATE, NOW_S = 0.1, 900_000
OF_PAGES = ("n_neighbours", "n_pages", "named")


def rows_of(seed: int, n: int) -> Rows:
    """Return rows of items and categories that have learned something."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, ENTITY_HEADER)
    rows["kind"] = rng.choice([KIND_ITEM, KIND_CATEGORY], n)
    rows["target"], rows["context"] = rng.normal(size=(2, n, N_FACTORS))
    rows["target_g"], rows["context_g"], rows["bias_g"], rows["blend_bias_g"] = 1.0 + rng.random((4, n))
    rows["popularity"] = rng.random((n, N_POPULARITIES))
    rows["t_s"] = rng.integers(NOW_S - 9_000, NOW_S + 9_000, n)
    rows["n"], rows["n_events"] = rng.integers(0, 3, n), rng.integers(3, 9, n)
    return rows


def batch_of(seed: int, n: int) -> Rows:
    """Return a batch's sums, a record for each of the rows in some order."""
    rng = np.random.default_rng(seed)
    records = np.zeros(n, ACCUMULATOR)
    records["row"] = rng.permutation(n)
    for name in ("target", "context"):
        records[name], records[f"{name}_sq"] = rng.normal(size=(n, N_FACTORS)), rng.random(n)
        records[f"has_{name}"] = 1
    for name in ("bias", "blend_bias"):
        records[name], records[f"{name}_sq"] = rng.normal(size=n), rng.random(n)
    records["popularity"], records["cooc_count"] = rng.random((n, N_POPULARITIES)), rng.random(n)
    records["n"], records["n_repeat"], records["n_events"] = rng.integers(0, 5, (3, n))
    return records


def learned(rows: Rows, batch: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Add a batch to rows; return the changes and the totals, which were 0."""
    changes, totals = np.zeros(batch.size), np.zeros(3)
    category_of_row = np.where(rows["kind"] == KIND_CATEGORY, 0, -1).astype(np.int32)
    add_learned(rows, category_of_row, batch, NOW_S, RATE, changes, totals)
    return changes, totals


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_rows_learn_what_the_item_stage_will_write(seed: int, n: int) -> None:
    """All learned fields are what its kernels make of the same sums; what is of pages and of memory stays."""
    mine, batch = rows_of(seed, n), batch_of(seed + 1, n)
    theirs = mine.copy()
    changes, totals = learned(mine, batch)
    counts, at = np.zeros(n, COUNTS), batch["row"].copy()
    for name in set(COUNTS.names) & set(ACCUMULATOR.names):
        counts[name] = batch[name]
    counts["kind"] = theirs["kind"][at]
    before = theirs["n"].copy()
    apply_counts(theirs, at, counts, NOW_S, RATE)
    apply_targets(theirs, at, batch["target"].copy(), batch["target_sq"].copy(), RATE)
    apply_contexts(theirs, at, batch["context"].copy(), batch["context_sq"].copy(), RATE)
    assert (mine["ahead"] == AHEAD).all()
    mine["ahead"] = 0
    assert mine.tobytes() == theirs.tobytes()
    items = theirs["kind"] == KIND_ITEM
    assert (changes == batch["n"]).all()
    assert totals[0] == (theirs["n"] - before)[items].sum()
    assert totals[1] == np.count_nonzero(items & (before == 0) & (theirs["n"] > 0))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_an_older_page_does_not_take_a_row_that_is_ahead(seed: int, n: int) -> None:
    """It brings what tells of its pages of neighbours; one with as many events replaces the row, or one in doubt."""
    rng = np.random.default_rng(seed)
    mine, page = rows_of(seed, n), rows_of(seed + 2, n)
    mine["ahead"] = rng.choice([0, AHEAD, DOUBTFUL], n)
    was = mine["ahead"].copy()
    learned(mine, batch_of(seed + 1, n))
    assert np.array_equal(mine["ahead"], np.maximum(was, AHEAD))
    page["kind"], page["n"], page["n_events"] = mine["kind"], rng.integers(0, 8, n), rng.integers(0, 12, n)
    page["n_neighbours"], page["named"] = rng.integers(0, 64, n), 1
    page["n_pages"] = rng.integers(0, 4, page["n_pages"].shape)
    before, rows = mine.copy(), np.arange(n, dtype=np.int32)
    changes = np.zeros(n)
    take_headers(mine, bytes_of(mine), on_disk(page, rows), rows, runs_of(ENTITY_HEADER), changes, np.zeros(3))
    older = (before["ahead"] == AHEAD) & (page["n"] + page["n_events"] < before["n"] + before["n_events"])
    for name in ("target", "context", "bias", "popularity", "n", "n_events", "t_s"):
        assert np.array_equal(mine[name][older], before[name][older])
        assert np.array_equal(mine[name][~older], page[name][~older])
    for name in OF_PAGES:
        assert np.array_equal(mine[name], page[name])
    assert np.array_equal(mine["ahead"], older)
    more = page["n"].astype(float) - before["n"].astype(float)
    assert np.array_equal(changes, np.where(older, 0.0, more))
