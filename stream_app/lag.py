"""Measures how far the stages are behind, from the broker alone: it is right when no worker runs, too.

Commit markers of transactions take offsets, so the distance between the committed offset and the end is not yet a lag.
From the committed offset on, one readable record is looked for: if there is none, the lag is 0; if there is one, the
lag is counted from it, and its age is the lag in seconds. Markers that lie between later records are still counted.
The lag in event time is how much later the newest record happened than the first uncommitted one: a shop that replays
a year of purchases may be a second behind by the clock and a week behind in its own time.

"The end" is the last stable offset: records of a transaction that is still open cannot be read by a worker, and count
once it is committed. How many wait there, and for how long, is told beside the lag (:mod:`stream_app.held`).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app.held import HeldFinder
from stream_app.kafka import client_options, stop_consumer
from stream_app.lag_records import RecordFinder
from stream_app.partition_lag import NOTHING_HELD, PartitionLag, Stage, lag_of
from stream_app.rights import Kind, Operation, Right, reading
from stream_app.unreachable import why_missing, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream_app.settings import Settings

CONNECT_TIMEOUT_S: Final = 20.0
"""How long the broker may take to answer at the start."""
COORDINATOR_TIMEOUT_S: Final = 10.0
"""How long a group's coordinator may take: on a new cluster its topic is made at the first question."""
PROBE_TIMEOUT_S: Final = 3.0
"""How long the first uncommitted record of each partition is looked for."""

_FETCH_WAIT_MS = 50
_RETRY_S = 0.1
_PROBE_BYTES = 65_536
_KEEP_PARTITIONS_S = 30.0


class LagError(Exception):
    """The lag cannot be measured. The message ends with the remedy."""


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
            Stage("user", f"{settings.app_id}.user", settings.topic_events),
            Stage("item", f"{settings.app_id}.item", settings.topic_item_updates),
        )
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._uncommitted: AIOKafkaConsumer | None = None
        self._partitions: dict[str, list[TopicPartition]] = {}
        self._partitions_s = float("-inf")
        self._finder: RecordFinder | None = None
        self._held: HeldFinder | None = None

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
        self._consumer, self._uncommitted = (
            AIOKafkaConsumer(
                **options,
                request_timeout_ms=timeout_ms,
                isolation_level=level,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=_PROBE_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            for level in ("read_committed", "read_uncommitted")
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                for client in (self._admin, self._consumer, self._uncommitted):
                    await client.start()
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            await self.stop()
            raise LagError(await why_not(self._settings, error, self._rights)) from error
        except BaseException:
            await self.stop()
            raise
        self._finder = RecordFinder(self._consumer)
        self._held = HeldFinder(self._consumer, self._uncommitted)

    @property
    def _rights(self) -> list[Right]:
        """What is needed to measure."""
        groups = [Right((Operation.DESCRIBE,), Kind.GROUP, stage.group) for stage in self._stages]
        return [*reading(*(stage.topic for stage in self._stages)), *groups]

    @property
    def admin(self) -> AIOKafkaAdminClient:
        """The meter's connection, for other questions to the same broker."""
        if self._admin is None:
            message = "the lag meter is not started; use `async with LagMeter(settings) as meter`"
            raise LagError(message)
        return self._admin

    async def stop(self) -> None:
        """Disconnect. It may be called more than once.

        Raises
        ------
        aiokafka.errors.KafkaError
            A task of a consumer had failed before; all is closed nevertheless.
        """
        consumers, admin = (self._consumer, self._uncommitted), self._admin
        self._consumer = self._uncommitted = self._admin = None
        problem: KafkaError | None = None
        for consumer in consumers:
            if consumer is None:
                continue
            try:  # a cancelled stop ends here: closing the other connection could hang, too
                await stop_consumer(consumer)
            except KafkaError as error:
                problem = error
        if admin is not None:
            await admin.close()
        if problem is not None:
            raise problem

    async def measure(self) -> list[PartitionLag]:
        """Return the lag of each partition, by stage and partition.

        Raises
        ------
        LagError
            The meter is not started, the broker does not answer, or a topic is missing.
        """
        admin, consumer, finder, held = self.admin, self._consumer, self._finder, self._held
        assert consumer is not None  # noqa: S101 - all come with the connection that `admin` has just checked
        assert finder is not None  # noqa: S101
        assert held is not None  # noqa: S101
        try:
            return await self._measure(consumer, admin, finder, held)
        except KafkaError as error:
            raise LagError(await why_not(self._settings, error, self._rights)) from error

    async def _measure(
        self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, finder: RecordFinder, held_finder: HeldFinder
    ) -> list[PartitionLag]:
        partitions = await self._all_partitions(admin)
        everything = [tp for stage in self._stages for tp in partitions[stage.topic]]
        # The committed offsets first: what is committed later can then not seem to lie beyond the end.
        committed: dict[TopicPartition, int] = {}
        for stage in self._stages:
            committed |= await self._committed(admin, stage.group, partitions[stage.topic])
        begins = await consumer.beginning_offsets(everything)
        ends = await consumer.end_offsets(everything)
        starts = {tp: max(committed[tp], begins[tp]) for tp in everything}
        ranges = {tp: (starts[tp], ends[tp]) for tp in everything if starts[tp] < ends[tp]}
        found = await finder.find(ranges, PROBE_TIMEOUT_S)
        held = await held_finder.find(everything, self._now_ms)
        now_ms = self._now_ms()
        return [
            lag_of(
                stage,
                tp,
                committed=committed[tp],
                begin=begins[tp],
                end=ends[tp],
                found=found.get(tp),
                now_ms=now_ms,
                held=held.get(tp, NOTHING_HELD),
            )
            for stage in self._stages
            for tp in partitions[stage.topic]
        ]

    async def measure_replica(self, topic: str, positions: Mapping[int, int]) -> list[PartitionLag]:
        """Return how far a reader without a group is behind, by partition; its stage is ``"replica"``.

        Parameters
        ----------
        topic
            What it reads whole.
        positions
            Offset of the next record that it wants, by partition.

        Raises
        ------
        LagError
            The meter is not started, or the broker does not answer.
        """
        self.admin  # noqa: B018 - checks that the meter is started
        consumer, finder = self._consumer, self._finder
        assert consumer is not None  # noqa: S101 - as in `measure`
        assert finder is not None  # noqa: S101
        stage = Stage("replica", "", topic)
        starts = {TopicPartition(topic, partition): position for partition, position in sorted(positions.items())}
        try:
            ends = await consumer.end_offsets(list(starts)) if starts else {}
            ranges = {tp: (start, ends[tp]) for tp, start in starts.items() if start < ends[tp]}
            found = await finder.find(ranges, PROBE_TIMEOUT_S, event_times=False)
        except KafkaError as error:
            raise LagError(await why_not(self._settings, error, self._rights)) from error
        now_ms = self._now_ms()
        lags = [
            lag_of(stage, tp, committed=starts[tp], begin=0, end=ends[tp], found=found.get(tp), now_ms=now_ms)
            for tp in starts
        ]
        return [msgspec.structs.replace(lag, lag_event_s=None) for lag in lags]

    async def _all_partitions(self, admin: AIOKafkaAdminClient) -> dict[str, list[TopicPartition]]:
        if time.monotonic() - self._partitions_s < _KEEP_PARTITIONS_S:
            return self._partitions
        topics = [stage.topic for stage in self._stages]
        # Asking about a missing topic by name would make it where brokers make topics by themselves.
        present = set(await admin.list_topics())
        missing = [topic for topic in topics if topic not in present]
        if missing:
            raise LagError(await why_missing(self._settings, missing[0], self._rights))
        found: dict[str, list[TopicPartition]] = {}
        for topic in await admin.describe_topics(topics):
            numbers = sorted(partition["partition"] for partition in topic["partitions"])
            found[topic["topic"]] = [TopicPartition(topic["topic"], number) for number in numbers]
        self._partitions, self._partitions_s = found, time.monotonic()
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


async def measure_lag(settings: Settings) -> list[PartitionLag]:
    """Connect, measure once and disconnect; see `LagMeter.measure`.

    Raises
    ------
    LagError
        The broker does not answer, or a topic is missing.
    """
    async with LagMeter(settings) as meter:
        return await meter.measure()
