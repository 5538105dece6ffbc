"""The newest records of a topic, looked at once a second while somebody watches, at a cost that traffic does not raise.

The page shows a few slates a second, whatever the rate is. So nothing is followed: only the last records of each
partition are read, and only where the end has moved.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.kafka import client_options, stop_consumer
from stream_app.topic_facts import TopicFactsCache

if TYPE_CHECKING:
    from stream_app.settings import Settings

LOOK_BACK: Final = 12
"""Offsets before the end of a partition that are read; markers of transactions are among them."""

_TIMEOUT_S = 0.6
_POLL_MS = 50
_FETCH_BYTES = 65_536


class NewestRecords:
    """The newest committed records of a topic.

    Use it as an asynchronous context manager.

    Parameters
    ----------
    topic
        A topic that exists.
    look_back
        How many offsets before the end of each partition the first call reads, at most; later ones read what is new,
        at most :data:`LOOK_BACK` offsets.
    seen
        Offsets up to which records were taken before; kept up to date. What lies before them is not taken again.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        look_back: int = LOOK_BACK,
        seen: dict[TopicPartition, int] | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._look_back = look_back
        self._seen = {} if seen is None else seen
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="latest",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_POLL_MS,
        )

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            await self._consumer.start()
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await stop_consumer(self._consumer)

    async def take(self) -> list[Any]:
        """Return records that are new since the last call, oldest first; of many, the newest ones.

        Raises
        ------
        stream_app.changelog.RecoveryError
            The topic does not exist.
        aiokafka.errors.KafkaError
            The broker does not answer.
        """
        n_partitions = (await TopicFactsCache(self._settings, [self._topic]).get(self._topic)).n_partitions
        tps = [TopicPartition(self._topic, partition) for partition in range(n_partitions)]
        consumer = self._consumer
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        starts: dict[TopicPartition, int] = {}
        for tp in tps:
            starts[tp] = max(begins[tp], self._seen.get(tp, 0), ends[tp] - self._look_back)
        left = {tp for tp in tps if starts[tp] < ends[tp]}
        if not left:
            self._take_note(ends)
            return []
        consumer.assign(sorted(left))
        for tp in left:
            consumer.seek(tp, starts[tp])
        records: list[Any] = []
        deadline_s = time.monotonic() + _TIMEOUT_S
        while left and time.monotonic() < deadline_s:
            for batch in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).values():
                records += batch
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
        for record in records:  # the last batch may reach beyond the end that was asked for before
            tp = TopicPartition(record.topic, record.partition)
            ends[tp] = max(ends[tp], record.offset + 1)
        self._take_note(ends)
        return sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))

    def _take_note(self, ends: dict[TopicPartition, int]) -> None:
        self._seen.update(ends)
        self._look_back = LOOK_BACK
