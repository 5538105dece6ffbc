"""Histograms that a stage's tasks fill: batch sizes, compute times, transaction times, latencies.

Observed in bulk: a commit adds the latencies of all its records with one call, which prometheus-client's own histogram
cannot. The threads that compute for a stage share its histograms.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client.core import HistogramMetricFamily

T = TypeVar("T")

DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LATENCIES_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
BATCH_RECORDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


class Histogram:
    """Counts of values by bucket.

    Parameters
    ----------
    bounds
        Upper bounds of the buckets, included, rising; a last one without bound is added.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()

    @property
    def n(self) -> int:
        """Values observed."""
        return int(self._counts.sum())

    def observe(self, value: float) -> None:
        """Add one value."""
        self.observe_many(np.array([value], np.float64))

    def observe_many(self, values: np.ndarray) -> None:
        """Add values, shape ``(n,)``."""
        at = np.searchsorted(self._bounds, values)
        counts, total = np.bincount(at, minlength=self._counts.size), float(values.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def timed(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function, with the seconds that each call takes observed."""

        def run(*args: Any) -> T:
            started_s = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.observe(time.perf_counter() - started_s)

        return run

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the buckets to a metric family."""
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        names = [*(str(bound) for bound in self._bounds.tolist()), "+Inf"]
        family.add_metric(labels, list(zip(names, cumulative, strict=True)), total)


class StageMeters:
    """What the tasks of one stage measure of their own work, all partitions together."""

    def __init__(self) -> None:
        self.batch = Histogram(BATCH_RECORDS)
        """Records of each batch."""
        self.learn = Histogram(DURATIONS_S)
        """Seconds of compute for each batch: decode and learn."""
        self.prompt = Histogram(DURATIONS_S)
        """Seconds of compute for each batch's slates that do not wait for the commit: rank, fill."""
        self.flush = Histogram(DURATIONS_S)
        """Seconds of compute for each commit: rank and fill what is left, collect changed pages."""
        self.transaction = Histogram(DURATIONS_S)
        """Seconds of each Kafka transaction."""
        self.latency = Histogram(LATENCIES_S)
        """Seconds from a record's timestamp to the commit of what was made of it, per record."""

    def note_latencies(self, timestamps_ms: Sequence[int], now_ms: int) -> None:
        """Add the ages of records, at least 0, when what was made of them is committed."""
        if timestamps_ms:
            ages_s = (now_ms - np.array(timestamps_ms, np.int64)) / 1_000
            self.latency.observe_many(np.maximum(ages_s, 0.0))
