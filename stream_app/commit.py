"""The commits of one task: all of an interval in one Kafka transaction, then in the local store.

1. Send, in one transaction, which slates sent ahead may have begun: the processor's outputs, its changed pages, a
checkpoint record with the input offset, and the group's offset (for lag tools: recovery does not read it);
2. commit the transaction;
3. write the same pages, the checkpoint and the changelog position to the local store, in one batch;
4. tell the processor, and hand the pages to a replica in the same process.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from state.store import Origin
from stream_app import faults
from stream_app.changelog import CHECKPOINT_KEY
from stream_app.packing import PackedBatch, pack
from stream_app.processor import Flush, Output
from stream_app.recovery import encode_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.pages import Pages
    from stream_app.processor import Processor
    from stream_app.recovery import Opened
    from stream_app.task import TaskContext


def now_ms() -> int:
    """Return the present time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Committer:
    """Makes the commits of one task.

    Parameters
    ----------
    context
        Of the stage.
    source
        Partition of the input.
    log
        Bound to the task.

    Attributes
    ----------
    n_commits, last_commit_ms
        How many there were, and when the last one was.
    """

    def __init__(self, context: TaskContext, source: TopicPartition, log: Any) -> None:
        self.n_commits = 0
        self.last_commit_ms: int | None = None
        self._context, self._source, self._log = context, source, log
        self._changelog = TopicPartition(context.spec.changelog_topic, source.partition)

    async def commit(self, opened: Opened, timestamps_ms: Sequence[int]) -> None:
        """Commit what an open task has read and made of it.

        Parameters
        ----------
        timestamps_ms
            Of the records read since the last commit.

        Raises
        ------
        aiokafka.errors.KafkaError
            The outcome is unknown: drop what is in memory and recover.
        """
        context, spec, partition = self._context, self._context.spec, self._source.partition
        started, as_of_ms = time.monotonic(), now_ms()
        flush, packed = await context.call(spec.meters.flush.timed(_flush), opened.processor, now_ms())
        sent_s = time.monotonic()
        checkpoint = encode_checkpoint(spec, partition, opened, flush.state)
        pages = [Output(spec.changelog_topic, partition, key, page) for key, page in flush.pages.singles]
        pages.append(Output(spec.changelog_topic, partition, CHECKPOINT_KEY, checkpoint))
        faults.hit("before_transaction")
        ends = await opened.producer.commit(
            [*flush.outputs, *pages], {self._source: opened.next_offset}, spec.group_id, {self._changelog: packed}
        )
        spec.meters.transaction.observe(time.monotonic() - sent_s)
        spec.meters.note_latencies(timestamps_ms, now_ms())
        faults.hit("after_commit")
        position = ends[self._changelog]
        if position < 0:
            message = "the broker did not say where the changelog records are: reading them again"
            raise KafkaError(message)
        origin = Origin(opened.changelog_topic_id, as_of_ms)
        await context.call(_settle, opened, flush, position, checkpoint, origin)
        await self._hand_over(flush.pages, position)
        opened.committed_offset = opened.next_offset
        self.n_commits += 1
        self.last_commit_ms = now_ms()
        self._log.debug(
            "task_committed",
            input_offset=opened.next_offset,
            n_outputs=len(flush.outputs),
            n_pages=len(flush.pages),
            took_ms=round((time.monotonic() - started) * 1000, 1),
        )

    async def _hand_over(self, pages: Pages, position: int) -> None:
        handover, partition = self._context.spec.handover, self._source.partition
        if handover is not None and handover.settled(partition, position, pages):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._context.replica_executor, handover.apply, partition, pages, position)


def _flush(processor: Processor, at_ms: int) -> tuple[Flush, list[PackedBatch]]:
    flush = processor.flush(at_ms)
    return flush, pack(flush.pages, at_ms)


def _settle(opened: Opened, flush: Flush, position: int, checkpoint: bytes, origin: Origin) -> None:
    faults.hit_during("in_local_write")
    opened.store.write(flush.pages, position=position, checkpoint=checkpoint, origin=origin)
    faults.survive()
    opened.processor.committed()
