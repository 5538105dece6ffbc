"""Finds the records that a lag is counted from: the first readable one of a range of offsets, and the newest one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
from aiokafka import TopicPartition

from state.layout import EPOCH_2000_S
from state.updates import HEADER, UPDATE_VERSION
from stream_app.decoding import decode_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka import AIOKafkaConsumer

Range = tuple[int, int]

LOOK_BACK: Final = 16
"""So many offsets before the end the newest record is looked for: the last ones may be markers."""

_POLL_MS = 50
_MAX_TIME_MS = 2**63 - 1
"""The difference of two times must be a number that fits a float, whatever somebody has sent."""


class _Timed(msgspec.Struct):
    event_time_ms: Annotated[int, msgspec.Meta(ge=-_MAX_TIME_MS, le=_MAX_TIME_MS)]


_timed = msgspec.json.Decoder(_Timed)


class Found(NamedTuple):
    """What is known of the readable records from ``start`` on: the first one's place, or that there is none yet."""

    start: int
    first: int
    timestamp_ms: int | None
    """Of the first record, by Kafka; None: nothing readable in ``[start, first)``."""
    event_ms: int | None = None
    """When the first record's event happened; for an item update, the newest event in it."""
    newest_end: int = -1
    """The end of the range in which the newest record was looked for."""
    newest_ms: int | None = None
    """When the newest record's event happened."""

    def covers(self, position: int) -> bool:
        """Return whether this holds for a range that begins at ``position``, too."""
        return self.start <= position <= self.first

    @property
    def event_span_s(self) -> float | None:
        """How much later the newest record happened than the first one, in seconds; None if a time is not known."""
        if self.event_ms is None or self.newest_ms is None:
            return None
        return max(self.newest_ms - self.event_ms, 0) / 1_000


def event_time_ms(value: bytes | None) -> int | None:
    """Return when the event in a record happened, in milliseconds since 1970; None if the record does not say.

    Parameters
    ----------
    value
        An event (JSON) or an item update (bytes of :mod:`state.updates`).
    """
    if not value:
        return None
    if value[0] == UPDATE_VERSION:  # no JSON begins with this byte
        if len(value) < HEADER.itemsize:
            return None
        return (int(np.frombuffer(value, HEADER, 1)["as_of_s"][0]) + EPOCH_2000_S) * 1_000
    event = decode_or_none(_timed.decode, value)
    return None if event is None else event.event_time_ms


class RecordFinder:
    """Remembers what it has found, so that a range is read once, however often it is asked about.

    Parameters
    ----------
    consumer
        A started consumer of committed records without a group; it is assigned and paused here.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._found: dict[TopicPartition, Found] = {}

    async def find(
        self, ranges: Mapping[TopicPartition, Range], timeout_s: float, *, event_times: bool = True
    ) -> dict[TopicPartition, Found]:
        """Return what is known of each range ``[start, end)`` after looking for at most ``timeout_s`` seconds.

        Parameters
        ----------
        ranges
            Offsets, the end not included.
        event_times
            Whether the records are events or item updates, whose own times are wanted.
        """
        deadline_s = time.monotonic() + timeout_s
        first: dict[TopicPartition, Range] = {}
        for tp, (start, end) in ranges.items():
            known = self._found.get(tp)
            if known is None or not known.covers(start) or known.first > end:
                self._found[tp] = known = Found(start, start, None)
            if known.timestamp_ms is None and known.first < end:
                first[tp] = (known.first, end)
        await self._read(first, deadline_s, self._take_first, 1)
        if not event_times:
            return {tp: self._found[tp] for tp in ranges}
        newest = {
            tp: (max(self._found[tp].first, end - LOOK_BACK), end)
            for tp, (_, end) in ranges.items()
            if self._found[tp].event_ms is not None and self._found[tp].newest_end != end
        }
        await self._read(newest, deadline_s, self._take_newest, LOOK_BACK)
        return {tp: self._found[tp] for tp in ranges}

    async def _read(
        self,
        wanted: dict[TopicPartition, Range],
        deadline_s: float,
        take: Callable[[TopicPartition, list[Any], int, int], bool],
        at_once: int,
    ) -> None:
        """Read from the begin of each range until ``take`` has what it wants, or the range's end is reached.

        A fetch brings thousands of records: no more than ``at_once`` of them are looked at before ``take`` is asked.
        """
        if not wanted:
            return
        consumer = self._consumer
        consumer.assign(list(wanted))
        for tp, (begin, _) in wanted.items():
            consumer.seek(tp, begin)
        left = {tp: end for tp, (_, end) in wanted.items()}
        while left and time.monotonic() < deadline_s:
            batches = await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=at_once)
            for tp, end in list(left.items()):
                position = await consumer.position(tp)
                if take(tp, batches.get(tp, []), position, end) or position >= end:
                    consumer.pause(tp)
                    del left[tp]

    def _take_first(self, tp: TopicPartition, records: list[Any], position: int, end: int) -> bool:
        del end
        start = self._found[tp].start
        if not records:
            self._found[tp] = Found(start, position, None)
            return False
        record = records[0]
        self._found[tp] = Found(start, record.offset, record.timestamp, event_time_ms(record.value))
        return True

    def _take_newest(self, tp: TopicPartition, records: list[Any], position: int, end: int) -> bool:
        times = [t for t in (event_time_ms(record.value) for record in reversed(records)) if t is not None]
        if times:
            self._found[tp] = self._found[tp]._replace(newest_end=end, newest_ms=times[0])
        return position >= end
