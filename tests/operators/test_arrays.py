"""Scratch space and accumulators begin empty, sized as asked."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.arrays import ACCUMULATOR, new_accumulators, new_work
from tests.operators.world import is_clear


@given(st.integers(1, 5_000), st.integers(1, 300))
def test_scratch_space_begins_clear(n_rows: int, n_categories: int) -> None:
    """Nothing is marked, and every row and category has its place."""
    work = new_work(n_rows, n_categories)
    assert is_clear(work)
    assert work.position.shape == work.neighbour_position.shape == (n_rows,)
    assert work.category_position.shape == (n_categories,)
    assert work.serial_size.shape == work.serial_mask.shape == (65_536,)


@given(st.integers(1, 5_000), st.integers(1, 300), st.integers(0, 300))
def test_accumulators_begin_empty(n_rows: int, n_records: int, n_pairs: int) -> None:
    """No row is touched, nothing is summed, and there is room for what was asked."""
    acc = new_accumulators(n_rows, n_records, n_pairs)
    assert acc.n[0] == acc.n_pairs[0] == 0
    assert (acc.slot == -1).all()
    assert acc.slot.shape == (n_rows,)
    assert acc.records.shape == (n_records,)
    assert not acc.records.tobytes().strip(b"\0")
    assert acc.pair_a.shape == acc.pair_b.shape == acc.pair_weight.shape == (n_pairs,)


def test_an_accumulator_is_all_zeros_when_it_is_new() -> None:
    """Clearing writes zero bytes, so zero must be the neutral element of every field."""
    zero = np.zeros(1, ACCUMULATOR)
    assert all(not np.any(zero[name]) for name in zero.dtype.names or ())
