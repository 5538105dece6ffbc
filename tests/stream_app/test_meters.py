"""Histograms: what is counted, and what it looks like to Prometheus."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import HistogramMetricFamily

from stream_app.meters import Histogram, StageMeters

BOUNDS = (0.1, 1.0, 5.0)


def buckets(histogram: Histogram) -> dict[str, float]:
    """Return the cumulative buckets, the count and the sum, as samples."""
    family = HistogramMetricFamily("h", "text", labels=["stage"])
    histogram.add_to(family, ["user"])
    return {f"{s.name}{s.labels.get('le', '')}": s.value for s in family.samples}


@given(st.lists(st.floats(0, 100), max_size=50))
def test_buckets_are_cumulative_and_hold_every_value(values: list[float]) -> None:
    """Each bucket counts the values up to its bound, the last one all; the sum is theirs."""
    histogram = Histogram(BOUNDS)
    histogram.observe_many(np.array(values, np.float64))
    found = buckets(histogram)
    for bound in BOUNDS:
        assert found[f"h_bucket{bound}"] == sum(value <= bound for value in values)
    assert found["h_bucket+Inf"] == found["h_count"] == len(values) == histogram.n
    assert found["h_sum"] == pytest.approx(sum(values))


def test_a_timed_function_returns_and_raises_as_before() -> None:
    """Timing changes nothing but the count, also when the function fails."""
    histogram = Histogram(BOUNDS)
    assert histogram.timed(max)(1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        histogram.timed(divmod)(1, 0)
    assert histogram.n == 2


def test_latencies_are_ages_and_never_negative() -> None:
    """A record from a clock ahead of ours counts as new."""
    meters = StageMeters()
    meters.note_latencies([900, 2_000], 1_000)
    meters.note_latencies([], 1_000)
    assert meters.latency.n == 2
    assert buckets(meters.latency)["h_sum"] == pytest.approx(0.1)


def test_threads_lose_nothing() -> None:
    """What several threads observe at once is all there."""
    histogram = Histogram(BOUNDS)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(histogram.observe, [1.0] * 40_000, chunksize=1))
    finally:
        sys.setswitchinterval(before)
    assert histogram.n == buckets(histogram)["h_sum"] == 40_000
