"""B1: events per second and CPU time per event over the same events, as ratios within one run.

The contestants take turns on one broker: the bare aiokafka loop (the limit), this worker, Quix Streams with River in
one process, in as many as there are cores, and with slates once a second as the worker has them, Faust with River. Each
round has a new broker: what the others have written slows one down that writes much itself. For the same reason each
round begins with another one (:func:`in_turn`).

Progress is read from outside: from the records of the contestant's output topic where it writes one slate per event,
from its group's committed offsets where it fills one per user and commit interval: how many there are for each event
stands beside its rate, for who fills one for each event has more to do. The worker has two compute threads, Python's
rivals one: so the CPU time of an event is told as well as the rate.

Each is watched after its first events: a few thousand, and for the worker those of which every one teaches the rankers
(``n_eager`` of each partition; how fast it is during them is a figure of its own). Of several processes each must own
partitions by then. What the lists of a worker under this load are worth is measured by :mod:`benchmarks.b1_quality`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.b1_quality import measure_quality
from benchmarks.cluster import PAST_EAGER, Cluster, cluster, say
from benchmarks.defaults import DefaultSettings
from benchmarks.machine import Usage
from benchmarks.workers import WORKER, Process, admin_of, committed, consumer_of, owners, written
from operators.load import MAX_LEVEL, STRETCH
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TITLE = "Throughput: events per second and CPU time of an event"
_CORES = os.cpu_count() or 1


class Contestant(NamedTuple):
    """What is compared, and how it is started and watched."""

    name: str
    module: str | None
    """Of :mod:`benchmarks.contestants`; the worker has none."""
    n_processes: int = 1
    """All in one consumer group."""
    is_coalescing: bool = False
    """Whether it fills one slate for several events: then its commits tell how far it is."""


CONTESTANTS = {
    "raw": Contestant("aiokafka: read, decode, one slate per event", "raw"),
    "worker": Contestant("this worker", None, is_coalescing=True),
    "quix": Contestant("Quix Streams, state, River", "quix_river"),
    "quix_processes": Contestant("Quix Streams, as many processes as cores", "quix_river", n_processes=_CORES),
    "quix_coalescing": Contestant("Quix Streams, one slate per user and second", "quix_coalescing", is_coalescing=True),
    "faust": Contestant("Faust, table, River", "faust_river"),
}
ORDER = tuple(CONTESTANTS)
NAMES = {key: contestant.name for key, contestant in CONTESTANTS.items()}
_POLL_S = 0.1
_START_TIMEOUT_S = 600.0
_STILL_S = 10.0
"""How long the end waits for one more commit."""


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
    settle_s: float
    """Of several processes, after each owns partitions: what it needs of their state it reads at first."""
    is_strict: bool = True
    """Whether it is an error that the events end before the warm-up; the quick form's figures mean nothing anyway."""


FULL = Sizes(
    900_000, n_rounds=3, watch_s=8.0, warm_events=2_000, warm_worker=PAST_EAGER, quality_events=400_000, settle_s=8.0
)
QUICK = Sizes(
    60_000,
    n_rounds=1,
    watch_s=2.0,
    warm_events=100,
    warm_worker=100,
    quality_events=3_000,
    settle_s=2.0,
    is_strict=False,
)


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
            for name in in_turn(number, sizes.n_rounds):
                found = await _contest(home, name, number, n, sizes)
                say(f"  round {number + 1}, {name}: {found['events_per_s']:,.0f} events/s")
                rounds[name].append(found)
    medians = {
        name: {key: statistics.median(r[key] for r in found) for key in found[0]} for name, found in rounds.items()
    }
    rates = {name: found["events_per_s"] for name, found in medians.items()}
    return {
        "processes": {name: contestant.n_processes for name, contestant in CONTESTANTS.items()},
        "contestants": medians,
        "rounds": rounds,
        "worker_share_of_raw": rates["worker"] / rates["raw"],
        "worker_times_faust": rates["worker"] / rates["faust"],
        "worker_times_quix": rates["worker"] / rates["quix"],
        "quality": measure_quality(
            sizes.quality_events, partitions=partitions, interval=max(1, round(rates["worker"] * interval_s))
        ),
    }


def in_turn(number: int, n_rounds: int) -> tuple[str, ...]:
    """Return the contestants in the order of a round, counted from 0: each round begins with another one."""
    first = number * len(ORDER) // n_rounds % len(ORDER)
    return ORDER[first:] + ORDER[:first]


async def _contest(home: Cluster, name: str, number: int, n: int, sizes: Sizes) -> dict[str, float]:
    contestant = CONTESTANTS[name]
    settings = await home.app(f"{name}{number}")
    group = f"{settings.app_id}.user" if contestant.module is None else f"{settings.topic_recommendations}-app"
    processes: list[Process] = []
    try:
        for k in range(contestant.n_processes):
            own = settings.model_copy(update={"state_dir": settings.state_dir / str(k)})
            own.state_dir.mkdir()
            processes.append(Process(own, _command(contestant, own), name))
        async with admin_of(settings) as admin, consumer_of(settings) as consumer:

            async def slates() -> int:
                return await written(consumer, settings.topic_recommendations, home.partitions)

            async def progress() -> int:
                return await committed(admin, settings, group) if contestant.is_coalescing else await slates()

            async def joined() -> bool:
                if contestant.n_processes == 1:
                    return True
                return await owners(admin, group, settings.topic_events) == contestant.n_processes

            warm = sizes.warm_events if contestant.module else sizes.warm_worker
            return await _watch(processes, n, sizes, warm, _Questions(progress, slates, joined))
    finally:
        for process in processes:
            process.kill()


def _command(contestant: Contestant, settings: Settings) -> list[str]:
    if contestant.module is None:
        return list(WORKER)
    return [
        sys.executable, "-m", f"benchmarks.contestants.{contestant.module}", settings.bootstrap_servers,
        settings.topic_events, settings.topic_recommendations, str(settings.partitions), str(settings.state_dir),
    ]  # fmt: skip


class _Questions(NamedTuple):
    """What is asked of the broker while a contestant runs."""

    progress: Callable[[], Awaitable[int]]
    """How many events are done."""
    slates: Callable[[], Awaitable[int]]
    """How many slates are written."""
    joined: Callable[[], Awaitable[bool]]
    """Whether every process owns partitions."""


async def _watch(processes: list[Process], n: int, sizes: Sizes, warm: int, ask: _Questions) -> dict[str, float]:
    """Return the rate from the end of the warm-up on until the time is up or all events are done.

    What commits once a second is as far as it was a second ago, for most of that time: so both ends are moments when
    more has just been done.

    Parameters
    ----------
    warm
        Events of the warm-up.
    ask
        How far the contestant is.
    """
    begun, first = await _warmed_up(processes, n, sizes, warm, ask)
    n_slates, now = await ask.slates(), first
    while now.done < n and now.at_s - first.at_s < sizes.watch_s + _STILL_S:
        before = now.done
        now = await _look(processes, ask)
        if now.done > before and now.at_s - first.at_s >= sizes.watch_s:
            break
    return {
        "events_per_s": now.rate_since(first),
        "cpu_us_per_event": (now.usage.cpu_s - first.usage.cpu_s) / max(now.done - first.done, 1) * 1e6,
        "rss_mb": now.usage.rss_mb,
        "first_result_s": begun.at_s - processes[0].started_s,
        "events": float(now.done - first.done),
        "slates_per_event": (await ask.slates() - n_slates) / max(now.done - first.done, 1),
        "warm_up_events_per_s": (first if first.done > begun.done else now).rate_since(begun),
    }


async def _warmed_up(
    processes: list[Process], n: int, sizes: Sizes, warm: int, ask: _Questions
) -> tuple[_Point, _Point]:
    """Return when the first events were done, and when the warm-up was over."""
    begun: _Point | None = None
    joined_s: float | None = None
    settle_s = sizes.settle_s if len(processes) > 1 else 0.0
    before = 0
    while True:
        now = await _look(processes, ask)
        moved, before = now.done > before, now.done
        begun = now if begun is None and moved else begun
        if joined_s is None and begun is not None and await ask.joined():
            joined_s = now.at_s
        is_settled = joined_s is not None and now.at_s - joined_s >= settle_s
        if begun is not None and moved and is_settled and now.done >= min(warm, n // 2):
            return begun, now
        if begun is not None and now.done >= n and not sizes.is_strict:
            return begun, now
        waited_s = now.at_s - processes[0].started_s
        if waited_s > _START_TIMEOUT_S or now.done >= n:
            sys.exit(
                f"B1: {now.done:,} events done in {waited_s:.0f} s, and the warm-up not over: the machine is too busy, "
                f"or there are too few events, or see {processes[0].log}"
            )


async def _look(processes: list[Process], ask: _Questions) -> _Point:
    """Return how far the contestant is, a moment later."""
    await asyncio.sleep(_POLL_S)
    for process in processes:
        process.check()
    return _Point(await ask.progress(), time.monotonic(), Usage.of_all(process.pid for process in processes))


@dataclass(frozen=True, slots=True)
class _Point:
    """How far a contestant was when, and what it had used by then."""

    done: int
    at_s: float
    usage: Usage

    def rate_since(self, before: _Point) -> float:
        """Return events per second."""
        return max(self.done - before.done, 1) / max(self.at_s - before.at_s, _POLL_S)
