"""Ends what an earlier transaction of a task has left open, though its coordinator says that it is over.

A broker that has just started ends the transactions that were open when it was killed. If it does not know its
partitions yet, it takes them for deleted, writes no marker to them, and notes the transaction as ended all the same
(``TransactionMarkerChannelManager``: "these partitions are likely deleted already and hence can be skipped"). What was
written there belongs to no transaction any more, and the next marker of the same producer decides about it: the next
commit would commit it as well, and events would count twice.

So before a task goes on it looks where records lie beyond the last stable offset, and aborts a transaction without
records there. Whatever it had left is aborted with it; what others write there at the moment is not concerned.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from stream_app.changelog import RecoveryError
from stream_app.kafka import started_consumer

if TYPE_CHECKING:
    from stream_app.processor import StageSpec
    from stream_app.settings import Settings
    from stream_app.transaction import TaskProducer

PATIENCE_S: Final = 10.0
"""How long the marker of an abort may take to arrive; the broker repeats what it cannot write at once."""
_ASK_AGAIN_S = 0.02


async def end_left_open(settings: Settings, spec: StageSpec, partition: int, producer: TaskProducer) -> None:
    """Abort what is left open in the partitions that a task writes to, and make sure that its changelog is whole.

    Parameters
    ----------
    producer
        Of the task, started: nobody else writes to the task's part of the changelog any more.

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

        async def held(tps: list[TopicPartition]) -> dict[TopicPartition, int]:
            ends = await uncommitted.end_offsets(tps)  # first: what is added in between is no reason
            stable = await committed.end_offsets(tps)
            return {tp: stable[tp] for tp in tps if stable[tp] < ends[tp]}

        found = await held(written)
        if not found:
            return
        await producer.abort_in(found)
        deadline_s: float | None = None
        while found := await held([changelog]):
            if deadline_s is None:  # from the first answer on: a partition without a leader gives none for a while
                deadline_s = time.monotonic() + PATIENCE_S
            if time.monotonic() > deadline_s:
                message = (
                    f"changelog {spec.changelog_topic}, partition {partition}: a transaction that is not this task's "
                    f"is open at offset {found[changelog]}, so that what was committed after it cannot be read. Abort "
                    "it with kafka-transactions.sh (find-hanging, then abort) and start the worker again"
                )
                raise RecoveryError(message)
            await asyncio.sleep(_ASK_AGAIN_S)
