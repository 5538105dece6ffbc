"""Moving the time of accumulated popularities: the same as if they had been accumulated as of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.aging import age
from operators.arrays import new_accumulators
from operators.numeric import growth
from operators.params import POPULARITY_DAYS
from state.layout import N_POPULARITIES


@given(st.integers(0, 40 * 365 * 86_400), st.integers(-30 * 86_400, 30 * 86_400), st.integers(1, 5))
def test_as_of_later_is_what_growth_gives_then(passed_s: int, ahead_s: int, n: int) -> None:
    """An event counts for what it would count for as of the later time; all else stays, and so do spare records."""
    acc = new_accumulators(8, 8, 1)
    acc.n[0] = n
    acc.records["n"] = 3
    acc.records["popularity"] = [growth(float(ahead_s), days) for days in POPULARITY_DAYS]
    spare = acc.records[n:].copy()
    age(acc, passed_s)
    then = np.array([growth(float(ahead_s - passed_s), days) for days in POPULARITY_DAYS])
    assert acc.records["popularity"].shape[1] == N_POPULARITIES
    for popularity in acc.records["popularity"][:n]:
        assert popularity == pytest.approx(then, rel=1e-5, abs=2.0**-59)  # growth is never below 2**-60
    assert (acc.records["n"] == 3).all()
    assert np.array_equal(acc.records[n:], spare)
