"""A tail: every partition of a topic read from its beginning, for what each worker needs whole."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from stream_app.changelog import RecoveryError
from stream_app.kafka import check_reading, client_options, forget, stop_consumer
from stream_app.record_size import LARGE_TOPIC_BYTES
from stream_app.rights import final_error, reading
from stream_app.topic_facts import TopicFactsCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from stream_app.handover import Handover
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFacts

    Restore = Callable[[int, int, int, str | None], int | None]

START_AGAIN: Final = "start the worker again: it reads the topic from its beginning"

_NOT_BY_ITSELF: Final = "mend the cause if this comes again: Kafka answers, but not with what can be read"
_POLL_MS = 1_000
_CATCH_UP_POLL_MS = 20
_FETCH_WAIT_MS = 100
_MAX_RECORDS = 5_000
_RETRY_S = 0.5
_LOOK_EVERY_S = 10.0
_STOP_TIMEOUT_S = 1.0


class TailService(Service):
    """Follow all partitions of a topic, committed records only, with no group and no offsets kept.

    Partitions that are added are read from their beginning as soon as they are found. A topic that is deleted, or made
    anew, ends the worker: what was read of the former one would stay among what comes.

    Parameters
    ----------
    topic
        The topic to follow; it must exist.
    apply
        Called with records of one partition, in offset order, in the executor's thread.
    executor
        The thread that changes the replica.
    handover
        Tells which partitions reach the replica without this tail.
    restore
        Called in the executor's thread with a partition, the two ends of its log and the id of its topic before it is
        read for the first time; returns the offset to begin at after what it has applied itself, or None for the
        beginning.
    remedy
        What an operator can do when the topic was deleted or made anew, once there is one.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self,
        settings: Settings,
        topic: str,
        apply: Callable[[Sequence[KafkaRecord]], object],
        executor: Executor,
        handover: Handover | None = None,
        restore: Restore | None = None,
        remedy: str = START_AGAIN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.caught_up = asyncio.Event()
        self._settings = settings
        self._topic = topic
        self._apply = apply
        self._executor = executor
        self._handover = handover
        self._restore = restore
        self._remedy = remedy
        self._facts = TopicFactsCache(settings, [topic])
        self._topic_id: str | None = None
        self._n_partitions = 0
        self._log = structlog.get_logger(__name__).bind(topic=topic)
        self._offsets: dict[int, int] = {}
        self._n_records = 0

    @property
    def topic(self) -> str:
        """The topic that is followed."""
        return self._topic

    @property
    def positions(self) -> dict[int, int]:
        """Next offset per partition, whoever brings its records."""
        return {**self._offsets, **(self._handover.positions if self._handover is not None else {})}

    @property
    def status(self) -> dict[str, Any]:
        """What ``/health/ready`` shows of the tail: next offset per partition, and whether it has caught up."""
        return {"ready": self.caught_up.is_set(), "offsets": {str(p): o for p, o in sorted(self.positions.items())}}

    @Service.task
    async def _watch(self) -> None:
        """Look for more partitions, and for another topic under the name, every few seconds."""
        while not self.should_stop:
            await self.sleep(_LOOK_EVERY_S)
            if not self._goes_on():
                return
            looking = asyncio.ensure_future(self._look())
            looking.add_done_callback(forget)  # it may be left behind, and fail then
            while not looking.done() and self._goes_on():  # a broker that hangs does not hold up the end
                await asyncio.wait([looking], timeout=_STOP_TIMEOUT_S)
            if looking.done():
                with contextlib.suppress(KafkaError):  # the reader tells
                    looking.result()

    def _goes_on(self) -> bool:
        return not self.should_stop

    async def _look(self) -> TopicFacts:
        """Return the facts of the topic, and note how many partitions it has.

        Raises
        ------
        RecoveryError
            It was deleted, or made anew.
        """
        try:
            facts = await self._facts.get(self._topic)
        except RecoveryError as error:
            message = f"{error}; then {self._remedy}"
            raise RecoveryError(message) from error
        self._topic_id = self._topic_id or facts.topic_id
        if facts.topic_id is not None and facts.topic_id != self._topic_id:
            message = (
                f"topic {self._topic}: it was deleted and made anew while the worker ran (id {self._topic_id} is now "
                f"{facts.topic_id}). To go on, {self._remedy}"
            )
            raise RecoveryError(message)
        if 0 < self._n_partitions < facts.n_partitions:
            self._log.info("tail_grows", n_partitions=facts.n_partitions, n_before=self._n_partitions)
        self._n_partitions = max(facts.n_partitions, self._n_partitions)
        return facts

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            try:
                await self._read()
            except KafkaError as error:
                final = await final_error(self._settings, error, reading(self._topic))
                if final is not None:
                    raise final from error
                remedy = "none needed: goes on when Kafka answers" if error.retriable else _NOT_BY_ITSELF
                self._log.warning("tail_interrupted", error=repr(error), offsets=dict(self._offsets), remedy=remedy)
                await self.sleep(_RETRY_S)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=LARGE_TOPIC_BYTES,
        )
        try:
            await consumer.start()
            targets = await self._begin(consumer)
            while not self.should_stop and len(targets) == self._n_partitions:
                timeout_ms = _POLL_MS if self.caught_up.is_set() else _CATCH_UP_POLL_MS
                batches = await consumer.getmany(timeout_ms=timeout_ms, max_records=_MAX_RECORDS)
                check_reading(consumer)
                for tp, records in batches.items():
                    await self._take(tp.partition, cast("Sequence[KafkaRecord]", records))
                self._share_work(consumer)
                await self._note_marks(consumer)
                if not self.caught_up.is_set():
                    await self._note_progress(consumer, targets)
        finally:
            stopping = asyncio.ensure_future(stop_consumer(consumer))
            stopping.add_done_callback(forget)
            await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)

    async def _begin(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Assign all partitions, go back to where reading stopped, and return the ends to catch up to."""
        facts = await self._look()
        tps = [TopicPartition(self._topic, partition) for partition in range(self._n_partitions)]
        begins = await consumer.beginning_offsets(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            await self._restore_once(tp.partition, begins[tp], ends[tp], facts.topic_id)
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, max(begins[tp], self._offsets.get(tp.partition, 0)))
        return {tp: ends[tp] for tp in tps}

    async def _restore_once(self, partition: int, begin: int, end: int, topic_id: str | None) -> None:
        if self._restore is None or partition in self._offsets or self.caught_up.is_set():
            return
        call = asyncio.get_running_loop().run_in_executor
        offset = await call(self._executor, self._restore, partition, begin, end, topic_id)
        if offset is not None:
            await call(self._executor, self._note_read, partition, offset)

    async def _take(self, partition: int, records: Sequence[KafkaRecord]) -> None:
        end = records[-1].offset + 1
        meeting = self._handover.meeting(partition, records[0].offset, end) if self._handover is not None else None
        if meeting is not None:
            await self._bring_all(partition, [record for record in records if record.offset < meeting], meeting)
            records = [record for record in records if record.offset >= meeting]
        await self._bring_all(partition, records, end)

    async def _bring_all(self, partition: int, records: Sequence[KafkaRecord], end: int) -> None:
        if not records or (self._handover is not None and partition in self._handover.taken):
            return  # fetched before the task took over; it hands them over itself
        await asyncio.get_running_loop().run_in_executor(self._executor, self._bring, partition, records, end)

    def _bring(self, partition: int, records: Sequence[KafkaRecord], end: int) -> None:
        """Apply records, and note how far that is; in the executor's thread."""
        self._apply(records)
        self._n_records += len(records)
        self._note_read(partition, end)

    def _note_read(self, partition: int, offset: int) -> None:
        self._offsets[partition] = offset
        if self._handover is not None:
            self._handover.note_read(partition, offset)

    async def _note_marks(self, consumer: AIOKafkaConsumer) -> None:
        """Note the marks of transactions that were read after the last records: a task may begin there."""
        if self._handover is None:
            return
        taken = self._handover.taken
        for tp in consumer.assignment():
            offset = await consumer.position(tp)
            if tp.partition not in taken and offset > self._offsets.get(tp.partition, 0):
                await asyncio.get_running_loop().run_in_executor(self._executor, self._note_read, tp.partition, offset)

    def _share_work(self, consumer: AIOKafkaConsumer) -> None:
        """Stop reading what this worker's own tasks hand over, and go on with what they no longer do."""
        if self._handover is None:
            return
        for partition, offset in self._handover.take_released().items():
            tp = TopicPartition(self._topic, partition)
            self._offsets[partition] = max(offset, self._offsets.get(partition, 0))
            consumer.seek(tp, self._offsets[partition])
            consumer.resume(tp)
        for partition in self._handover.taken:
            tp = TopicPartition(self._topic, partition)
            if tp not in consumer.paused():
                consumer.pause(tp)

    async def _note_progress(self, consumer: AIOKafkaConsumer, targets: dict[TopicPartition, int]) -> None:
        for tp, end in targets.items():
            if await consumer.position(tp) < end:
                return
        self.caught_up.set()
        self._log.info("tail_caught_up", n_records=self._n_records)
