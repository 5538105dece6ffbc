"""B1: events per second of one process over the same events, as ratios within one run.

The contestants take turns on one broker: the bare aiokafka loop (the limit), this worker, Quix Streams with River,
Faust with River. Each round has a new broker: what the others have written slows one down that writes much itself.
Progress is read from outside: from the records of the contestant's output topic where it writes one slate per event,
from the committed offsets of the worker, whose slates are one per user and commit interval: how many there are for each
event stands beside its rate, for who fills one for each event has more to do.

Each is watched after its first events: a few thousand, and for the worker those of which every one teaches the rankers
(``n_eager`` of each partition; how fast it is during them is a figure of its own). What the lists of a worker under
this load are worth is measured by :mod:`benchmarks.b1_quality`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.b1_quality import measure_quality
from benchmarks.cluster import PAST_EAGER, Cluster, cluster, say
from benchmarks.defaults import DefaultSettings
from benchmarks.machine import Usage
from benchmarks.workers import WORKER, Process, admin_of, committed, consumer_of, written
from operators.load import MAX_LEVEL, STRETCH
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TITLE = "Throughput: events per second of one process"
ORDER = ("raw", "worker", "quix", "faust")
NAMES = {
    "raw": "aiokafka: read, decode, one slate per event",
    "worker": "this worker",
    "quix": "Quix Streams, state, River",
    "faust": "Faust, table, River",
}
_POLL_S = 0.1
_START_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: events in the topic, rounds, seconds that each contestant is watched, and so on."""

    n_events: int
    n_rounds: int
    watch_s: float
    warm_events: int
    """Before a contestant is watched."""
    warm_worker: int
    """Before the worker is."""
    quality_events: int


FULL = Sizes(900_000, n_rounds=3, watch_s=8.0, warm_events=2_000, warm_worker=PAST_EAGER, quality_events=400_000)
QUICK = Sizes(20_000, n_rounds=1, watch_s=2.0, warm_events=100, warm_worker=100, quality_events=3_000)


async def measure(*, quick: bool) -> dict[str, Any]:
    """Run all rounds and return medians and ratios."""
    sizes = QUICK if quick else FULL
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ORDER}
    interval_s = DefaultSettings().commit_interval_ms / 1000 * STRETCH[MAX_LEVEL]
    partitions = 0
    for number in range(sizes.n_rounds):
        async with cluster() as home:
            partitions = home.partitions
            n = await home.fill(sizes.n_events)
            for name in ORDER:
                found = await _contest(home, name, number, n, sizes)
                say(f"  round {number + 1}, {name}: {found['events_per_s']:,.0f} events/s")
                rounds[name].append(found)
    medians = {
        name: {key: statistics.median(r[key] for r in found) for key in found[0]} for name, found in rounds.items()
    }
    rates = {name: found["events_per_s"] for name, found in medians.items()}
    return {
        "contestants": medians,
        "rounds": rounds,
        "worker_share_of_raw": rates["worker"] / rates["raw"],
        "worker_times_faust": rates["worker"] / rates["faust"],
        "worker_times_quix": rates["worker"] / rates["quix"],
        "quality": measure_quality(
            sizes.quality_events, partitions=partitions, interval=max(1, round(rates["worker"] * interval_s))
        ),
    }


async def _contest(home: Cluster, name: str, number: int, n: int, sizes: Sizes) -> dict[str, float]:
    settings = await home.app(f"{name}{number}")
    process = Process(settings, _command(name, settings), name)
    try:
        async with admin_of(settings) as admin, consumer_of(settings) as consumer:
            topic = settings.topic_recommendations

            async def slates() -> int:
                return await written(consumer, topic, home.partitions)

            if name == "worker":
                return await _watch(process, n, sizes, sizes.warm_worker, lambda: committed(admin, settings), slates)
            return await _watch(process, n, sizes, sizes.warm_events, slates, slates)
    finally:
        process.kill()


def _command(name: str, settings: Settings) -> list[str]:
    if name == "worker":
        return list(WORKER)
    module = {"raw": "raw", "quix": "quix_river", "faust": "faust_river"}[name]
    return [
        sys.executable, "-m", f"benchmarks.contestants.{module}", settings.bootstrap_servers, settings.topic_events,
        settings.topic_recommendations, str(settings.partitions), str(settings.state_dir),
    ]  # fmt: skip


async def _watch(
    process: Process,
    n: int,
    sizes: Sizes,
    warm: int,
    progress: Callable[[], Awaitable[int]],
    slates: Callable[[], Awaitable[int]],
) -> dict[str, float]:
    """Return the rate from the end of the warm-up on until the time is up or all events are done.

    Parameters
    ----------
    warm
        Events of the warm-up.
    progress, slates
        Return how many events are done, and how many slates are written.
    """
    begun: _Point | None = None
    first: _Point | None = None
    n_slates = 0
    while True:
        await asyncio.sleep(_POLL_S)
        process.check()
        now = _Point(await progress(), time.monotonic(), Usage.of(process.pid))
        if begun is None and now.done > 0:
            begun = now
        if begun is None or first is None:
            if begun is not None and now.done >= min(warm, n // 2):
                first, n_slates = now, await slates()
            elif now.at_s - process.started_s > _START_TIMEOUT_S:
                sys.exit(f"B1: no progress in {_START_TIMEOUT_S:.0f} s; the machine is too busy, or see {process.log}")
            continue
        if now.done >= n or now.at_s - first.at_s >= sizes.watch_s:
            return {
                "events_per_s": now.rate_since(first),
                "cpu_us_per_event": (now.usage.cpu_s - first.usage.cpu_s) / max(now.done - first.done, 1) * 1e6,
                "rss_mb": now.usage.rss_mb,
                "first_result_s": begun.at_s - process.started_s,
                "events": float(now.done - first.done),
                "slates_per_event": (await slates() - n_slates) / max(now.done - first.done, 1),
                "warm_up_events_per_s": (first if first.done > begun.done else now).rate_since(begun),
            }


@dataclass(frozen=True, slots=True)
class _Point:
    """How far a contestant was when, and what it had used by then."""

    done: int
    at_s: float
    usage: Usage

    def rate_since(self, before: _Point) -> float:
        """Return events per second."""
        return max(self.done - before.done, 1) / max(self.at_s - before.at_s, _POLL_S)
