"""Reads the end of a changelog: the newest checkpoint of each partition, and the pages that stand beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from state.codec import KEY_BYTES
from stream_app.changelog import CHECKPOINT_KEY
from stream_app.kafka import started_consumer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaConsumer

    from stream_app.settings import Settings

FIRST_SPAN: Final = 2_000
"""So many offsets before the end are looked through first; a commit may have written more."""
_LONGER: Final = 8
_POLL_MS: Final = 50
_MAX_RECORDS: Final = 5_000


@dataclass(slots=True)
class End:
    """What stands at the end of one partition of a changelog.

    Attributes
    ----------
    begin
        The first offset that the partition still has.
    checkpoint
        The newest checkpoint record; None if there is none.
    pages
        Pages by key, as they are now as far as the records that were read tell; empty if there is none.
    """

    begin: int = 0
    checkpoint: bytes | None = None
    pages: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def is_enough(self) -> bool:
        """Whether there are both: no earlier record need be read."""
        return self.checkpoint is not None and bool(self.pages)


async def read_ends(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, End]:
    """Return what stands at the end of partitions of a changelog; only committed records are read, nothing is changed.

    It is read from shortly before its end, and from ever further before it as long as the checkpoint or pages are
    missing.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer, or refuses.
    """
    async with started_consumer(settings) as consumer:
        tps = [TopicPartition(topic, partition) for partition in partitions]
        begins, stops = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        found = {tp: End(begins[tp]) for tp in tps}
        span = FIRST_SPAN
        while ranges := {
            tp: (max(begins[tp], stops[tp] - span), stops[tp])
            for tp in tps
            if stops[tp] > begins[tp] and not found[tp].is_enough
        }:
            for tp, part in (await _read(consumer, ranges)).items():
                later = found[tp]
                found[tp] = End(later.begin, later.checkpoint or part.checkpoint, later.pages or part.pages)
                stops[tp] = ranges[tp][0]
            span *= _LONGER
        return {tp.partition: end for tp, end in found.items()}


async def _read(consumer: AIOKafkaConsumer, ranges: dict[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, End]:
    """Return what stands in ranges of offsets, the ends not included."""
    consumer.assign(list(ranges))
    for tp, (begin, _) in ranges.items():
        consumer.seek(tp, begin)
    found = {tp: End() for tp in ranges}
    left = {tp: end for tp, (_, end) in ranges.items()}
    while left:
        batches = await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        for tp, end in list(left.items()):
            for record in batches.get(tp, ()):
                if record.offset < end:
                    _take(found[tp], record.key, record.value)
            if await consumer.position(tp) >= end:
                consumer.pause(tp)
                del left[tp]
    return found


def _take(end: End, key: bytes | None, value: bytes | None) -> None:
    if key == CHECKPOINT_KEY:
        end.checkpoint = value
    elif key is not None and len(key) == KEY_BYTES:
        if value is None:
            end.pages.pop(key, None)
        else:
            end.pages[key] = value
