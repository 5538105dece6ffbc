"""The rule of the cap: at least what is set, at least twice an even share, and no more than that."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.cap import cap_in_force


@given(st.integers(1, 10), st.integers(1, 10), st.integers(1, 400))
def test_at_least_what_is_set_and_twice_an_even_share(cap: int, size: int, n_categories: int) -> None:
    """The smallest whole number that is both; half of the categories, full, fill a slate."""
    twice = Fraction(2 * size, n_categories)
    found = cap_in_force(cap, size, n_categories)
    assert found >= cap
    assert found >= twice
    assert found == cap or found - 1 < twice
    assert found * n_categories >= 2 * size
    assert cap_in_force(cap, size, n_categories + 1) <= found


@pytest.mark.parametrize("n_categories", [10, 11, 303])
def test_ten_categories_are_enough(n_categories: int) -> None:
    """By default nothing changes from ten eligible categories on."""
    assert cap_in_force(2, 10, n_categories) == 2


def test_no_cap_stays_none() -> None:
    """0 is no cap however few categories there are; without categories there is nothing to cap."""
    assert [cap_in_force(0, 10, n_categories) for n_categories in (0, 1, 5)] == [0, 0, 0]
    assert cap_in_force(2, 10, 0) == 2
