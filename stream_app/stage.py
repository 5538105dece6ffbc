"""A stage: one consumer group over an input topic, and a task for each partition that this worker owns."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from mode import Service

from stream_app.changelog import RecoveryError, start_anew, start_over
from stream_app.kafka import check_reading, client_options, stop_consumer
from stream_app.members import client_id
from stream_app.record_size import LARGE_TOPIC_BYTES
from stream_app.rights import final_error
from stream_app.shared_settings import SharingAssignor
from stream_app.task import Task, TaskContext
from stream_app.topic_facts import TopicFactsCache

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Executor

    from stream_app.processor import Processor, StageSpec
    from stream_app.settings import Settings

_FETCH_WAIT_MS = 100
_HEARTBEATS_PER_SESSION = 3
_NO_POLL_LIMIT_MS = 2**31 - 1  # recovery may take long, and a task that hangs is seen in /health/ready
_REVOKE_TIMEOUT_SHARE = 0.5
_STOP_TIMEOUT_S = 1.2
_WATCH_EVERY_S = 1.0
_CHECK_TOPICS_EVERY = 10
_NOWHERE = TopicPartition("", 0)


class StageService(Service):
    """Run the tasks of one stage, opening and closing them as the group rebalances.

    Parameters
    ----------
    settings
        Of the application.
    spec
        Names, rhythm and processor of the stage.
    executors
        Threads for processors and stores of the stage, one each; a partition is always in the same one.
    replica_executor
        The thread that applies pages and catalogue records to the replica.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self,
        settings: Settings,
        spec: StageSpec,
        executors: Sequence[Executor],
        replica_executor: Executor,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._spec = spec
        self._executors, self._replica_executor = executors, replica_executor
        self._log = structlog.get_logger(__name__).bind(stage=spec.name)
        self._consumer: AIOKafkaConsumer | None = None
        self._context: TaskContext | None = None
        self._topic_ids: dict[str, str] = {}
        self._n_partitions: dict[str, int] = {}
        self._tasks_open: dict[int, Task] = {}
        self._has_assignment = False

    @property
    def status(self) -> dict[str, Any]:
        """What ``/health/ready`` shows of the stage."""
        tasks = [self._tasks_open[partition].status for partition in sorted(self._tasks_open)]
        return {"ready": self.is_ready, "group": self._spec.group_id, "tasks": tasks}

    @property
    def is_ready(self) -> bool:
        """Whether the group has given this worker its partitions, none perhaps, and all their tasks run."""
        return self._has_assignment and all(task.is_running for task in self._tasks_open.values())

    @Service.task
    async def _join(self) -> None:
        """Join the group, as soon as Kafka answers."""
        while not self.should_stop:
            try:
                await self._start_consumer()
            except KafkaError as error:
                if not error.retriable:
                    raise (await final_error(self._settings, error) or error) from error
                self._log.warning(
                    "group_unreachable", error=repr(error), remedy="none needed: joins when Kafka answers"
                )
                await self.sleep(_WATCH_EVERY_S)
            else:
                return

    async def _start_consumer(self) -> None:
        settings, spec = self._settings, self._spec
        consumer = AIOKafkaConsumer(
            **client_options(settings),
            client_id=client_id(settings),
            group_id=spec.group_id,
            partition_assignment_strategy=(SharingAssignor(settings),),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(1, settings.session_timeout_ms // _HEARTBEATS_PER_SESSION),
            max_poll_interval_ms=_NO_POLL_LIMIT_MS,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=LARGE_TOPIC_BYTES,
        )
        try:
            await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            raise
        facts = TopicFactsCache(settings, [spec.input_topic, spec.changelog_topic])
        self._consumer = consumer
        self._context = TaskContext(
            settings,
            spec,
            consumer,
            self._executors[0],
            self._replica_executor,
            facts,
            on_fenced=self._on_fenced,
            on_failed=self._on_failed,
        )
        consumer.subscribe([spec.input_topic], listener=_Listener(self))

    async def on_stop(self) -> None:
        """Commit and close every task, then leave the group."""
        await self._close_tasks(_STOP_TIMEOUT_S)
        if self._consumer is not None:
            stopping = asyncio.ensure_future(stop_consumer(self._consumer))
            await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)
            if not stopping.done():
                stopping.cancel()

    def is_running(self, partition: int) -> bool:
        """Return whether this worker owns a partition and its task has recovered."""
        task = self._tasks_open.get(partition)
        return task is not None and task.is_running

    def processors(self) -> dict[int, Processor]:
        """Return the open processors by partition; each belongs to the thread of :meth:`executor`."""
        found = {partition: task.processor for partition, task in sorted(self._tasks_open.items())}
        return {partition: processor for partition, processor in found.items() if processor is not None}

    def executor(self, partition: int) -> Executor:
        """Return the thread that a partition's task runs in, or would."""
        return self._executors[self._spec.thread_of(partition)]

    async def assign(self, partitions: Iterable[int]) -> None:
        """Open a task for each of the partitions."""
        consumer, context = self._consumer, self._context
        if consumer is None or context is None or self.should_stop:
            return
        await self._close_tasks(self._revoke_timeout_s)
        for partition in sorted(partitions):
            tp = TopicPartition(self._spec.input_topic, partition)
            consumer.seek(tp, 0)  # a placeholder, so that nothing is looked up in the group; the task knows better
            consumer.pause(tp)
            task = Task(replace(context, executor=self.executor(partition)), partition)
            self._tasks_open[partition] = task
            task.start()
        self._has_assignment = True
        self._log.info("partitions_assigned", partitions=sorted(self._tasks_open))

    async def revoke(self) -> None:
        """Commit and close every task: the group is about to share out all partitions anew."""
        self._has_assignment = False
        if self._tasks_open:
            self._log.info("partitions_revoked", partitions=sorted(self._tasks_open))
        await self._close_tasks(self._revoke_timeout_s)

    @Service.task
    async def _watch(self) -> None:
        """See what no task sees: errors of the group while it gives us nothing, and topics made anew."""
        n_rounds = 0
        while not self.should_stop:
            await self.sleep(_WATCH_EVERY_S)
            try:
                await self._check_group()
                if n_rounds % _CHECK_TOPICS_EVERY == 0:
                    await self._check_topics()
            except KafkaError as error:
                if not error.retriable:
                    raise (await final_error(self._settings, error) or error) from error
            n_rounds += 1

    async def _check_group(self) -> None:
        if self._consumer is not None:
            check_reading(self._consumer)
        if self._consumer is not None and all(task.has_ended for task in self._tasks_open.values()):
            with suppress(ConsumerStoppedError):  # the stage ends meanwhile, or joins anew with another one
                await self._consumer.getmany(_NOWHERE, timeout_ms=0)

    async def _check_topics(self) -> None:
        if self._context is None:
            return
        for topic in (self._spec.input_topic, self._spec.changelog_topic):
            facts = await self._context.facts.get(topic)
            topic_id, n_before = facts.topic_id, self._n_partitions.setdefault(topic, facts.n_partitions)
            if topic_id is not None and self._topic_ids.setdefault(topic, topic_id) != topic_id:
                message = (
                    f"topic {topic}: it was deleted and made anew while the worker ran (id {self._topic_ids[topic]} is "
                    f"now {topic_id}). To go on, {start_over(self._settings)}"
                )
                raise RecoveryError(message)
            if facts.n_partitions != n_before:
                message = (
                    f"topic {topic}: it has {facts.n_partitions} partitions and had {n_before} when the worker "
                    "started: events of a user may go to another one than before. To go on, "
                    f"{start_anew(self._settings)}"
                )
                raise RecoveryError(message)

    def _ask_for_assignment(self) -> None:
        """Join the group again, as for a rebalance that somebody else has caused.

        To subscribe again would do so, too, but ends the group's routine for good if that is just looking for the
        coordinator: it goes on with the subscription of before, and fails on it.
        """
        if self._consumer is not None:
            self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - there is no other way to ask for it

    def _on_fenced(self, partition: int) -> None:
        self._log.warning("group_rejoin", partition=partition)
        if not self.should_stop:
            self._ask_for_assignment()

    def _on_failed(self, error: BaseException) -> None:
        self._log.error("stage_stopped", error=str(error))
        self.add_future(self.crash(error))

    async def _close_tasks(self, timeout_s: float) -> None:
        tasks = list(self._tasks_open.values())
        await asyncio.gather(*(task.stop(timeout_s) for task in tasks))
        self._tasks_open.clear()

    @property
    def _revoke_timeout_s(self) -> float:
        return self._settings.session_timeout_ms / 1000 * _REVOKE_TIMEOUT_SHARE


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka's bases are untyped
    """Passes assignments on; aiokafka only logs what a listener raises, so errors crash the stage here."""

    def __init__(self, stage: StageService) -> None:
        self._stage = stage

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Close all tasks; ``revoked`` is everything that was assigned."""
        del revoked
        try:
            await self._stage.revoke()
        except Exception as error:  # noqa: BLE001  # nobody else would ever see it
            await self._stage.crash(error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Open a task for each partition."""
        try:
            await self._stage.assign([tp.partition for tp in assigned])
        except Exception as error:  # noqa: BLE001  # nobody else would ever see it
            await self._stage.crash(error)
