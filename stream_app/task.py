"""A task: the one owner of an input partition, of its state, and of a transactional producer.

At every commit interval in which something was read, and when the partition is revoked, a task

 1. sends, in one transaction: the processor's outputs, its changed pages, a checkpoint record with the input offset,
    and the group's offset (for lag tools: recovery does not read it);
 2. commits the transaction;
 3. writes the same pages, the checkpoint and the changelog position to the local store, in one batch;
 4. tells the processor.

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
from aiokafka.errors import KafkaError, ProducerFenced

from state.store import StoreDamagedError, StoreFormatError, StoreFullError
from stream_app import faults
from stream_app.changelog import CHECKPOINT_KEY, RecoveryError, RestoreProgress
from stream_app.packing import PackedBatch, pack
from stream_app.processor import Flush, Output, Processor, StageSpec
from stream_app.recovery import Opened, encode_checkpoint, open_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from aiokafka import AIOKafkaConsumer

    from state.pages import Pages
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFactsCache

__all__ = ["Flush", "Output", "Processor", "StageSpec", "Task", "TaskContext", "TaskFailedError"]

MAX_FAILURES = 8
"""Failures in a row, with no commit between them, after which a task gives up. Waiting for a broker is no failure."""

_POLL_MS = 1_000
_MAX_BACKOFF_S = 5.0
_FIRST_BACKOFF_S = 0.1
_RETRY_S = 0.5
_WARN_EVERY_S = 30.0

T = TypeVar("T")


class TaskFailedError(Exception):
    """A task fails every time it tries to go on; the message names the place and the remedy."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What the tasks of a stage share."""

    settings: Settings
    spec: StageSpec
    consumer: AIOKafkaConsumer
    """The stage's group consumer. Each task reads, seeks and resumes its own partition only."""
    executor: Executor
    """One thread: everything that touches a processor or a store of the stage runs in it."""
    replica_executor: Executor
    """The thread that owns the replica; the same one for a stage that reads it."""
    facts: TopicFactsCache
    on_fenced: Callable[[int], None]
    """Told the partition when another owner has taken it: the stage rejoins its group."""
    on_failed: Callable[[BaseException], None]
    """Told an error that no retry can mend: the worker stops."""


class Task:
    """One partition of a stage, from :meth:`start` to :meth:`stop`."""

    def __init__(self, context: TaskContext, partition: int) -> None:
        self._context = context
        self._partition = partition
        self._input = TopicPartition(context.spec.input_topic, partition)
        self._changelog = TopicPartition(context.spec.changelog_topic, partition)
        self._log = structlog.get_logger(__name__).bind(stage=context.spec.name, partition=partition)
        self._runner: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[Sequence[KafkaRecord]] | None = None
        self._opened: Opened | None = None
        self._stopping = False
        self._rebuild = False
        self._n_failures = 0
        self._n_commits = 0
        self._last_commit_ms: int | None = None
        self._warned_s = float("-inf")
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
            "n_commits": self._n_commits,
            "last_commit_ms": self._last_commit_ms,
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
    def processor(self) -> Processor | None:
        """The open processor, None while the task recovers. It belongs to the executor's thread."""
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
        elif self._opened is None:
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
                try:
                    delay_s = self._note_failure(error)
                except TaskFailedError as fatal:
                    self._context.on_failed(fatal)
                    return
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
                self._call,
                rebuild=self._rebuild,
                progress=progress,
            )
        finally:
            self._restoring = None
        self._opened = opened
        self._rebuild = False
        if self._stopping or not self._is_assigned:
            return
        context.consumer.seek(self._input, opened.committed_offset)
        context.consumer.resume(self._input)
        self._state = "running"
        if context.spec.handover is not None:
            context.spec.handover.opened(self._partition)
        self._log.info("task_opened", **opened.report())

    async def _work(self) -> None:
        interval_s = self._context.spec.commit_interval_ms / 1000
        opened = cast("Opened", self._opened)
        meters = self._context.spec.meters
        due: float | None = None
        while not self._stopping:
            timeout_ms = _POLL_MS if due is None else max(0, round((due - time.monotonic()) * 1000))
            records = await self._poll(timeout_ms)
            if records:
                n_waiting = self._n_waiting(records[-1].offset + 1)
                await self._call(meters.learn.timed(opened.processor.process), records, _now_ms(), n_waiting)
                meters.batch.observe(len(records))
                self._uncommitted_ms += [record.timestamp for record in records]
            opened.next_offset = await self._position(opened.next_offset, records)
            if due is None and opened.next_offset != opened.committed_offset:
                due = time.monotonic() + interval_s * opened.processor.stretch
            if due is not None and time.monotonic() >= due:
                await self._commit(opened)
                due = None
        if opened.next_offset != opened.committed_offset:
            await self._commit(opened)

    async def _poll(self, timeout_ms: int) -> Sequence[KafkaRecord]:
        self._polling = asyncio.create_task(self._fetch(timeout_ms))
        try:
            return await self._polling
        except asyncio.CancelledError:
            if self._stopping and self._polling.cancelled():
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
        """Return the next input offset: after the records, and after the markers of transactions that follow them."""
        after = records[-1].offset + 1 if records else known
        if self._stopping or not self._is_assigned:
            return after
        return max(after, int(await self._context.consumer.position(self._input)))

    async def _commit(self, opened: Opened) -> None:
        spec = self._context.spec
        started = time.monotonic()
        flush, packed = await self._call(spec.meters.flush.timed(_flush), opened.processor, _now_ms())
        sent_s = time.monotonic()
        checkpoint = encode_checkpoint(spec, self._partition, opened, flush.state)
        pages = [Output(spec.changelog_topic, self._partition, key, page) for key, page in flush.pages.singles]
        pages.append(Output(spec.changelog_topic, self._partition, CHECKPOINT_KEY, checkpoint))
        faults.hit("before_transaction")
        ends = await opened.producer.commit(
            [*flush.outputs, *pages], {self._input: opened.next_offset}, spec.group_id, {self._changelog: packed}
        )
        spec.meters.transaction.observe(time.monotonic() - sent_s)
        spec.meters.note_latencies(self._uncommitted_ms, _now_ms())
        self._uncommitted_ms = []
        faults.hit("after_commit")
        position = ends[self._changelog]
        if position < 0:
            msg = "the broker did not say where the changelog records are: reading them again"
            raise KafkaError(msg)
        await self._call(_settle, opened, flush, position, checkpoint)
        await self._hand_over(flush.pages, position)
        opened.committed_offset = opened.next_offset
        self._n_failures = 0
        self._n_commits += 1
        self._last_commit_ms = _now_ms()
        self._log.debug(
            "task_committed",
            input_offset=opened.next_offset,
            n_outputs=len(flush.outputs),
            n_pages=len(flush.pages),
            took_ms=round((time.monotonic() - started) * 1000, 1),
        )

    async def _hand_over(self, pages: Pages, position: int) -> None:
        handover = self._context.spec.handover
        if handover is not None and handover.settled(self._partition, position):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._context.replica_executor, handover.apply, self._partition, pages, position)

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if self._context.spec.handover is not None:
            self._context.spec.handover.closed(self._partition)
        self._state = "closed" if self._stopping else "recovering"
        if opened is not None:
            await asyncio.shield(opened.close(self._call))

    def _note_failure(self, error: Exception) -> float:
        """Count a failure and return how long to wait before recovering, in seconds."""
        if isinstance(error, StoreDamagedError):
            self._rebuild = True
        if isinstance(error, KafkaError) and error.retriable:
            if time.monotonic() - self._warned_s > _WARN_EVERY_S:
                self._warned_s = time.monotonic()
                self._log.warning(
                    "task_interrupted", error=repr(error), remedy="none needed: recovers when Kafka answers"
                )
            return _RETRY_S
        self._n_failures += 1
        offset = self._opened.committed_offset if self._opened else None
        if self._n_failures >= MAX_FAILURES:
            msg = (
                f"stage {self._context.spec.name}, partition {self._partition}: failed {self._n_failures} times in a "
                f"row after offset {offset} of {self._input.topic}, last with {error!r}; nothing of it was committed. "
                "Mend the cause that the log shows and start the worker again"
            )
            raise TaskFailedError(msg) from error
        self._log.error(
            "task_failed", error=repr(error), n_failures=self._n_failures, after_offset=offset, exc_info=error
        )
        return float(min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (self._n_failures - 1)))

    async def _pause(self, delay_s: float) -> None:
        if delay_s:
            try:
                await asyncio.sleep(delay_s)
            except asyncio.CancelledError:
                if not self._stopping:
                    raise

    async def _call(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._context.executor, function, *args)


def _flush(processor: Processor, now_ms: int) -> tuple[Flush, list[PackedBatch]]:
    flush = processor.flush(now_ms)
    return flush, pack(flush.pages, now_ms)


def _settle(opened: Opened, flush: Flush, position: int, checkpoint: bytes) -> None:
    faults.hit_during("in_local_write")
    opened.store.write(flush.pages, position=position, checkpoint=checkpoint)
    faults.survive()
    opened.processor.committed()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
