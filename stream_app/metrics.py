"""``/metrics`` for Prometheus: what the worker's tasks have learned, where they stand, and what they weigh.

Counters are those of the partitions that this worker owns; they continue from the last commit when a partition moves,
so the sum over workers is the truth. No label holds a user or an item.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from stream_app.item_stage import ItemProcessor
    from stream_app.replica import Replica
    from stream_app.user_stage import UserProcessor

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_USER_COUNTERS = {
    "n_duplicates": ("crossaisle_duplicates", "Events passed over because their id was seen before"),
    "n_late": ("crossaisle_late_events", "Events learned that were older than the user's newest one"),
    "n_rejected": ("crossaisle_rejects", "Records sent to the rejects topic"),
    "n_slates": ("crossaisle_slates", "Slates published"),
}


class WorkerCollector(Collector):
    """Reads the numbers of open tasks when Prometheus asks.

    Parameters
    ----------
    status
        Returns what ``/health/ready`` shows.
    """

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status
        self._users: WeakSet[UserProcessor] = WeakSet()
        self._items: WeakSet[ItemProcessor] = WeakSet()
        self._replica: Replica | None = None

    def add_user(self, processor: "UserProcessor") -> None:
        """Report a user task as long as it lives."""
        self._users.add(processor)

    def add_item(self, processor: "ItemProcessor") -> None:
        """Report an item task as long as it lives."""
        self._items.add(processor)

    def set_replica(self, replica: "Replica") -> None:
        """Report the worker's replica."""
        self._replica = replica

    def quality(self) -> dict[str, dict[str, float]]:
        """Return the prequential quality of each user task, by partition."""
        return {str(p.partition): p.quality.summary() for p in sorted(self._users, key=lambda p: p.partition)}

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        status = self._status()
        yield GaugeMetricFamily("crossaisle_ready", "1 when all tasks run", value=float(status["ready"]))
        yield from self._offsets(status)
        yield from self._learned()
        yield from self._weights()

    def _offsets(self, status: dict[str, Any]) -> Iterable[Metric]:
        labels = ["stage", "partition"]
        committed = GaugeMetricFamily("crossaisle_committed_offset", "Next input offset, committed", labels=labels)
        commits = CounterMetricFamily("crossaisle_commits", "Transactions committed since start", labels=labels)
        for name, stage in status["stages"].items():
            for task in stage["tasks"]:
                at = [name, str(task["partition"])]
                committed.add_metric(at, float(task["input_offset"] or 0))
                commits.add_metric(at, float(task["n_commits"]))
        yield committed
        yield commits

    def _learned(self) -> Iterable[Metric]:
        users = sorted(self._users, key=lambda p: p.partition)
        events = CounterMetricFamily("crossaisle_events", "Events learned, by type", labels=["partition", "type"])
        for user in users:
            for kind, n in sorted(user.by_type.items()):
                events.add_metric([str(user.partition), kind], float(n))
        yield events
        for counter, (name, text) in _USER_COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=["partition"])
            for user in users:
                family.add_metric([str(user.partition)], float(user.counters[counter]))
            yield family
        texts = {
            "hit_rate": "Share of positive events whose item was on the user's last slate, smoothed",
            "log_loss": "Log-loss of the blend before learning, in nats, smoothed",
            "n_drifts": "Drift alarms on the log-loss since start",
        }
        for key, text in texts.items():
            gauge = GaugeMetricFamily(f"crossaisle_quality_{key}", text, labels=["partition"])
            for user in users:
                gauge.add_metric([str(user.partition)], user.quality.summary()[key])
            yield gauge

    def _weights(self) -> Iterable[Metric]:
        rows = GaugeMetricFamily("crossaisle_rows", "Rows in memory", labels=["table", "partition"])
        size = GaugeMetricFamily("crossaisle_rows_bytes", "Memory of rows in bytes", labels=["table", "partition"])
        tables = [("users", str(p.partition), p.table) for p in self._users]
        tables += [("items", str(p.shard), p.table) for p in self._items]
        if self._replica is not None:
            tables.append(("replica", "all", self._replica.table))
        for kind, partition, table in tables:
            rows.add_metric([kind, partition], float(table.n_rows))
            size.add_metric([kind, partition], float(table.n_bytes))
        yield rows
        yield size


class Metrics:
    """The worker's registry; :meth:`render` is the page.

    Parameters
    ----------
    status
        Returns what ``/health/ready`` shows.
    """

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self.collector = WorkerCollector(status)
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
