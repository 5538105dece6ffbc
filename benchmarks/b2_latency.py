"""B2: milliseconds from an event's production to its slate being readable, beside a bare Kafka echo.

Real purchases are produced at a steady rate with the present time in them; a slate carries the time of the newest event
it knows, so that its age when it is read is the latency. Events that a newer one of the same user overtakes before
their slate is filled have none of their own and are not in the figures. What was learned before ends at the present
time, and the purchases go on where it ended: a jump in time, or events met before, would be a drift.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.cluster import PAST_EAGER, Cluster, cluster, lines, purchases, say
from benchmarks.machine import machine
from benchmarks.workers import WORKER, Process, admin_of, committed, consumer_of, written
from stream_app.produce import connect_producer
from stream_app.records import Event, decode_slate
from stream_app.sender import BatchSender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.settings import Settings

TITLE = "Latency: milliseconds from event to readable slate"
SHARES = (0.1, 0.5, 0.8)
LEVELS = ("read_uncommitted", "read_committed")
PERCENTILES = (50, 99, 99.9)
_TICK_S = 0.01
_QUICK_RATE = 3_000.0
_SETTLE_S = 10.0
"""A worker that had a backlog commits less often for a while (:mod:`operators.load`); here it gets back to normal."""


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return percentiles for both contestants at shares of the worker's B1 throughput."""
    n_warm, watch_s, shares = (2_000, 1.0, (0.1,)) if quick else (PAST_EAGER, 12.0, SHARES)
    top = _QUICK_RATE if quick else _top_rate()
    found: dict[str, Any] = {"events_per_s_at_100_percent": top, "commit_interval_ms": None}
    async with cluster() as home:
        await home.fill(n_warm, until_now=True)
        for name in ("echo", "worker"):
            settings = await home.app(name)
            found["commit_interval_ms"] = settings.commit_interval_ms
            process = Process(settings, _command(name, settings), name)
            try:
                await _drained(name, settings, process)
                events = _events(n_warm, sum(int(top * share * watch_s) for share in shares))
                for share in shares:
                    found[f"{name} at {share:.0%}"] = await _run(home, settings, process, events, top * share, watch_s)
                    say(f"  {name} at {share:.0%}: {json.dumps(found[f'{name} at {share:.0%}'])}")
            finally:
                process.kill()
    return found


def _top_rate() -> float:
    """Return the throughput that B1 found on this machine."""
    path = Path(__file__).parent / "results" / "B1.json"
    found = json.loads(path.read_text()) if path.exists() else None
    if found is None or found["machine"]["cpu"] != machine()["cpu"]:
        where = f"on another machine ({found['machine']['cpu']})" if found else "nowhere yet"
        sys.exit(f"B2: its rates are shares of what B1 found, and that was measured {where}; run B1 here first")
    return float(found["figures"]["contestants"]["worker"]["events_per_s"])


def _command(name: str, settings: Settings) -> list[str]:
    if name == "worker":
        return list(WORKER)
    return [
        sys.executable, "-m", "benchmarks.contestants.raw", settings.bootstrap_servers, settings.topic_events,
        settings.topic_recommendations, str(settings.partitions),
    ]  # fmt: skip


def _events(n_before: int, n: int) -> Iterator[Event]:
    """Return the ``n`` events after the first ``n_before``, over and over."""
    decode = msgspec.json.Decoder(Event).decode
    return cycle([decode(line) for line in islice(lines(purchases(n_before + n)[0]), n_before, n_before + n)])


async def _drained(name: str, settings: Settings, process: Process) -> None:
    """Wait until all events that are there are done, those that another contestant was measured with among them."""
    async with admin_of(settings) as admin, consumer_of(settings) as consumer:
        n = await written(consumer, settings.topic_events, settings.partitions)
        while True:
            process.check()
            done = (
                await committed(admin, settings)
                if name == "worker"
                else await written(consumer, settings.topic_recommendations, settings.partitions)
            )
            if done >= n:
                break
            await asyncio.sleep(0.1)
    await asyncio.sleep(_SETTLE_S)


async def _run(
    home: Cluster, settings: Settings, process: Process, events: Iterator[Event], rate: float, watch_s: float
) -> dict[str, dict[str, float]]:
    """Produce at a rate and return the percentiles of each isolation level."""
    del home
    topic = settings.topic_recommendations
    ages: dict[str, list[float]] = {level: [] for level in LEVELS}
    stop = asyncio.Event()
    readers = [asyncio.create_task(_read(settings, topic, level, ages[level], stop)) for level in LEVELS]
    await asyncio.sleep(1.0)
    await _produce(settings, events, rate, watch_s)
    await asyncio.sleep(1.0)
    stop.set()
    await asyncio.gather(*readers)
    process.check()
    return {
        level: {f"p{p:g}_ms": float(np.percentile(values, p)) for p in PERCENTILES} | {"n": float(len(values))}
        for level, values in ages.items()
        if values
    }


async def _read(settings: Settings, topic: str, level: str, ages: list[float], stop: asyncio.Event) -> None:
    async with consumer_of(settings, topic, isolation_level=level, fetch_max_wait_ms=50) as consumer:
        while not stop.is_set():
            for records in (await consumer.getmany(timeout_ms=50)).values():
                now_ms = time.time() * 1_000
                ages += [now_ms - decode_slate(record.value).event_time_ms for record in records]


async def _produce(settings: Settings, events: Iterator[Event], rate: float, watch_s: float) -> None:
    producer = await connect_producer(settings)
    sender = BatchSender(producer, settings.topic_events, None)
    await sender.check_topic()
    encode = msgspec.json.Encoder().encode
    started, n_sent = time.monotonic(), 0
    try:
        while (elapsed_s := time.monotonic() - started) < watch_s:
            due = int(elapsed_s * rate) - n_sent
            now_ms = time.time_ns() // 1_000_000
            for event in islice(events, due):
                event_id = f"{now_ms}-{n_sent}"
                stamped = msgspec.structs.replace(event, event_id=event_id, event_time_ms=now_ms)
                await sender.add(event.user_id.encode(), encode(stamped))
                n_sent += 1
            await sender.flush()
            await asyncio.sleep(_TICK_S)
        await sender.drain()
    finally:
        await sender.close()
