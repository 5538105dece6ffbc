"""Reports catalogue records that could not be read to the rejects topic, each of them once.

Every worker tails the catalogue, so every worker meets each bad record; the one that owns partition 0 of the events
topic reports it. What has been reported is kept as the offsets of a consumer group, in the same transaction as the
rejects, so that neither a restart nor a change of owner reports a record again. Of what it has met a worker keeps the
first and the last offset alone, however many there are, and reads the topic again when it reports them: what has been
compacted away by then is not reported.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from mode import Service

from stream_app.joined_catalog import widen
from stream_app.kafka import started_consumer
from stream_app.processor import Output
from stream_app.record_size import LARGE_TOPIC_BYTES, content_bytes
from stream_app.records import EventLimits, decode_catalog, encode_reject
from stream_app.reject_log import where_rejects_are
from stream_app.rights import final_error
from stream_app.transaction import TaskProducer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from aiokafka import AIOKafkaConsumer

    from stream_app.joined_catalog import BadRecords
    from stream_app.records import KafkaRecord, Rejection
    from stream_app.settings import Settings

MOST_BYTES_AT_ONCE = 16 << 20
"""Originals of so many bytes are reported in one transaction, at least one."""

_MOST_READ_AT_ONCE = 100_000
"""Records read for one transaction."""
_MAX_RECORDS = 5_000
_POLL_MS = 1_000
_EVERY_S = 1.0


class _Portion(NamedTuple):
    """What one transaction reports of a partition."""

    outputs: list[Output]
    next_offset: int
    """Where the next portion begins."""


def catalog_rejects_group(settings: Settings) -> str:
    """Return the group whose offsets tell what has been reported; it names the producer of the reports, too."""
    return f"{settings.app_id}.catalog-rejects"


class CatalogRejects(Service):
    """Collect where the catalogue tail met bad records, and report them while this worker is the one to do so.

    Parameters
    ----------
    take
        Returns where bad records were met since its last call; called in the executor's thread.
    is_reporter
        Whether this worker owns partition 0 of the events topic.
    executor
        The thread that changes the replica.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self,
        settings: Settings,
        take: Callable[[], BadRecords],
        is_reporter: Callable[[], bool],
        executor: Executor,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._take = take
        self._is_reporter = is_reporter
        self._executor = executor
        self._limits = EventLimits.of(settings)
        self._log = structlog.get_logger(__name__)
        self._waiting: dict[TopicPartition, tuple[int, int]] = {}
        self._group_id = catalog_rejects_group(settings)
        self._is_delayed = False
        self._n_met = 0

    async def collect(self) -> None:
        """Take over where the tail has met bad records."""
        bad = await asyncio.get_running_loop().run_in_executor(self._executor, self._take)
        for partition, (first, last) in bad.places.items():
            widen(self._waiting, TopicPartition(self._settings.topic_catalog, partition), first, last)
        n_met = sum(bad.by_code.values())
        if n_met > self._n_met:
            remedy = where_rejects_are(self._settings.topic_rejects)
            self._log.warning("catalog_rejected", n_records=n_met - self._n_met, by_code=bad.by_code, remedy=remedy)
        self._n_met = n_met

    async def report(self) -> int:
        """Send what waits and has not been reported yet, in one transaction; return how many records that were.

        What is in other partitions, or beyond :data:`MOST_BYTES_AT_ONCE`, goes on waiting.

        Raises
        ------
        aiokafka.errors.KafkaError
            Nothing was reported; it will be tried again.
        """
        if not self._waiting:
            return 0
        tp, (first, last) = next(iter(self._waiting.items()))
        producer = await TaskProducer.start(self._settings, self._group_id)
        try:
            await producer.end_in([TopicPartition(self._settings.topic_rejects, 0)])  # see stream_app.left_open
            portion = await self._portion(tp, first, last)
            if portion.outputs:
                await producer.commit(portion.outputs, {tp: portion.next_offset}, self._group_id)
        finally:
            await producer.discard()
        if portion.next_offset > last:
            del self._waiting[tp]
        else:
            self._waiting[tp] = (portion.next_offset, last)
        return len(portion.outputs)

    async def _portion(self, tp: TopicPartition, first: int, last: int) -> _Portion:
        """Read on from what has been reported, to ``last`` at the most, and return what is bad of that."""
        outputs: list[Output] = []
        n_read, n_bytes = 0, 0
        async with started_consumer(
            self._settings,
            group_id=self._group_id,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=LARGE_TOPIC_BYTES,
        ) as consumer:
            consumer.assign([tp])
            begin = max(first, await consumer.committed(tp) or 0)
            consumer.seek(tp, begin)
            while begin <= last and n_read < _MOST_READ_AT_ONCE:
                records = await self._read(consumer, tp)
                for record, rejection in await self._bad_of([r for r in records if r.offset <= last]):
                    n_bytes += content_bytes(record.key, record.value, record.headers)
                    if outputs and n_bytes > MOST_BYTES_AT_ONCE:
                        return _Portion(outputs, record.offset)
                    outputs.append(Output(self._settings.topic_rejects, 0, *encode_reject(record, rejection)))
                position = min(await consumer.position(tp), last + 1)
                if position <= begin:
                    break  # Kafka does not answer, or has no more: asked again with the next portion
                begin, n_read = position, n_read + len(records)
        return _Portion(outputs, begin)

    async def _read(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> Sequence[KafkaRecord]:
        found = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        return cast("Sequence[KafkaRecord]", found.get(tp, ()))

    async def _bad_of(self, records: Sequence[KafkaRecord]) -> list[tuple[KafkaRecord, Rejection]]:
        def look() -> list[tuple[KafkaRecord, Rejection]]:
            return [(records[r.index], r) for r in decode_catalog(records, limits=self._limits).rejections]

        return await asyncio.get_running_loop().run_in_executor(self._executor, look)

    @Service.task
    async def _report_while_owner(self) -> None:
        while not self.should_stop:
            await self.collect()
            try:
                if self._is_reporter():
                    await self.report()
                    self._is_delayed = False
            except ProducerFenced:
                self._log.info("catalog_rejects_fenced", reason="another worker has become the one that reports")
            except KafkaError as error:
                final = await final_error(self._settings, error)
                if final is not None:
                    raise final from error
                self._tell_delay(error)
            await self.sleep(_EVERY_S)

    def _tell_delay(self, error: KafkaError) -> None:
        """Log the first failure of a row: a broker that is away fails every second."""
        if not self._is_delayed:
            self._log.warning("catalog_rejects_delayed", error=repr(error), remedy="none needed: tried until it works")
        self._is_delayed = True
