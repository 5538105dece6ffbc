"""What a replica takes over is what was written, and it counts and looks up as numpy would, field by field."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.replica_rows import copy_scanned, take_headers, take_neighbours
from state.codec import bytes_of, on_disk, runs_of
from state.idmap import IdMap
from state.layout import ENTITY_HEADER, ENTITY_NEIGHBOURS, KIND_CATEGORY, KIND_ITEM, N_FACTORS, N_SLOTS, NEIGHBOUR_PAGE
from state.slab import Slab

LEARNED = ("target", "context", "bias", "n", "n_events", "popularity", "kind")


def headers_of(seed: int, n: int) -> np.ndarray:
    """Return headers of items and categories with random content."""
    rng = np.random.default_rng(seed)
    headers = np.zeros(n, ENTITY_HEADER)
    headers["kind"] = rng.choice([KIND_ITEM, KIND_CATEGORY], n)
    headers["n"] = rng.integers(0, 3, n)
    headers["target"], headers["bias"] = rng.normal(size=(n, N_FACTORS)), rng.normal(size=n)
    headers["heads"], headers["tick"] = rng.integers(0, 9, headers["heads"].shape), rng.integers(0, 9, n)
    return headers


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.data())
def test_headers_are_taken_and_counted(seed: int, n: int, data: st.DataObject) -> None:
    """Learned fields are the new ones, those of memory stay; totals are those of items, changes those of all rows."""
    rows = np.array(data.draw(st.permutations(range(n))), np.int32)[: data.draw(st.integers(1, n))]
    mine, theirs = headers_of(seed, n), headers_of(seed + 1, n)
    theirs["kind"] = mine["kind"]
    before = mine.copy()
    changes, totals = np.zeros(rows.size, np.float64), np.array([5.0, 7.0, 9.0])
    values = on_disk(theirs, rows)
    take_headers(mine, bytes_of(mine), values, rows, runs_of(ENTITY_HEADER), changes, totals)
    for name in LEARNED:
        assert (mine[name][rows] == theirs[name][rows]).all()
    for name in ("heads", "tick", "dirty"):
        assert (mine[name] == before[name]).all()
    untouched = np.setdiff1d(np.arange(n), rows)
    assert mine[untouched].tobytes() == before[untouched].tobytes()
    more = theirs["n"][rows].astype(np.float64) - before["n"][rows]
    items = theirs["kind"][rows] == KIND_ITEM
    assert (changes == more).all()
    assert totals[0] == 5.0 + more[items].sum()
    assert totals[1] == 7.0 + np.count_nonzero(items & (before["n"][rows] == 0) & (theirs["n"][rows] > 0))
    assert totals[2] == 9.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_only_rows_on_the_list_are_copied_to_it(seed: int, n: int) -> None:
    """Factors and biases stand at their places; rows that are not listed, or newer than the list, are passed over."""
    rng = np.random.default_rng(seed)
    headers = headers_of(seed, n + 2)
    listed = rng.permutation(n)[: rng.integers(1, n + 1)]
    place = np.full(n, -1, np.int32)
    place[listed] = np.arange(listed.size)
    factors = np.zeros((N_FACTORS + 1, listed.size), np.float32)
    copy_scanned(headers, place, np.arange(n + 2, dtype=np.int32), factors)
    assert (factors[:N_FACTORS] == headers["target"][listed].T).all()
    assert (factors[N_FACTORS] == headers["bias"][listed]).all()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4))
def test_pages_of_neighbours_are_taken_and_their_rows_found(seed: int, n_rows: int, n_rounds: int) -> None:
    """Each page is where its row and number say; a slot has its neighbour's row, and ids without one are told."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 2**63, 40).astype(np.uint64)
    index = IdMap()
    index.put_many(ids[:30], np.arange(30, dtype=np.int32))
    headers, slab = np.zeros(n_rows, ENTITY_HEADER), Slab(NEIGHBOUR_PAGE)
    slab.take()
    slab.reserve(64)
    held: dict[tuple[int, int], np.ndarray] = {}
    for _ in range(n_rounds):
        rows = rng.permutation(n_rows).astype(np.int32)
        numbers = rng.integers(0, 3, n_rows).astype(np.int32)
        written = np.zeros(n_rows, NEIGHBOUR_PAGE)
        written["ids"] = rng.choice(np.append(ids, np.uint64(0)), (n_rows, N_SLOTS))
        written["weights"] = rng.random((n_rows, N_SLOTS))
        unknown, where = np.empty(N_SLOTS * n_rows, np.uint64), np.empty((N_SLOTS * n_rows, 2), np.int32)
        n_unknown = take_neighbours(
            headers, slab.records, bytes_of(slab.records), slab.free, slab.n_free, index.keys, index.rows,
            on_disk(written, np.arange(n_rows, dtype=np.int32)), rows, numbers, runs_of(NEIGHBOUR_PAGE), unknown, where,
        )  # fmt: skip
        for found, (page, slot) in zip(unknown[:n_unknown], where[:n_unknown], strict=True):
            assert index.get(int(found)) < 0
            assert slab.records["ids"][page, slot] == found
        held |= {(int(row), int(number)): page for row, number, page in zip(rows, numbers, written, strict=True)}
    for (row, number), page in held.items():
        at = int(headers["heads"][row, ENTITY_NEIGHBOURS])
        for _ in range(number):
            at = int(slab.records["next"][at])
        kept = slab.records[at]
        assert (kept["ids"] == page["ids"]).all()
        assert (kept["weights"] == page["weights"]).all()
        known = np.isin(page["ids"], ids[:30])
        assert (kept["rows"][known] == index.get_many(page["ids"][known])).all()
        assert (kept["rows"][page["ids"] == 0] == 0).all()
