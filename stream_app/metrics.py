"""``/metrics`` for Prometheus: what the worker's tasks have learned, where they stand, and what they weigh.

Counters are those of the partitions that this worker owns; they continue from the last commit when a partition moves,
so the sum over workers is the truth. Lag is measured by every worker for all partitions, and every worker reads the
whole catalogue: take the maximum over workers.
No label holds a user or an item.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stream_app.columns import TYPES
from stream_app.meters import Histogram, StageMeters
from stream_app.policy_metrics import ArmReport, arm_reports, policy_metrics
from stream_app.records import REJECT_CODES

if TYPE_CHECKING:
    from stream_app.observer import Observation
    from stream_app.partition_lag import PartitionLag
    from stream_app.policy_view import PolicyView
    from stream_app.processor import Processor
    from stream_app.replica import Replica

_USER_COUNTERS = {
    "n_duplicates": ("crossaisle_duplicates", "Events passed over because their id was seen before"),
    "n_late": ("crossaisle_late_events", "Events learned that were older than the user's newest one"),
    "n_slates": ("crossaisle_slates", "Slates published"),
    "n_forgotten": (
        "crossaisle_forgotten_users",
        "Requests to forget a user, known or not",
    ),
}
_HISTOGRAMS: dict[str, tuple[str, Callable[[StageMeters], Histogram]]] = {
    "crossaisle_latency_seconds": (
        "From a record's timestamp to the commit of what was made of it: slates in the stage user, items in item",
        lambda meters: meters.latency,
    ),
    "crossaisle_transaction_duration_seconds": ("Time of a Kafka transaction", lambda meters: meters.transaction),
    "crossaisle_batch_records": ("Records learned from at once", lambda meters: meters.batch),
    "crossaisle_learn_duration_seconds": ("Compute of a batch: decode and learn", lambda meters: meters.learn),
    "crossaisle_prompt_duration_seconds": (
        "Compute of the slates that are sent ahead of a commit",
        lambda meters: meters.prompt,
    ),
    "crossaisle_flush_duration_seconds": (
        "Compute of a commit: slates that are left, changed pages",
        lambda meters: meters.flush,
    ),
}
_LAGS: dict[str, tuple[str, Callable[["PartitionLag"], float | None]]] = {
    "crossaisle_end_offset": ("Offset after the last readable record", lambda lag: lag.end),
    "crossaisle_lag_events": ("Records to process, by the broker", lambda lag: lag.lag_events),
    "crossaisle_lag_seconds": ("Age of the oldest record to process, by the wall clock", lambda lag: lag.lag_s),
    "crossaisle_lag_event_time_seconds": (
        "How much later the newest record happened than the oldest one to process",
        lambda lag: lag.lag_event_s,
    ),
    "crossaisle_held_events": (
        "Offsets that nobody can read before a transaction has ended, not part of the lag",
        lambda lag: lag.held_events,
    ),
    "crossaisle_held_seconds": (
        "Age of the first of them, by the wall clock; 0 while transactions end as they should",
        lambda lag: lag.held_s,
    ),
}


class WorkerCollector(Collector):
    """Reads the numbers of open tasks when Prometheus asks.

    Parameters
    ----------
    status
        Returns what ``/health/ready`` shows.
    observation
        Returns the newest observation of the broker, None before the first.
    """

    def __init__(
        self, status: Callable[[], dict[str, Any]], observation: Callable[[], "Observation | None"] = lambda: None
    ) -> None:
        self._status = status
        self._observation = observation
        self._processors: Callable[[str], Mapping[int, Processor]] = lambda _stage: {}
        self._told: dict[tuple[str, ...], float] = {}
        self.replica: Replica | None = None
        """The worker's replica, None before there is one."""
        self._arms: Callable[[], Sequence[ArmReport]] = tuple
        self.meters = {"user": StageMeters(), "item": StageMeters()}
        self._policy: PolicyView | None = None

    def set_processors(self, processors: "Callable[[str], Mapping[int, Processor]]") -> None:
        """Report the open tasks: this function returns the processors of a stage by partition, at each scrape."""
        self._processors = processors

    def set_replica(self, replica: "Replica") -> None:
        """Report the worker's replica."""
        self.replica = replica

    def set_arms(self, arms: Callable[[], Sequence[ArmReport]]) -> None:
        """Report the arms of the policy, from what this function returns at each scrape."""
        self._arms = arms

    def arms(self) -> Sequence[ArmReport]:
        """Return what the policy's arms have earned so far; empty where there is no such policy."""
        return self._arms()

    def set_policy(self, policy: "PolicyView") -> None:
        """Report the policy that the worker follows, and its arms as 95 % intervals of their posteriors."""
        self._policy = policy

        self.set_arms(lambda: arm_reports(policy.state) if policy.state is not None else [])

    def quality(self) -> dict[str, dict[str, float]]:
        """Return the prequential quality of each user task, by partition."""
        return {str(p.partition): p.quality.summary() for p in self._open("user")}

    def learned(self) -> dict[str, Any]:
        """Return what the worker's user tasks have learned, for the page: sums over its partitions."""
        users = self._open("user")
        sums = {name: sum(user.counters[name] for user in users) for name in ("n_events", "n_users", *_USER_COUNTERS)}
        return {
            **sums,
            "by_type": _summed(user.tally.by_type for user in users),
            "rejects": _summed(user.tally.rejects_by_code for user in users),
        }

    def _open(self, stage: str) -> list[Any]:
        """Return the processors of a stage's open tasks, by partition."""
        return [processor for _, processor in sorted(self._processors(stage).items())]

    def _add_risen(self, family: CounterMetricFamily, labels: Sequence[str], value: float) -> None:
        """Add a counter that does not go back: a task that recovers learns again what it had not committed.

        Prometheus takes a counter that falls for one that began again at 0, and would count all of it twice.
        """
        key = (family.name, *labels)
        self._told[key] = max(value, self._told.get(key, 0.0))
        family.add_metric(labels, self._told[key])

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        status = self._status()
        yield InfoMetricFamily("crossaisle_build", "What runs here", value={"version": version("crossaisle")})
        yield GaugeMetricFamily("crossaisle_ready", "1 when all tasks run", value=float(status["ready"]))
        yield from self._offsets(status)
        yield from self._lags()
        yield from self._learned()
        yield from self._quality()
        yield from self._timings()
        yield from self._weights()
        if self._policy is not None:
            yield from policy_metrics(self._policy.holding.version, self._policy.state)

    def _offsets(self, status: dict[str, Any]) -> Iterable[Metric]:
        labels = ["stage", "partition"]
        committed = GaugeMetricFamily("crossaisle_committed_offset", "Next input offset, committed", labels=labels)
        commits = CounterMetricFamily("crossaisle_commits", "Transactions committed since start", labels=labels)
        left = GaugeMetricFamily("crossaisle_restore_records", "Changelog records left to restore", labels=labels)
        left_s = GaugeMetricFamily("crossaisle_restore_seconds", "Estimate of the restore's time left", labels=labels)
        for name, stage in status["stages"].items():
            for task in stage["tasks"]:
                at = [name, str(task["partition"])]
                if task["input_offset"] is not None:  # it is not known while the task restores
                    committed.add_metric(at, float(task["input_offset"]))
                commits.add_metric(at, float(task["n_commits"]))
                restore = task.get("restore") or {}
                left.add_metric(at, float(restore.get("n_left", 0)))
                left_s.add_metric(at, float(restore.get("left_s") or 0.0))
        yield from (committed, commits, left, left_s)

    def _lags(self) -> Iterable[Metric]:
        observed = self._observation()
        if observed is None:
            return
        for name, (text, value_of) in _LAGS.items():
            family = GaugeMetricFamily(name, text, labels=["stage", "partition"])
            for lag in observed.lags:
                value = value_of(lag)
                if value is not None:
                    family.add_metric([lag.stage, str(lag.partition)], float(value))
            yield family
        yield GaugeMetricFamily(
            "crossaisle_lag_observed_timestamp_seconds", "When the lag was measured", value=observed.at_ms / 1_000
        )
        stale = GaugeMetricFamily(
            "crossaisle_replica_staleness_seconds", "Age of the oldest item change that the replica lacks"
        )
        stale.add_metric([], max((lag.lag_s or 0.0 for lag in observed.replica), default=0.0))
        behind = GaugeMetricFamily("crossaisle_replica_lag_events", "Item changes that the replica lacks")
        behind.add_metric([], float(sum(lag.lag_events for lag in observed.replica)))
        yield from (stale, behind)

    def _learned(self) -> Iterable[Metric]:
        users = self._open("user")
        events = CounterMetricFamily("crossaisle_events", "Events learned, by type", labels=["partition", "type"])
        rejects = CounterMetricFamily(
            "crossaisle_rejects", "Events sent to the rejects topic, by code", labels=["partition", "code"]
        )
        for user in users:
            for kind, n in _from_zero(TYPES, user.tally.by_type):
                self._add_risen(events, [str(user.partition), kind], float(n))
            for code, n in _from_zero(REJECT_CODES, user.tally.rejects_by_code):
                self._add_risen(rejects, [str(user.partition), code], float(n))
        yield from (events, rejects)
        catalog = CounterMetricFamily(
            "crossaisle_catalog_rejects", "Catalogue records met that could not be read, by code", labels=["code"]
        )
        for code, n in _from_zero(REJECT_CODES, self.replica.catalog_rejects) if self.replica is not None else ():
            catalog.add_metric([code], float(n))
        yield catalog
        embeddings = GaugeMetricFamily(
            "crossaisle_catalog_embeddings",
            "Items with a content vector, by its number of components: more than one number is more than one model",
            labels=["components"],
        )
        for length, n in sorted(dict(self.replica.embeddings).items()) if self.replica is not None else ():
            embeddings.add_metric([str(length)], float(n))
        yield embeddings
        for counter, (name, text) in _USER_COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=["partition"])
            for user in users:
                self._add_risen(family, [str(user.partition)], float(user.counters[counter]))
            yield family
        load = GaugeMetricFamily(
            "crossaisle_load_level", "0 normal, 1 fewer slates, 2 from fewer candidates too", labels=["partition"]
        )
        for user in users:
            load.add_metric([str(user.partition)], float(user.load.level))
        yield load

    def _quality(self) -> Iterable[Metric]:
        hits = GaugeMetricFamily(
            "crossaisle_hit_ratio",
            "Share of positive events whose item was on the user's last slate, smoothed",
            labels=["partition"],
        )
        loss = GaugeMetricFamily(
            "crossaisle_log_loss_nats", "Log-loss of the ranking before learning, smoothed", labels=["partition"]
        )
        auc = GaugeMetricFamily(
            "crossaisle_auc_ratio",
            "Share of the other candidates that were ranked below the item that came, smoothed",
            labels=["partition"],
        )
        drifts = CounterMetricFamily(
            "crossaisle_drift_alarms", "Drift alarms on the hit rate and the log-loss since start", labels=["partition"]
        )
        for partition, summary in self.quality().items():
            hits.add_metric([partition], summary["hit_rate"])
            loss.add_metric([partition], summary["log_loss"])
            auc.add_metric([partition], summary["auc"])
            drifts.add_metric([partition], summary["n_drifts"])
        yield from (hits, loss, auc, drifts, self._relearning())
        arms = self._arms()
        if arms:
            reward = GaugeMetricFamily("crossaisle_arm_reward", "Mean reward of an arm's slates", labels=["arm", "of"])
            slates = CounterMetricFamily("crossaisle_arm_slates", "Slates that an arm filled", labels=["arm"])
            for arm in arms:
                slates.add_metric([arm.name], arm.n_slates)
                for of, value in (("mean", arm.reward), ("low", arm.low), ("high", arm.high)):
                    reward.add_metric([arm.name, of], value)
            yield from (reward, slates)

    def _relearning(self) -> Metric:
        left = GaugeMetricFamily(
            "crossaisle_relearning_events",
            "Events for which it still learns faster after a drift alarm, 0 where it does not",
            labels=["partition"],
        )
        for user in self._open("user"):
            left.add_metric([str(user.partition)], float(user.relearning.n_left))
        return left

    def _timings(self) -> Iterable[Metric]:
        for name, (text, histogram_of) in _HISTOGRAMS.items():
            family = HistogramMetricFamily(name, text, labels=["stage"])
            for stage, meters in self.meters.items():
                histogram_of(meters).add_to(family, [stage])
            yield family

    def _weights(self) -> Iterable[Metric]:
        rows = GaugeMetricFamily("crossaisle_rows", "Rows in memory", labels=["table", "partition"])
        size = GaugeMetricFamily("crossaisle_rows_bytes", "Memory of rows", labels=["table", "partition"])
        users = self._open("user")
        tables = [("users", str(p.partition), p.table) for p in users]
        tables += [("items", str(p.shard), p.table) for p in self._open("item")]
        if self.replica is not None:
            tables.append(("replica", "all", self.replica.table))
        for kind, partition, table in tables:
            rows.add_metric([kind, partition], float(table.n_rows))
            size.add_metric([kind, partition], float(table.n_bytes))
        cached = GaugeMetricFamily("crossaisle_cached_slates", "Slates kept ready for HTTP", labels=["partition"])
        for user in users:
            cached.add_metric([str(user.partition)], float(len(user.newest)))
        yield from (rows, size, cached)


class Metrics:
    """The worker's registry; :meth:`render` is the page.

    Parameters
    ----------
    status
        Returns what ``/health/ready`` shows.
    observation
        Returns the newest observation of the broker, None before the first.
    """

    def __init__(
        self, status: Callable[[], dict[str, Any]], observation: Callable[[], "Observation | None"] = lambda: None
    ) -> None:
        self.collector = WorkerCollector(status, observation)
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their content type: OpenMetrics if the ``Accept`` header asks for it, else text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def _from_zero(names: Iterable[str], counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the counts by name, with a 0 for each of the names that has none.

    Prometheus sees no rise in a series that begins with its first value: all of them are there before anything happens.
    """
    return sorted({**dict.fromkeys(names, 0), **counts}.items())


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for each in counts:
        for name, n in list(each.items()):
            out[name] = out.get(name, 0) + n
    return dict(sorted(out.items()))
