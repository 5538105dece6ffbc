"""Finds partitions in which a transaction is held open, so that nobody can read what was written after it began.

A consumer that reads committed records gets nothing beyond the last stable offset, and its lag knows nothing of what
lies there. Transactions that end as they should move this offset all the time; one whose producer hangs does not, until
the broker ends it (``transaction.timeout.ms`` of the producer, at most 15 minutes by default), or forever if the broker
has lost track of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from stream_app.lag_records import RecordFinder
from stream_app.partition_lag import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka import AIOKafkaConsumer, TopicPartition

PROBE_TIMEOUT_S: Final = 1.0
"""How long the first record of an open transaction is looked for."""
SUSPICIOUS_S: Final = 10.0
"""The age from which on a transaction is asked about twice, when nothing is known from before."""
PAUSE_S: Final = 1.0
"""So long after the first question; a worker under load commits once a second."""


class HeldFinder:
    """Remembers the last stable offsets, so that only those which have not moved are looked into.

    Parameters
    ----------
    committed
        A started consumer that reads committed records; it tells last stable offsets.
    uncommitted
        One that reads all records; it tells the ends of the logs, and is assigned here.
    """

    def __init__(self, committed: AIOKafkaConsumer, uncommitted: AIOKafkaConsumer) -> None:
        self._committed, self._uncommitted = committed, uncommitted
        self._finder = RecordFinder(uncommitted)
        self._stable: Mapping[TopicPartition, int] = {}

    async def find(self, stable: Mapping[TopicPartition, int], now_ms: Callable[[], int]) -> dict[TopicPartition, Held]:
        """Return what is held in these partitions; those without an open transaction are left out.

        Parameters
        ----------
        stable
            Last stable offsets, asked for a moment ago.
        now_ms
            Wall clock in milliseconds since 1970.

        Raises
        ------
        aiokafka.errors.KafkaError
            The broker does not answer.
        """
        before, self._stable = self._stable, stable
        ends = await self._uncommitted.end_offsets(list(stable)) if stable else {}
        open_ones = {tp: (at, ends[tp]) for tp, at in stable.items() if at < ends[tp]}
        still = {tp: span for tp, span in open_ones.items() if before.get(tp, span[0]) == span[0]}
        found = await self._finder.find(still, PROBE_TIMEOUT_S, event_times=False) if still else {}
        ages = {tp: self._age_s(found[tp].timestamp_ms, now_ms()) for tp in still}
        # Records may have times of their own, so that an age alone proves nothing: the offset must have stood still.
        unsure = [tp for tp, age_s in ages.items() if tp not in before and (age_s is None or age_s >= SUSPICIOUS_S)]
        if unsure:
            await asyncio.sleep(PAUSE_S)
            again = await self._committed.end_offsets(unsure)
            ages |= {tp: 0.0 for tp in unsure if again[tp] != stable[tp]}
        return {tp: Held(end - at, ages.get(tp, 0.0)) for tp, (at, end) in open_ones.items()}

    @staticmethod
    def _age_s(timestamp_ms: int | None, now_ms: int) -> float | None:
        return None if timestamp_ms is None else max(now_ms - timestamp_ms, 0) / 1_000
