"""Invariants of the line of blocks that shows how a number went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.sparkline import BLOCKS, sparkline


@given(st.lists(st.floats(min_value=0.0, max_value=1e9), max_size=80), st.none() | st.integers(0, 100))
def test_a_higher_value_never_has_a_lower_block(values: list[float], columns: int | None) -> None:
    """One block for each of the newest values, and the highest block for the highest of them."""
    line = sparkline(values, columns)
    shown = values if columns is None else values[len(values) - min(columns, len(values)) :]
    assert len(line) == len(shown)
    ranked = sorted(zip(shown, map(BLOCKS.index, line), strict=True))
    assert [block for _, block in ranked] == sorted(block for _, block in ranked)
    if any(shown):
        assert line[shown.index(max(shown))] == BLOCKS[-1]
