"""The demo's traffic: three loops around the shop floor that send purchases, read slates and measure lag."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition

from stream_app.decoding import decode_or_none
from stream_app.demo.floor import Sale, read_sale
from stream_app.demo.replay import baskets, replay_order
from stream_app.demo.state import Gauge
from stream_app.demo.stats import RateMeter
from stream_app.kafka import started_consumer
from stream_app.lag import LagError, LagMeter
from stream_app.produce import Pacer, connect_producer
from stream_app.reading import RecordFile
from stream_app.records import decode_slate
from stream_app.sender import KeyReader, RecordError, check_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    from stream_app.demo.floor import ShopFloor
    from stream_app.demo.state import DemoState
    from stream_app.settings import Settings

ITEM_EVERY_S: Final = 1.0
"""How long a household takes from one item to the next; with the rate it gives the number of tills."""

MEASURE_EVERY_S: Final = 1.0
N_FIRST: Final = 64
"""Events that are sent before the workers are known to run; the rest follows once these are learned."""

CAUGHT_UP_S: Final = 1.0
"""A worker that was started again counts as ready once its lag is below so many seconds of events."""

_FETCH_WAIT_MS: Final = 100
_POLL_MS: Final = 200
_NO_LAG_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way: what is sent, and what the demo read of it."""

    key: bytes | None
    value: bytes
    sale: Sale

    @property
    def user_id(self) -> str:
        """The household."""
        return self.sale.user_id

    @property
    def session_id(self) -> str | None:
        """The basket."""
        return self.sale.session_id


def outgoing_events(path: Path, rate: float) -> Iterator[Outgoing]:
    """Yield the events of a file in the order of the replay, for ever so large a file.

    Raises
    ------
    ReadingError
        The file is not there, damaged, or of no known format.
    RecordError
        A record is larger than a topic takes, or no JSON can hold it: the message names its line.
    """
    keys = KeyReader("user_id")

    def read() -> Iterator[Outgoing]:
        with RecordFile(path) as records:
            for record in records:
                try:
                    key, value = keys.encode(record)
                    check_size(key, value)
                except RecordError as error:
                    message = f"{records.where}: {error}"
                    raise RecordError(message) from error
                yield Outgoing(key, value, read_sale(record))

    return replay_order(baskets(read()), max(1, round(rate * ITEM_EVERY_S)))


class Feed:
    """Sends events.

    Parameters
    ----------
    settings
        Broker and topic names.
    floor
        Is told of every event, when it is sent and when the broker has it.
    events
        What to send.
    """

    def __init__(self, settings: Settings, floor: ShopFloor, events: Iterable[Outgoing]) -> None:
        self._topic = settings.topic_events
        self._settings = settings
        self._floor = floor
        self._events = iter(events)
        self._producer: AIOKafkaProducer | None = None
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Connect.

        Raises
        ------
        ProduceError
            The broker does not answer.
        """
        self._producer = await connect_producer(self._settings)

    async def stop(self) -> None:
        """Wait for what is on its way and disconnect; it may be called more than once."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def send_first(self, n_events: int = N_FIRST) -> None:
        """Send a few events, whose freshness is not measured: the worker is still starting."""
        for event in islice(self._events, n_events):
            await self._send(event, is_measured=False)

    async def send_all(self, rate: float) -> None:
        """Send the rest at ``rate`` events a second; a hold-up is not made up for with a burst.

        Raises
        ------
        aiokafka.errors.KafkaError
            The broker refuses an event.
        """
        pacer = Pacer(rate, time.monotonic())
        while True:
            n_due = pacer.due(time.monotonic())
            n_sent = 0
            for event in islice(self._events, n_due):
                await self._send(event, is_measured=True)
                n_sent += 1
            if n_sent < n_due:
                return
            await asyncio.sleep(pacer.wait_s(time.monotonic()))

    async def _send(self, event: Outgoing, *, is_measured: bool) -> None:
        if self._failure is not None:
            raise self._failure
        if self._producer is None:
            message = "the feed is not started"
            raise RuntimeError(message)
        now_s, last_ms = time.monotonic(), time.time_ns() // 1_000_000 + self._settings.max_future_ms
        sent = await self._producer.send(self._topic, event.value, key=event.key)
        self._floor.sold(event.sale, now_s, last_ms)
        sent.add_done_callback(partial(self._acknowledged, now_s if is_measured else None))

    def _acknowledged(self, sent_s: float | None, sent: asyncio.Future[Any]) -> None:
        if sent.cancelled():
            return
        failure = sent.exception()
        if failure is not None:
            self._failure = failure
        elif sent_s is not None:
            place = sent.result()
            self._floor.acknowledged(place.partition, place.offset, sent_s)


class SlateReader:
    """Reads every committed slate, from the beginning of the topic.

    Parameters
    ----------
    settings
        Broker, topic names and number of partitions.
    floor
        Is told of every slate.
    """

    def __init__(self, settings: Settings, floor: ShopFloor) -> None:
        self._settings = settings
        self._floor = floor
        topic = settings.topic_recommendations
        self._next = {TopicPartition(topic, number): 0 for number in range(settings.partitions)}

    async def follow(self) -> None:
        """Read slates as they come, until cancelled."""
        async with self._consumer() as consumer:
            while True:
                await self._read(consumer, is_measured=True)

    async def finish(self) -> None:
        """Read what has come since, to the present end of the topic; how fresh that is does not count."""
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets(list(self._next))
            while any(self._next[place] < end for place, end in ends.items()):
                await self._read(consumer, is_measured=False)

    async def _read(self, consumer: AIOKafkaConsumer, *, is_measured: bool) -> None:
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        now_s = time.monotonic()
        for records in batches.values():
            for record in records:
                slate = decode_or_none(decode_slate, record.value)
                if slate is not None:  # else somebody else has written it
                    self._floor.slate(slate, now_s, is_measured=is_measured)
        for place in self._next:
            # Beyond the last slate, too, where the markers of transactions are.
            self._next[place] = await consumer.position(place)

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        options = {"auto_offset_reset": "earliest", "fetch_max_wait_ms": _FETCH_WAIT_MS}
        async with started_consumer(self._settings, **options) as consumer:
            consumer.assign(list(self._next))
            for place, offset in self._next.items():
                consumer.seek(place, offset)
            yield consumer


async def measure(
    settings: Settings, state: DemoState, floor: ShopFloor, rate: float, all_learned: asyncio.Event
) -> None:
    """Bring lag, rates and freshness up to date once a second, until cancelled.

    ``all_learned`` is set while everything that was sent is learned and committed.

    Raises
    ------
    LagError
        The lag could not be measured for half a minute; a broker with much to do may take a while over it.
    """
    events, slates = RateMeter(), RateMeter()
    measured_s = time.monotonic()
    async with LagMeter(settings) as meter:
        while True:
            try:
                await take_lag(meter, state)
                measured_s = time.monotonic()
            except LagError:
                if time.monotonic() - measured_s > _NO_LAG_S:
                    raise
            if state.n_learned >= state.n_events:
                all_learned.set()
            else:
                all_learned.clear()
            now_s = time.monotonic()
            events.mark(state.n_events, now_s)
            slates.mark(state.n_slates, now_s)
            if state.is_open:
                state.events_per_s.set(events.per_second())
                state.slates_per_s.set(slates.per_second())
                floor.measure()
                if state.n_events - state.n_learned <= max(1.0, rate * CAUGHT_UP_S):
                    for worker in state.workers:
                        worker.ready = worker.pid is not None
            await asyncio.sleep(MEASURE_EVERY_S)


async def take_lag(meter: LagMeter, state: DemoState) -> None:
    """Measure once: the lag of each stage, and how many events the user stage has committed."""
    lags = await meter.measure()
    totals: dict[str, int] = {}
    for lag in lags:
        totals[lag.stage] = totals.get(lag.stage, 0) + lag.lag_events
    for stage, total in totals.items():
        state.stage_lag.setdefault(stage, Gauge()).set(total)
    # Events are not sent in transactions, so their topic holds no markers and its offsets count events.
    state.n_learned = sum(lag.end - lag.lag_events for lag in lags if lag.stage == "user")
