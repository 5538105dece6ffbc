"""Measures how far the stages are behind, from the broker alone: it is right when no worker runs, too.

Commit markers of transactions take offsets, so the distance between the committed offset and the end is not yet a lag.
From the committed offset on, one readable record is looked for: if there is none, the lag is 0; if there is one, the
lag is counted from it, and its age is the lag in seconds. Markers that lie between later records are still counted.

"The end" is the last stable offset: records of a transaction that is still open cannot be read by a worker, and count
once it is committed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app.kafka import client_options
from stream_app.unreachable import no_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream_app.settings import Settings

CONNECT_TIMEOUT_S: Final = 10.0
"""How long the broker may take to answer at the start."""
COORDINATOR_TIMEOUT_S: Final = 10.0
"""How long a group's coordinator may take: on a new cluster its topic is made at the first question."""
PROBE_TIMEOUT_S: Final = 3.0
"""How long the first uncommitted record of each partition is looked for."""

_POLL_MS = 50
_RETRY_S = 0.1
_PROBE_BYTES = 65_536


class LagError(Exception):
    """The lag cannot be measured. The message ends with the remedy."""


class PartitionLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far one stage is behind in one partition.

    Attributes
    ----------
    stage
        ``"user"`` or ``"item"``.
    group, topic, partition
        What was measured.
    end
        Last stable offset: the offset after the last record that a worker can read.
    committed
        Offset of the next record to process; None if nothing was ever committed.
    lag_events
        Records to process; markers between them are counted, so that it may be a little too high, and is 0 only when
        nothing is left.
    lag_s
        Age of the first of them by the wall clock, in seconds; 0 when there is none; None when it could not be read in
        time.
    problem
        A sentence with a remedy when the committed offset does not fit the topic, else None.
    """

    stage: str
    group: str
    topic: str
    partition: int
    end: int
    committed: int | None
    lag_events: int
    lag_s: float | None
    problem: str | None = None


class _Stage(NamedTuple):
    name: str
    group: str
    topic: str


class _Probe(NamedTuple):
    """What is known of the readable records from ``start`` on: the first one's place, or that there is none yet."""

    start: int
    first: int
    timestamp_ms: int | None
    """None: nothing readable in ``[start, first)``."""

    def covers(self, position: int) -> bool:
        return self.start <= position <= self.first


class LagMeter:
    """Measures the lag again and again over the same connections.

    Use it as an asynchronous context manager, or call `start` and `stop`.

    Parameters
    ----------
    settings
        Broker, application id and topic names.
    now_ms
        Wall clock in milliseconds since 1970.

    Examples
    --------
    ::

        async with LagMeter(settings) as meter:
            for lag in await meter.measure():
                print(lag.stage, lag.partition, lag.lag_events)
    """

    def __init__(self, settings: Settings, *, now_ms: Callable[[], int] | None = None) -> None:
        self._settings = settings
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._stages = (
            _Stage("user", f"{settings.app_id}.user", settings.topic_events),
            _Stage("item", f"{settings.app_id}.item", settings.topic_item_updates),
        )
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._probes: dict[TopicPartition, _Probe] = {}

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self.stop()

    async def start(self) -> None:
        """Connect.

        Raises
        ------
        LagError
            The broker does not answer within ``CONNECT_TIMEOUT_S``.
        """
        options = client_options(self._settings)
        timeout_ms = int(CONNECT_TIMEOUT_S * 1_000)
        self._admin = AIOKafkaAdminClient(**options, request_timeout_ms=timeout_ms)
        self._consumer = AIOKafkaConsumer(
            **options,
            request_timeout_ms=timeout_ms,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_PROBE_BYTES,
            fetch_max_wait_ms=_POLL_MS,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._admin.start()
                await self._consumer.start()
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            await self.stop()
            raise LagError(no_broker(self._settings, error)) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Disconnect. It may be called more than once."""
        if self._consumer is not None:
            await self._consumer.stop()
        if self._admin is not None:
            await self._admin.close()
        self._consumer = self._admin = None

    async def measure(self) -> list[PartitionLag]:
        """Return the lag of each partition, by stage and partition.

        Raises
        ------
        LagError
            The meter is not started, the broker does not answer, or a topic is missing.
        """
        if self._consumer is None or self._admin is None:
            message = "the lag meter is not started; use `async with LagMeter(settings) as meter`"
            raise LagError(message)
        try:
            return await self._measure(self._consumer, self._admin)
        except KafkaError as error:
            raise LagError(no_broker(self._settings, error)) from error

    async def _measure(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> list[PartitionLag]:
        partitions = await self._partitions(admin)
        everything = [tp for stage in self._stages for tp in partitions[stage.topic]]
        # The committed offsets first: what is committed later can then not seem to lie beyond the end.
        committed: dict[TopicPartition, int] = {}
        for stage in self._stages:
            committed |= await self._committed(admin, stage.group, partitions[stage.topic])
        begins = await consumer.beginning_offsets(everything)
        ends = await consumer.end_offsets(everything)
        starts = {tp: max(committed[tp], begins[tp]) for tp in everything}
        await self._probe(consumer, {tp: (starts[tp], ends[tp]) for tp in everything if starts[tp] < ends[tp]})
        return [
            self._lag_of(stage, tp, committed=committed[tp], start=starts[tp], end=ends[tp])
            for stage in self._stages
            for tp in partitions[stage.topic]
        ]

    async def _partitions(self, admin: AIOKafkaAdminClient) -> dict[str, list[TopicPartition]]:
        topics = [stage.topic for stage in self._stages]
        # Asking about a missing topic by name would make it where brokers make topics by themselves.
        present = set(await admin.list_topics())
        missing = [topic for topic in topics if topic not in present]
        if missing:
            message = f"topic {missing[0]!r} does not exist: make it with `crossaisle topics create`"
            raise LagError(message)
        found: dict[str, list[TopicPartition]] = {}
        for topic in await admin.describe_topics(topics):
            numbers = sorted(partition["partition"] for partition in topic["partitions"])
            found[topic["topic"]] = [TopicPartition(topic["topic"], number) for number in numbers]
        return found

    async def _committed(
        self, admin: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the group's offset of each partition, -1 where none was committed."""
        deadline_s = time.monotonic() + COORDINATOR_TIMEOUT_S
        while True:
            try:
                offsets = await admin.list_consumer_group_offsets(group, partitions=partitions)
            except KafkaError as error:
                if not error.retriable or time.monotonic() > deadline_s:
                    raise
            else:
                # A coordinator that is still loading answers with no partitions at all.
                if all(tp in offsets for tp in partitions):
                    return {tp: offsets[tp].offset for tp in partitions}
                if time.monotonic() > deadline_s:
                    message = f"the coordinator of group {group!r} is not ready; try again when the broker has settled"
                    raise LagError(message)
            await asyncio.sleep(_RETRY_S)

    async def _probe(self, consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Find the first readable record of each range ``[start, end)`` that is not known yet."""
        wanted: dict[TopicPartition, int] = {}
        for tp, (start, end) in ranges.items():
            known = self._probes.get(tp)
            if known is None or not known.covers(start) or known.first > end:
                self._probes[tp] = known = _Probe(start, start, None)
            if known.timestamp_ms is None and known.first < end:
                wanted[tp] = end
        if not wanted:
            return
        consumer.assign(list(wanted))
        for tp in wanted:
            consumer.seek(tp, self._probes[tp].first)
        deadline_s = time.monotonic() + PROBE_TIMEOUT_S
        while wanted and time.monotonic() < deadline_s:
            batches = await consumer.getmany(*wanted, timeout_ms=_POLL_MS)
            for tp, end in list(wanted.items()):
                start = self._probes[tp].start
                if batches.get(tp):
                    record = batches[tp][0]
                    self._probes[tp] = _Probe(start, record.offset, record.timestamp)
                    consumer.pause(tp)
                    del wanted[tp]
                else:
                    position = await consumer.position(tp)
                    self._probes[tp] = _Probe(start, position, None)
                    if position >= end:
                        consumer.pause(tp)
                        del wanted[tp]

    def _lag_of(self, stage: _Stage, tp: TopicPartition, *, committed: int, start: int, end: int) -> PartitionLag:
        problem = None
        lag_events, lag_s = 0, 0.0
        probe = self._probes.get(tp)
        age_s: float | None = lag_s
        if start < end:
            assert probe is not None  # noqa: S101 - _probe has just filled it
            if probe.first < end:
                lag_events = end - probe.first
                age_s = None if probe.timestamp_ms is None else max(self._now_ms() - probe.timestamp_ms, 0) / 1_000
        elif committed > end:
            problem = (
                f"committed offset {committed} lies beyond the end {end}: the topic was recreated or truncated; "
                "the worker will say how to reset"
            )
        return PartitionLag(
            stage=stage.name,
            group=stage.group,
            topic=tp.topic,
            partition=tp.partition,
            end=end,
            committed=committed if committed >= 0 else None,
            lag_events=lag_events,
            lag_s=age_s,
            problem=problem,
        )


async def measure_lag(settings: Settings) -> list[PartitionLag]:
    """Connect, measure once and disconnect; see `LagMeter.measure`.

    Raises
    ------
    LagError
        The broker does not answer, or a topic is missing.
    """
    async with LagMeter(settings) as meter:
        return await meter.measure()
