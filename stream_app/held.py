"""Finds partitions in which a transaction is held open, so that nobody can read what was written after it began.

A consumer that reads committed records gets nothing beyond the last stable offset, and its lag knows nothing of what
lies there. Transactions that end as they should move this offset all the time; one whose producer hangs does not, until
the broker ends it (``transaction.timeout.ms`` of the producer, at most 15 minutes by default), or forever if the broker
has lost track of it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from stream_app.lag_records import RecordFinder
from stream_app.partition_lag import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaConsumer, TopicPartition

PROBE_TIMEOUT_S: Final = 1.0
"""How long the first record of an open transaction is looked for."""
SUSPICIOUS_S: Final = 10.0
"""The age from which on a transaction is asked about twice, when nothing is known from before."""
PAUSE_S: Final = 1.0
"""So long after the first question; a worker under load commits once a second."""


class _Seen(NamedTuple):
    """An open transaction as it was seen last."""

    offset: int
    since_s: float
    """When it was first seen there, or, of those of the first question, the time of its first record."""


class HeldFinder:
    """Remembers what was open, so that how long it has been is not taken from the records' times alone.

    Producers may give records the time of what they tell of: a replay of last year in short transactions holds nothing.

    Parameters
    ----------
    committed
        A started consumer that reads committed records; it tells last stable offsets.
    uncommitted
        One that reads all records; it tells the ends of the logs, and is assigned here.
    clock_s
        Seconds, from any beginning.
    """

    def __init__(
        self,
        committed: AIOKafkaConsumer,
        uncommitted: AIOKafkaConsumer,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._committed, self._uncommitted, self._clock_s = committed, uncommitted, clock_s
        self._finder = RecordFinder(uncommitted)
        self._seen: dict[TopicPartition, _Seen] | None = None

    async def find(self, tps: Iterable[TopicPartition], now_ms: Callable[[], int]) -> dict[TopicPartition, Held]:
        """Return what is held in these partitions; those without an open transaction are left out.

        Parameters
        ----------
        tps
            All that are ever asked about: what is not among them is forgotten.
        now_ms
            Wall clock in milliseconds since 1970.

        Raises
        ------
        aiokafka.errors.KafkaError
            The broker does not answer.
        """
        before, now = self._seen, await self._ask(list(tps))
        now_s = self._clock_s()
        still = {tp: span for tp, span in now.items() if before is None or _stood_still(before.get(tp), span[0])}
        found = await self._finder.find(still, PROBE_TIMEOUT_S, event_times=False) if still else {}
        ages = {tp: self._age_s(found[tp].timestamp_ms, now_ms()) for tp in still}
        if before is None:
            ages = await self._confirmed(now, ages)
            self._seen = {tp: _Seen(span[0], now_s - (ages.get(tp) or 0.0)) for tp, span in now.items()}
        else:
            self._seen = {tp: before[tp] if tp in still else _Seen(span[0], now_s) for tp, span in now.items()}
            for tp, age_s in ages.items():
                seen_s = now_s - before[tp].since_s
                ages[tp] = seen_s if age_s is None else min(age_s, seen_s)
        return {tp: Held(end - stable, ages.get(tp, 0.0)) for tp, (stable, end) in now.items()}

    async def _ask(self, tps: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the last stable offset and the end of those that differ."""
        if not tps:
            return {}
        ends = await self._uncommitted.end_offsets(tps)  # first: what is added in between is no transaction
        stable = await self._committed.end_offsets(tps)
        return {tp: (stable[tp], ends[tp]) for tp in tps if stable[tp] < ends[tp]}

    async def _confirmed(
        self, now: dict[TopicPartition, tuple[int, int]], ages: dict[TopicPartition, float | None]
    ) -> dict[TopicPartition, float | None]:
        """Return the ages, 0 for those that have ended meanwhile: nothing is known from before but records' times."""
        unsure = [tp for tp, age_s in ages.items() if age_s is None or age_s >= SUSPICIOUS_S]
        if not unsure:
            return ages
        await asyncio.sleep(PAUSE_S)
        again = await self._ask(unsure)
        return ages | {tp: 0.0 for tp in unsure if tp not in again or again[tp][0] != now[tp][0]}

    @staticmethod
    def _age_s(timestamp_ms: int | None, now_ms: int) -> float | None:
        return None if timestamp_ms is None else max(now_ms - timestamp_ms, 0) / 1_000


def _stood_still(seen: _Seen | None, offset: int) -> bool:
    return seen is not None and seen.offset == offset
