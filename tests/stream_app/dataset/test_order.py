"""Tests of the drawn order of events at one time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.dataset import DatasetError
from stream_app.dataset.order import drawn_numbers, drawn_order

seeds = st.integers(min_value=0)
small = st.integers(min_value=0, max_value=3)


@given(seed=seeds, n_rows=st.integers(min_value=0, max_value=300))
def test_drawn_numbers_do_not_repeat(seed: int, n_rows: int) -> None:
    """Numbers are distinct, so the order is total, and a longer table starts with the numbers of a shorter one."""
    numbers = drawn_numbers(n_rows, seed)
    assert len(set(numbers.tolist())) == n_rows
    assert drawn_numbers(n_rows + 1, seed)[:-1].tolist() == numbers.tolist()


@given(seed=seeds, rows=st.lists(st.tuples(small, small)))
def test_the_order_is_one_of_all_rows_by_their_columns(seed: int, rows: list[tuple[int, int]]) -> None:
    """Every row is there once, by the first column and then by the second."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    order = drawn_order(seed, table[:, 0], table[:, 1])
    assert sorted(order.tolist()) == list(range(len(rows)))
    assert [rows[row] for row in order] == sorted(rows)


def test_rows_that_are_alike_are_shuffled() -> None:
    """Among ten thousand rows of one time half of the neighbours rise, and the seed decides which."""
    order = drawn_order(0, np.zeros(10_000))
    assert abs((np.diff(order) > 0).mean() - 0.5) < 0.02
    assert order.tolist() != drawn_order(1, np.zeros(10_000)).tolist()


def test_a_negative_seed_is_an_error() -> None:
    """The error says what arrived."""
    with pytest.raises(DatasetError, match="at least 0, got -1"):
        drawn_numbers(1, seed=-1)
