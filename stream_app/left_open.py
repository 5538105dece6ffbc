"""Ends what an earlier transaction of a task has left open, though its coordinator says that it is over.

When a transaction is decided, its coordinator writes a marker to each partition that it touched. A partition that has
no leader at that moment is passed over, and the transaction is noted as complete all the same
(``TransactionMarkerChannelManager``: "these partitions are likely deleted already and hence can be skipped"). That was
seen after a kill of the only broker: starting again, it ends what was open before its partitions have a leader. What
was written there belongs to no transaction any more, and the next marker of the same producer decides about it: an
aborted commit would be committed with the next one, and its events, which are learned again, would count twice.

So before a task goes on it looks where records lie beyond the last stable offset, and ends a transaction without
records there as the coordinator had decided. Whatever the task had left is committed or aborted with it; what others
write there at the moment is not concerned.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import TopicPartition

from stream_app.changelog import RecoveryError
from stream_app.kafka import started_consumer
from stream_app.outcome import COMMITTED, last_outcome

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from stream_app.processor import StageSpec
    from stream_app.settings import Settings
    from stream_app.transaction import TaskProducer

PATIENCE_S: Final = 10.0
"""How long the marker of the end may take to arrive, from the first answer on."""
_ASK_AGAIN_S: Final = 0.02
_MOST_ENDS: Final = 3
"""Partitions that others write to as well may be held by them: they are ended in so often at the most."""

_log = structlog.get_logger(__name__)


class LastTransaction:
    """How the last transaction of a task's id has ended, remembered over attempts to open: each wipes it out."""

    def __init__(self) -> None:
        self.is_committed = False

    async def look(self, settings: Settings, transactional_id: str) -> None:
        """Ask the coordinator, before a producer of the id is started.

        Raises
        ------
        aiokafka.errors.KafkaError
            The broker does not answer.
        """
        state = await last_outcome(settings, transactional_id)
        if state not in {None, "Empty"}:  # what an attempt before this one has left says nothing
            self.is_committed = state == COMMITTED


async def end_left_open(
    settings: Settings, spec: StageSpec, partition: int, producer: TaskProducer, last: LastTransaction
) -> int | None:
    """End what is left open in the partitions that a task writes to, and make sure that its changelog is whole.

    Parameters
    ----------
    producer
        Of the task, started: nobody else writes to the task's part of the changelog any more.
    last
        How the transaction that has left it had ended.

    Returns
    -------
    int or None
        Offset from which on the changelog had records that are aborted now: a local store that goes further is not
        what the changelog tells.

    Raises
    ------
    RecoveryError
        Somebody else's transaction is open in the changelog: what is committed beyond it cannot be read.
    aiokafka.errors.KafkaError
        The broker does not answer, or refuses.
    """
    changelog = TopicPartition(spec.changelog_topic, partition)
    written = [changelog, *spec.writes_to(partition)]
    async with (
        started_consumer(settings, isolation_level="read_uncommitted") as uncommitted,
        started_consumer(settings) as committed,
    ):
        left = first = await _held(uncommitted, committed, written)
        for _ in range(_MOST_ENDS):
            if not left:
                break
            _log.warning(
                "transaction_left_open",
                stage=spec.name,
                partition=partition,
                offsets={f"{tp.topic}-{tp.partition}": offset for tp, offset in left.items()},
                ends="commit" if last.is_committed else "abort",
                remedy="none needed: it is ended as its coordinator had decided",
            )
            await producer.end_in(left, commit=last.is_committed)
            await _until_whole(uncommitted, committed, changelog)
            now = await _held(uncommitted, committed, list(left))
            left = {tp: offset for tp, offset in now.items() if left[tp] == offset}
    was_committed, last.is_committed = last.is_committed, False
    return None if was_committed else first.get(changelog)


async def _held(
    uncommitted: AIOKafkaConsumer, committed: AIOKafkaConsumer, tps: list[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return the last stable offsets of the partitions that have records beyond them."""
    ends = await uncommitted.end_offsets(tps)  # first: what is added in between is no reason
    stable = await committed.end_offsets(tps)
    return {tp: stable[tp] for tp in tps if stable[tp] < ends[tp]}


async def _until_whole(uncommitted: AIOKafkaConsumer, committed: AIOKafkaConsumer, changelog: TopicPartition) -> None:
    """Wait until the changelog has no open transaction."""
    began_s: float | None = None
    while found := await _held(uncommitted, committed, [changelog]):
        began_s = time.monotonic() if began_s is None else began_s  # a partition without a leader answers late
        passed_s = time.monotonic() - began_s
        if passed_s > PATIENCE_S:
            message = (
                f"changelog {changelog.topic}, partition {changelog.partition}: a transaction that is not this task's "
                f"is open at offset {found[changelog]}, so that what was committed after it cannot be read. Abort it "
                "with kafka-transactions.sh (find-hanging, then abort) and start the worker again"
            )
            raise RecoveryError(message)
        await asyncio.sleep(_ASK_AGAIN_S)
