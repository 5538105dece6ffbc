"""B1: events per second of one process over the same events, as ratios within one run.

The contestants take turns on one broker: the bare aiokafka loop (the limit), this worker, Quix Streams with River,
Faust with River. Progress is read from outside: from the records of the contestant's output topic where it writes one
slate per event, from the committed offsets of the worker, whose slates are one per user and commit interval.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from benchmarks.cluster import Cluster, cluster, say
from benchmarks.machine import Usage
from stream_app.kafka import client_options

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
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: events in the topic, rounds, and seconds that each contestant is watched."""

    n_events: int
    n_rounds: int
    watch_s: float
    warm_events: int


FULL = Sizes(n_events=900_000, n_rounds=3, watch_s=12.0, warm_events=2_000)
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
    app_id = f"{name}{number}"
    settings = await home.app(app_id)
    target = settings.topic_recommendations
    log_path = settings.state_dir / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - nothing else runs meanwhile
            _command(name, settings), env=_environment(settings), stdout=log, stderr=log
        )
        try:
            if name == "worker":
                admin = AIOKafkaAdminClient(**client_options(settings))
                await admin.start()
                try:
                    return await _watch(process, n, sizes, lambda: _committed(admin, settings))
                finally:
                    await admin.close()
            consumer = AIOKafkaConsumer(**client_options(settings))
            await consumer.start()
            try:
                return await _watch(process, n, sizes, lambda: _written(consumer, target, home.partitions))
            finally:
                await consumer.stop()
        except TimeoutError:
            sys.exit(f"B1: {name} made no progress; its log ends with:\n{log_path.read_text()[-2000:]}")
        finally:
            process.kill()
            process.wait()


def _command(name: str, settings: Settings) -> list[str]:
    if name == "worker":
        return [sys.executable, "-m", "stream_app.cli.main", "worker"]
    module = {"raw": "raw", "quix": "quix_river", "faust": "faust_river"}[name]
    return [
        sys.executable, "-m", f"benchmarks.contestants.{module}", settings.bootstrap_servers, settings.topic_events,
        settings.topic_recommendations, str(settings.partitions), str(settings.state_dir),
    ]  # fmt: skip


def _environment(settings: Settings) -> dict[str, str]:
    names = ("bootstrap_servers", "app_id", "state_dir", "web_port", "topic_recommendations", "topic_rejects")
    return {**os.environ, **{f"CROSSAISLE_{name.upper()}": str(getattr(settings, name)) for name in names}}


async def _written(consumer: AIOKafkaConsumer, topic: str, partitions: int) -> int:
    ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(partitions)])
    return sum(ends.values())


async def _committed(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    try:
        offsets = await admin.list_consumer_group_offsets(f"{settings.app_id}.user")
    except KafkaError:  # the group's coordinator is made at the first question
        return 0
    return sum(max(found.offset, 0) for tp, found in offsets.items() if tp.topic == settings.topic_events)


async def _watch(
    process: subprocess.Popen[bytes], n: int, sizes: Sizes, progress: Callable[[], Awaitable[int]]
) -> dict[str, float]:
    """Return the rate from the first events on until the time is up or all events are done."""
    launched = time.monotonic()
    first: tuple[float, int, Usage] | None = None
    while True:
        await asyncio.sleep(_POLL_S)
        done, now, usage = await progress(), time.monotonic(), Usage.of(process.pid)
        if first is None:
            if done >= sizes.warm_events:
                first = (now, done, usage)
                if done >= n:
                    return _figures(launched, 0, 0.0, launched, now, done, usage)
            elif process.poll() is not None or now - launched > _START_TIMEOUT_S:
                raise TimeoutError
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
