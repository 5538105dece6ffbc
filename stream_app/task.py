"""A task: the one owner of an input partition, of its state, and of a transactional producer.

Commits (:mod:`stream_app.commit`) begin one commit interval apart as long as something is read
(:mod:`stream_app.rhythm`), earlier where a processor has very much to write; there is one more when the partition is
revoked. What a processor has ready before is sent at once, in the transaction that is to be committed.

Recovery, on opening and after any error: a new producer first (it fences an older one and ends its transaction), then
the local store, then the changelog from the store's position to its end, then the input from the checkpoint. What was
in memory is dropped: the committed changelog is the only truth.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from state.store import StoreFormatError, StoreFullError
from stream_app import faults
from stream_app.changelog import RecoveryError
from stream_app.commit import Committer, now_ms
from stream_app.failures import Failures, TaskFailedError, forget_frames
from stream_app.left_open import LastTransaction
from stream_app.recovery import Opened, open_task
from stream_app.replay import RestoreProgress
from stream_app.rhythm import Rhythm
from stream_app.rights import final_error, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from aiokafka import AIOKafkaConsumer

    from stream_app.meters import StageMeters
    from stream_app.processor import Output, Processor, StageSpec
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFactsCache

_POLL_MS = 1_000
_FEW_RECORDS = 64
"""With more records in a batch a task has not kept up, and all slates wait for the commit."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What the tasks of a stage have from it."""

    settings: Settings
    spec: StageSpec
    consumer: AIOKafkaConsumer
    """The stage's group consumer. Each task reads, seeks and resumes its own partition only."""
    executor: Executor
    """One thread: everything that touches the processor or the store of the task runs in it."""
    replica_executor: Executor
    """The thread that applies pages and catalogue records to the replica."""
    facts: TopicFactsCache
    on_fenced: Callable[[int], None]
    """Told the partition when another owner has taken it: the stage rejoins its group."""
    on_failed: Callable[[BaseException], None]
    """Told an error that no retry can mend: the worker stops."""

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in the task's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, function, *args)


class Task:
    """One partition of a stage, from :meth:`start` to :meth:`stop`."""

    def __init__(self, context: TaskContext, partition: int) -> None:
        self._context = context
        self._partition = partition
        self._input = TopicPartition(context.spec.input_topic, partition)
        self._log = structlog.get_logger(__name__).bind(stage=context.spec.name, partition=partition)
        self._runner: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[Sequence[KafkaRecord]] | None = None
        self._opened: Opened | None = None
        self._stopping = False
        self._closing = False
        self._failures = Failures(context.spec.name, self._input, self._log)
        self._committer = Committer(context, self._input, self._log)
        self._last = LastTransaction()
        self._state = "new"
        self._restoring: RestoreProgress | None = None
        self._uncommitted_ms: list[int] = []

    @property
    def status(self) -> dict[str, Any]:
        """State, positions and commits, as ``/health/ready`` shows them."""
        opened = self._opened
        return {
            "partition": self._partition,
            "state": self._state,
            "input_offset": opened.committed_offset if opened else None,
            "read_offset": opened.next_offset if opened else None,
            "changelog_offset": opened.store.position if opened else None,
            "n_commits": self._committer.n_commits,
            "last_commit_ms": self._committer.last_commit_ms,
            "restore": self._restore_status(),
        }

    def _restore_status(self) -> dict[str, Any] | None:
        restoring = self._restoring
        if restoring is None:
            return None
        left_s = restoring.left_s(time.monotonic())
        return {
            "position": restoring.position,
            "end": restoring.end,
            "n_left": restoring.n_left,
            "left_s": None if left_s is None else round(left_s, 1),
        }

    @property
    def is_running(self) -> bool:
        """Whether the task has recovered and reads its input."""
        return self._state == "running"

    @property
    def has_ended(self) -> bool:
        """Whether nobody works on the partition any more, until the group gives it anew."""
        return self._runner is not None and self._runner.done()

    @property
    def processor(self) -> Processor | None:
        """The open processor, None while the task recovers. It belongs to the task's thread."""
        return self._opened.processor if self._opened is not None and self.is_running else None

    def start(self) -> None:
        """Begin to recover, then to work, in the background."""
        self._runner = asyncio.create_task(self._run(), name=f"task-{self._context.spec.name}-{self._partition}")
        self._runner.add_done_callback(self._note_end)

    def _note_end(self, runner: asyncio.Task[None]) -> None:
        """Stop the worker when the task has ended by an error of its own: nobody would work on its partition."""
        error = None if runner.cancelled() else runner.exception()
        if error is not None:
            self._context.on_failed(error)

    async def stop(self, timeout_s: float) -> None:
        """Commit what has been read and close; drop it if that takes longer than ``timeout_s`` seconds."""
        self._stopping = True
        runner = self._runner
        if runner is None:
            return
        if self._polling is not None:
            self._polling.cancel()
        elif self._opened is None and not self._closing:  # else the next owner would begin before this one has ended
            runner.cancel()
        await asyncio.wait([runner], timeout=timeout_s)
        if not runner.done():
            self._log.warning("task_dropped", timeout_s=timeout_s, remedy="none needed: the next owner recovers it")
            runner.cancel()
            await asyncio.wait([runner], timeout=timeout_s)

    @property
    def _is_assigned(self) -> bool:
        return self._input in self._context.consumer.assignment()

    async def _run(self) -> None:
        while not self._stopping:
            delay_s = 0.0
            try:
                await self._open()
                await self._work()
            except asyncio.CancelledError:
                return
            except ProducerFenced:
                self._log.warning("task_fenced", reason="another worker took the partition, or a commit took too long")
                self._context.on_fenced(self._partition)
                return
            except (RecoveryError, StoreFormatError, StoreFullError) as error:
                self._context.on_failed(error)
                return
            except Exception as error:  # noqa: BLE001  # whatever went wrong: drop the memory, recover from the log
                if self._stopping or not self._is_assigned:
                    self._log.info("task_dropped", error=repr(error), remedy="none needed: the next owner recovers it")
                    return
                if refusal(error) is not None:
                    self._context.on_failed(await final_error(self._context.settings, error) or error)
                    return
                try:
                    offset = self._opened.committed_offset if self._opened else None
                    delay_s = self._failures.note(error, offset)
                except TaskFailedError as fatal:
                    self._context.on_failed(fatal)
                    return
                forget_frames(error)
            finally:
                await self._close()
            if not self._stopping:
                await self._pause(delay_s)

    async def _open(self) -> None:
        self._state = "recovering"
        context = self._context
        self._restoring = progress = RestoreProgress()
        self._uncommitted_ms = []
        try:
            opened = await open_task(
                context.settings,
                context.spec,
                self._partition,
                context.facts,
                context.call,
                rebuild=self._failures.rebuild,
                progress=progress,
                last=self._last,
            )
        finally:
            self._restoring = None
        self._opened = opened
        self._failures.rebuild = False
        if self._stopping or not self._is_assigned:
            return
        context.consumer.seek(self._input, opened.committed_offset)
        context.consumer.resume(self._input)
        self._state = "running"
        if context.spec.handover is not None:
            context.spec.handover.opened(self._partition, opened.replayed.end)
        self._log.info("task_opened", **opened.report())

    async def _work(self) -> None:
        opened = cast("Opened", self._opened)
        settings, spec = self._context.settings, self._context.spec
        meters = spec.meters
        rhythm = Rhythm(spec.commit_interval_ms / 1000, settings.longest_interval_ms / 1000)
        if not opened.is_told:
            await self._commit(opened)
        while not self._stopping:
            records = await self._poll(_poll_ms(rhythm.due_s))
            if records:
                n_waiting = self._n_waiting(records[-1].offset + 1)
                if n_waiting:
                    self._begin_poll(0)  # so that there are records again when these are learned
                ready = await self._context.call(_learn, opened.processor, meters, records, n_waiting)
                if ready:
                    await opened.producer.send(ready)
                    faults.hit("in_interval")
                meters.batch.observe(len(records))
                self._uncommitted_ms += [record.timestamp for record in records]
            elif opened.processor.stretch > 1:
                await self._context.call(opened.processor.process, (), now_ms())  # calm counts without traffic, too
            opened.next_offset = await self._position(opened.next_offset, records)
            now_s = time.monotonic()
            if opened.next_offset != opened.committed_offset:
                rhythm.note_read(now_s, opened.processor.stretch)
            if rhythm.due_s is not None and (now_s >= rhythm.due_s or opened.processor.is_full):
                rhythm.begin(now_s)
                await self._commit(opened)
                rhythm.end(time.monotonic())
        if opened.next_offset != opened.committed_offset:
            await self._commit(opened)

    def _begin_poll(self, timeout_ms: int) -> None:
        self._polling = asyncio.create_task(self._fetch(timeout_ms))

    async def _poll(self, timeout_ms: int) -> Sequence[KafkaRecord]:
        """Return what was polled ahead; where that is nothing, what comes within ``timeout_ms``."""
        ahead = await self._end_poll() if self._polling is not None else ()
        if ahead or self._stopping:
            return ahead
        self._begin_poll(timeout_ms)
        return await self._end_poll()

    async def _end_poll(self) -> Sequence[KafkaRecord]:
        try:
            return await cast("asyncio.Task[Sequence[KafkaRecord]]", self._polling)
        except asyncio.CancelledError:
            if self._stopping and self._polling is not None and self._polling.cancelled():
                return ()
            raise
        finally:
            self._polling = None

    async def _fetch(self, timeout_ms: int) -> Sequence[KafkaRecord]:
        context = self._context
        batches = await context.consumer.getmany(
            self._input, timeout_ms=timeout_ms, max_records=context.settings.max_batch_events
        )
        return cast("Sequence[KafkaRecord]", batches.get(self._input, ()))

    def _n_waiting(self, position: int) -> int:
        highwater = self._context.consumer.highwater(self._input) if self._is_assigned else None
        return max(0, highwater - position) if highwater is not None else 0

    async def _position(self, known: int, records: Sequence[KafkaRecord]) -> int:
        """Return the next input offset: after the records, and after the markers of transactions that follow them.

        The consumer, which knows of those, may be further already, with records that are still to be learned.
        """
        after = records[-1].offset + 1 if records else known
        if self._stopping or not self._is_assigned or self._polling is not None:
            return after
        return max(after, int(await self._context.consumer.position(self._input)))

    async def _commit(self, opened: Opened) -> None:
        timestamps_ms, self._uncommitted_ms = self._uncommitted_ms, []
        await self._committer.commit(opened, timestamps_ms)
        self._failures.reset()

    async def _close(self) -> None:
        self._closing = True
        try:
            await self._close_opened()
        finally:
            self._closing = False

    async def _close_opened(self) -> None:
        opened, self._opened = self._opened, None
        polling, self._polling = self._polling, None
        if polling is not None:  # what it has read was not learned: it is read again
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        if self._context.spec.handover is not None:
            self._context.spec.handover.closed(self._partition)
        self._state = "closed" if self._stopping else "recovering"
        if opened is not None:
            if self._context.spec.on_closed is not None:  # in its thread: after what may still run there
                await asyncio.shield(self._context.call(self._context.spec.on_closed, self._partition))
            await asyncio.shield(opened.close(self._context.call))

    async def _pause(self, delay_s: float) -> None:
        if delay_s:
            try:
                await asyncio.sleep(delay_s)
            except asyncio.CancelledError:
                if not self._stopping:
                    raise


def _poll_ms(due_s: float | None) -> int:
    """Return how long to wait for records until a commit is due: never so long that the end of a load goes unseen."""
    if due_s is None:
        return _POLL_MS
    return min(_POLL_MS, max(0, round((due_s - time.monotonic()) * 1000)))


def _learn(processor: Processor, meters: StageMeters, records: Sequence[KafkaRecord], n_waiting: int) -> list[Output]:
    """Learn records; return what is ready to be sent, unless there are so many that it would soon be stale."""
    meters.learn.timed(processor.process)(records, now_ms(), n_waiting)
    if n_waiting or len(records) > _FEW_RECORDS:
        return []
    return meters.prompt.timed(processor.prompt)(now_ms())
