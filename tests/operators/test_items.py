"""The single writer of items: tables of neighbours, counts, decay and steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.items import MOST_COUNTED, apply_contexts, apply_counts, apply_pairs, apply_targets
from operators.params import MAX_NEIGHBOURS
from state.layout import ENTITY_HEADER, ENTITY_PAGES
from state.table import RowTable
from state.updates import COUNTS

PAIRS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 100), st.floats(0.01, 10.0)), max_size=300)


def neighbours_of(table: RowTable, row: int) -> dict[int, float]:
    """Return a row's table as a dict."""
    header = table.headers.records[row]
    out: dict[int, float] = {}
    at, left = int(header["heads"][0]), int(header["n_neighbours"])
    while at > 0 and left > 0:
        page = table.pages[0].records[at]
        out |= dict(zip(page["ids"][:left].tolist(), page["weights"][:left].tolist(), strict=False))
        left -= 16
        at = int(page["next"])
    return out


def apply(table: RowTable, rows: np.ndarray, pairs: list[tuple[int, int, float]]) -> None:
    """Run the kernel over ``(row number - 1, other, weight)`` triples."""
    slab = table.pages[0]
    slab.reserve(64)
    apply_pairs(
        table.headers.records,
        slab.records,
        slab.free,
        slab.n_free,
        np.array([rows[a - 1] for a, _, _ in pairs], np.int32),
        np.array([b for _, b, _ in pairs], np.uint64),
        np.array([w for _, _, w in pairs], np.float32),
    )


@given(PAIRS)
def test_pairs_add_up(pairs: list[tuple[int, int, float]]) -> None:
    """As long as a table is not full, every weight is there; a full one stays distinct, bounded and finite."""
    table = RowTable(ENTITY_HEADER, ENTITY_PAGES)
    rows, _ = table.ensure(np.array([1, 2, 3], np.uint64), None)
    apply(table, rows, pairs)
    for number, row in enumerate(rows.tolist(), 1):
        wanted: dict[int, float] = {}
        for a, b, weight in pairs:
            if a == number:
                wanted[b] = wanted.get(b, 0.0) + weight
        got = neighbours_of(table, row)
        assert len(got) <= MAX_NEIGHBOURS
        assert all(np.isfinite(w) for w in got.values())
        if len(wanted) <= MAX_NEIGHBOURS:
            assert got.keys() == wanted.keys()
            assert all(np.isclose(got[k], wanted[k], rtol=1e-4) for k in wanted)


def test_full_table_replaces_the_smallest() -> None:
    """A new neighbour takes the place of the smallest weight only if it weighs at least as much."""
    table = RowTable(ENTITY_HEADER, ENTITY_PAGES)
    rows, _ = table.ensure(np.array([1], np.uint64), None)
    apply(table, rows, [(1, b, float(b)) for b in range(1, MAX_NEIGHBOURS + 1)])
    apply(table, rows, [(1, 1000, 0.5)])
    assert 1000 not in neighbours_of(table, int(rows[0]))
    apply(table, rows, [(1, 1001, 1.5)])
    got = neighbours_of(table, int(rows[0]))
    assert 1001 in got
    assert 1 not in got


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0.0, 5.0)), min_size=1, max_size=20))
def test_popularity_is_order_free(updates: list[tuple[int, float]]) -> None:
    """Late updates count with what is left of them: the order of arrival changes nothing but rounding."""

    def run(order: list[tuple[int, float]]) -> np.ndarray:
        headers = np.zeros(1, ENTITY_HEADER)
        for t_s, weight in order:
            counts = np.zeros(1, COUNTS)
            counts["popularity"] = weight
            counts["n"] = 1
            apply_counts(headers, np.zeros(1, np.int32), counts, t_s, 0.1)
        return headers

    forward, backward = run(updates), run(updates[::-1])
    assert forward["t_s"] == backward["t_s"] == max(t for t, _ in updates)
    assert forward["n"] == len(updates)
    assert np.allclose(forward["popularity"], backward["popularity"], rtol=1e-3, atol=1e-6)


@given(st.floats(1e-3, 50) | st.floats(-50, -1e-3), st.floats(1e-6, 1e4))
def test_a_step_is_bounded(gradient: float, square: float) -> None:
    """An Adagrad step goes against the gradient and stays finite; a broken square leaves the row alone."""
    headers = np.zeros(1, ENTITY_HEADER)
    headers["target_g"] = 1e-3
    rows = np.zeros(1, np.int32)
    gradients = np.full((1, 32), gradient, np.float32)
    apply_targets(headers, rows, gradients, np.array([np.nan], np.float32), 0.1)
    assert not headers["target"].any()
    apply_targets(headers, rows, gradients, np.array([square], np.float32), 0.1)
    assert np.isfinite(headers["target"]).all()
    assert np.all(np.sign(headers["target"]) == -np.sign(np.float32(gradient)))


@given(st.floats(1e-3, 50) | st.floats(-50, -1e-3), st.floats(1e-6, 1e4))
def test_context_steps_are_those_of_targets(gradient: float, square: float) -> None:
    """The context factors make the same step as the target factors, and touch nothing else of the row."""
    headers = np.zeros(2, ENTITY_HEADER)
    headers["target_g"] = headers["context_g"] = 1e-3
    gradients, squares = np.full((1, 32), gradient, np.float32), np.array([square], np.float32)
    apply_targets(headers, np.array([0], np.int32), gradients, squares, 0.1)
    apply_contexts(headers, np.array([1], np.int32), gradients, squares, 0.1)
    assert np.array_equal(headers["target"][0], headers["context"][1])
    assert headers["target_g"][0] == headers["context_g"][1]
    assert not headers["context"][0].any()
    assert not headers["target"][1].any()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=20))
def test_counts_add_up(updates: list[tuple[int, int]]) -> None:
    """Counts are sums, whatever the order; biases without a gradient stay."""
    headers = np.zeros(1, ENTITY_HEADER)
    for n, n_repeat in updates:
        counts = np.zeros(1, COUNTS)
        counts["n"], counts["n_repeat"], counts["n_events"] = n, n_repeat, n + 1
        apply_counts(headers, np.zeros(1, np.int32), counts, 1000, 0.1)
    assert headers["n"][0] == sum(n for n, _ in updates)
    assert headers["n_repeat"][0] == sum(r for _, r in updates)
    assert headers["n_events"][0] == sum(n + 1 for n, _ in updates)
    assert headers["bias"][0] == headers["blend_bias"][0] == 0.0


def test_counts_go_on_at_the_end_of_their_range() -> None:
    """Who has had 2 thousand million events goes on from half of them: no count wraps, and their ratios stay."""
    headers = np.zeros(1, ENTITY_HEADER)
    headers["n"], headers["n_repeat"], headers["n_events"], headers["log_gaps"] = MOST_COUNTED - 5, 4e8, 2e9, 1e9
    counts = np.zeros(1, COUNTS)
    counts["n"], counts["n_repeat"], counts["n_events"], counts["log_gaps"] = 10, 4, 12, 8.0
    apply_counts(headers, np.zeros(1, np.int32), counts, 1000, 0.1)
    found = headers[0]
    assert (found["n"], found["n_repeat"], found["n_events"]) == (MOST_COUNTED // 2 - 2 + 10, 2e8 + 4, 1e9 + 12)
    assert found["log_gaps"] == pytest.approx(5e8)
    before = found.copy()
    apply_counts(headers, np.zeros(1, np.int32), counts, 1000, 0.1)
    assert headers["n"][0] == before["n"] + 10
