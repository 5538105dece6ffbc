"""B2: milliseconds from an event's production to its slate being readable, beside a bare Kafka echo.

Real purchases are produced at a steady rate, each with the time in it at which it was due: a producer that is held up
does not hide how long its events have waited. A slate carries the time of the newest event it knows, so that its age
when it is read is the latency. Slates are read until all that was produced has been learned and its slates are seen,
however late, and the next rate begins after that. Events that a newer one of the same user overtakes before their slate
is filled have none of their own and are not in the figures. What was learned before ends at the present time, and the
purchases go on where it ended: a jump in time, or events met before, would be a drift.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from aiokafka import TopicPartition

from benchmarks.cluster import PAST_EAGER, cluster, lines, purchases, say
from benchmarks.machine import machine
from benchmarks.workers import WORKER, Process, admin_of, committed, consumer_of, written
from stream_app.produce import connect_producer
from stream_app.records import Event, decode_slate
from stream_app.sender import BatchSender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aiokafka import AIOKafkaConsumer

    from stream_app.settings import Settings

TITLE = "Latency: milliseconds from event to readable slate"
SHARES = (0.1, 0.5, 0.8)
LEVELS = ("read_uncommitted", "read_committed")
PERCENTILES = (50, 99, 99.9)
_TICK_S = 0.01
_QUICK_RATE = 3_000.0
_SETTLE_S = 10.0
"""A worker that had a backlog commits less often for a while (:mod:`operators.load`); here it gets back to normal."""
_SEEN_WITHIN_S = 120.0
"""How long after the last event of a rate the last slate may come; a worker that takes longer cannot keep it up."""


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
                await asyncio.sleep(_SETTLE_S)
                events = _events(n_warm, sum(int(top * share * watch_s) for share in shares))
                for share in shares:
                    if share != shares[0]:
                        await asyncio.sleep(_SETTLE_S)
                    what = f"{name} at {share:.0%}"
                    drained = partial(_drained, name, settings, process)
                    found[what] = await _run(settings, drained, events, top * share, watch_s)
                    say(f"  {what}: {json.dumps(found[what])}")
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
                return
            await asyncio.sleep(0.1)


async def _run(
    settings: Settings, drained: Callable[[], Awaitable[None]], events: Iterator[Event], rate: float, watch_s: float
) -> dict[str, dict[str, float]]:
    """Produce at a rate and return the percentiles of each isolation level, over all slates that come of it."""
    readers = [Reader(settings, level) for level in LEVELS]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        for reader in readers:
            await reader.begun.wait()
        await produce(settings, islice(events, int(rate * watch_s)), rate)
        async with asyncio.timeout(_SEEN_WITHIN_S):
            await drained()
            ends = await _ends(settings)
            for reader in readers:
                reader.ends.set_result(ends)
            await asyncio.gather(*tasks)
    except TimeoutError:
        sys.exit(f"B2: what {rate:,.0f} events/s left to do was not done after {_SEEN_WITHIN_S:.0f} s: no latency")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        reader.level: {f"p{p:g}_ms": float(np.percentile(reader.ages_ms, p)) for p in PERCENTILES}
        | {"n": float(len(reader.ages_ms))}
        for reader in readers
        if reader.ages_ms
    }


async def _ends(settings: Settings) -> dict[TopicPartition, int]:
    """Return where the slates of all events that are done end."""
    tps = [TopicPartition(settings.topic_recommendations, p) for p in range(settings.partitions)]
    async with consumer_of(settings) as consumer:
        found: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        return found


class Reader:
    """Reads slates from the present end of their topic on, and notes how old each is.

    Parameters
    ----------
    settings
        Of the application.
    level
        Isolation level.

    Attributes
    ----------
    ages_ms
        Milliseconds from an event being due to its slate being read.
    begun
        Set once nothing that is produced is missed.
    ends
        To be set to the offsets up to which it reads.
    """

    def __init__(self, settings: Settings, level: str) -> None:
        self._settings = settings
        self.level = level
        self.ages_ms: list[float] = []
        self.begun = asyncio.Event()
        self.ends: asyncio.Future[dict[TopicPartition, int]] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Read until the ends are reached."""
        topic = self._settings.topic_recommendations
        async with consumer_of(self._settings, topic, isolation_level=self.level, fetch_max_wait_ms=50) as consumer:
            for tp in consumer.assignment():
                await consumer.position(tp)
            self.begun.set()
            while not await self._is_done(consumer):
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    now_ms = time.time() * 1_000
                    self.ages_ms += [now_ms - decode_slate(record.value).event_time_ms for record in records]

    async def _is_done(self, consumer: AIOKafkaConsumer) -> bool:
        if not self.ends.done():
            return False
        return all([await consumer.position(tp) >= end for tp, end in self.ends.result().items()])


async def produce(settings: Settings, events: Iterator[Event], rate: float) -> None:
    """Send events at a rate, a few every hundredth of a second; each holds the time at which it was due to be sent.

    That is so when it is sent later, too.
    """
    producer = await connect_producer(settings)
    sender = BatchSender(producer, settings.topic_events, None)
    if not await sender.find_topic():
        sys.exit(f"topic {settings.topic_events} is gone")
    encode = msgspec.json.Encoder().encode
    started, started_ms, n_sent = time.monotonic(), time.time() * 1_000, 0
    try:
        for tick in count():
            await asyncio.sleep(max(0.0, started + tick * _TICK_S - time.monotonic()))
            due_ms = int(started_ms + tick * _TICK_S * 1_000)
            n_due = int((tick + 1) * _TICK_S * rate) - n_sent
            due = list(islice(events, n_due))
            for event in due:
                stamped = msgspec.structs.replace(event, event_id=f"{due_ms}-{n_sent}", event_time_ms=due_ms)
                await sender.add(event.user_id.encode(), encode(stamped))
                n_sent += 1
            await sender.flush()
            if len(due) < n_due:
                break
        await sender.drain()
    finally:
        await sender.close()
