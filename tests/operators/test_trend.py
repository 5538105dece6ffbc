"""Trends are told where they are clear, and popularities wane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.trend import FEWEST_EVENTS, popularity_left, trend

COUNTS = st.floats(0, 1e9)


@given(COUNTS, COUNTS, COUNTS)
def test_more_of_late_is_never_less_of_a_trend(long: float, one: float, two: float) -> None:
    """The answer goes up with the last days, and is none where there are few events."""
    rank = {"falling": 0, None: 1, "rising": 2}
    low, high = (trend(short, long) for short in sorted((one, two)))
    assert rank[low] <= rank[high]
    if long < FEWEST_EVENTS:
        assert low is None
        assert high is None


@given(st.lists(COUNTS, min_size=3, max_size=3), st.floats(0, 1e10))
def test_nothing_grows_by_waiting(popularity: list[float], passed_s: float) -> None:
    """What is left is finite, at least 0 and at most what there was."""
    left = popularity_left(popularity, passed_s)
    assert all(math.isfinite(after) and 0 <= after <= before for before, after in zip(popularity, left, strict=True))


@pytest.mark.parametrize("per_day", [0.1, 1.0, 20.0])
def test_a_steady_stream_seldom_has_a_trend(per_day: float) -> None:
    """Of a thousand items with the same demand every day, at most one in twelve is said to rise, or to fall."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(per_day / 10, (1_000, 7_000))  # tenths of a day, of 700 days
    ages = (np.arange(7_000) + 0.5) / 10
    short, long = (counts @ 0.5 ** (ages / days) for days in (3.0, 90.0))
    told = [trend(float(s), float(n)) for s, n in zip(short, long, strict=True)]
    assert max(told.count("rising"), told.count("falling")) <= 1_000 / 12
