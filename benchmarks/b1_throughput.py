"""B1: events per second of one process over the same events, as ratios within one run.

The contestants take turns on one broker: the bare aiokafka loop (the limit), this worker, Quix Streams with River,
Faust with River. Progress is read from outside: from the records of the contestant's output topic where it writes one
slate per event, from the committed offsets of the worker, whose slates are one per user and commit interval.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.cluster import Cluster, cluster, say
from benchmarks.machine import Usage
from benchmarks.workers import WORKER, Process, admin_of, committed, consumer_of, written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stream_app.settings import Settings

TITLE = "Throughput: events per second of one process"
ORDER = ("raw", "worker", "quix", "faust")
NAMES = {
    "raw": "aiokafka: read, decode, one slate per event",
    "worker": "this worker",
    "quix": "Quix Streams, state, River",
    "faust": "Faust, table, River",
}
_POLL_S = 0.25
_START_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: events in the topic, rounds, and seconds that each contestant is watched."""

    n_events: int
    n_rounds: int
    watch_s: float
    warm_events: int


FULL = Sizes(n_events=900_000, n_rounds=3, watch_s=8.0, warm_events=2_000)
QUICK = Sizes(n_events=20_000, n_rounds=1, watch_s=2.0, warm_events=100)


async def measure(*, quick: bool) -> dict[str, Any]:
    """Run all rounds and return medians and ratios."""
    sizes = QUICK if quick else FULL
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ORDER}
    async with cluster() as home:
        n = await home.fill(sizes.n_events)
        for number in range(sizes.n_rounds):
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
    }


async def _contest(home: Cluster, name: str, number: int, n: int, sizes: Sizes) -> dict[str, float]:
    settings = await home.app(f"{name}{number}")
    process = Process(settings, _command(name, settings), name)
    try:
        async with admin_of(settings) as admin, consumer_of(settings) as consumer:
            if name == "worker":
                return await _watch(process, n, sizes, lambda: committed(admin, settings))
            topic = settings.topic_recommendations
            return await _watch(process, n, sizes, lambda: written(consumer, topic, home.partitions))
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


async def _watch(process: Process, n: int, sizes: Sizes, progress: Callable[[], Awaitable[int]]) -> dict[str, float]:
    """Return the rate from the first events on until the time is up or all events are done."""
    launched = process.started_s
    first: tuple[float, int, Usage] | None = None
    while True:
        await asyncio.sleep(_POLL_S)
        process.check()
        done, now, usage = await progress(), time.monotonic(), Usage.of(process.pid)
        if first is None:
            if done >= sizes.warm_events:
                first = (now, done, usage)
                if done >= n:
                    return _figures(launched, 0, 0.0, launched, now, done, usage)
            elif now - launched > _START_TIMEOUT_S:
                sys.exit(f"B1: no progress in {_START_TIMEOUT_S:.0f} s; the machine is too busy, or see {process.log}")
            continue
        if done >= n or now - first[0] >= sizes.watch_s:
            return _figures(first[0], first[1], first[2].cpu_s, launched, now, done, usage)


def _figures(
    began: float, before: int, cpu_before_s: float, launched: float, now: float, done: int, usage: Usage
) -> dict[str, float]:
    n = max(done - before, 1)
    return {
        "events_per_s": n / max(now - began, 1e-9),
        "cpu_us_per_event": (usage.cpu_s - cpu_before_s) / n * 1e6,
        "rss_mb": usage.rss_mb,
        "first_result_s": began - launched,
        "events": float(n),
    }
