"""Reports catalogue records that could not be read to the rejects topic, each of them once.

Every worker tails the catalogue, so every worker meets each bad record; the one that owns partition 0 of the events
topic reports it. What has been reported is kept as the offsets of a consumer group, in the same transaction as the
rejects, so that neither a restart nor a change of owner reports a record again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from mode import Service

from stream_app.kafka import started_consumer
from stream_app.processor import Output
from stream_app.record_size import content_bytes
from stream_app.records import KafkaRecord, Rejection, encode_reject
from stream_app.rights import final_error
from stream_app.transaction import TaskProducer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from stream_app.settings import Settings

MAX_WAITING = 10_000
"""Rejections kept while another worker is the one that reports; the oldest are dropped."""

MOST_BYTES_AT_ONCE = 16 << 20
"""Originals of so many bytes are reported in one transaction, at least one."""

_EVERY_S = 1.0

Rejected = tuple[KafkaRecord, Rejection]


def catalog_rejects_group(settings: Settings) -> str:
    """Return the group whose offsets tell what has been reported; it names the producer of the reports, too."""
    return f"{settings.app_id}.catalog-rejects"


class CatalogRejects(Service):
    """Collect rejections of the catalogue tail, and report them while this worker is the one to do so.

    Parameters
    ----------
    take
        Returns the rejections since its last call; called in the executor's thread.
    is_reporter
        Whether this worker owns partition 0 of the events topic.
    executor
        The thread that changes the replica.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self,
        settings: Settings,
        take: Callable[[], Sequence[Rejected]],
        is_reporter: Callable[[], bool],
        executor: Executor,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._take = take
        self._is_reporter = is_reporter
        self._executor = executor
        self._log = structlog.get_logger(__name__)
        self._waiting: deque[Rejected] = deque(maxlen=MAX_WAITING)
        self._group_id = catalog_rejects_group(settings)
        self._is_delayed = False
        self.n_rejected: dict[str, int] = {}
        """Rejections met by this worker, by code."""

    async def collect(self) -> None:
        """Take over what the tail has rejected."""
        rejected = await asyncio.get_running_loop().run_in_executor(self._executor, self._take)
        for record, rejection in rejected:
            self.n_rejected[rejection.code] = self.n_rejected.get(rejection.code, 0) + 1
            self._waiting.append((record, rejection))
        if rejected:
            remedy = f"read topic {self._settings.topic_rejects}: each record is there with a sentence"
            self._log.warning("catalog_rejected", n_records=len(rejected), by_code=dict(self.n_rejected), remedy=remedy)

    async def report(self) -> int:
        """Send what waits and has not been reported yet, in one transaction; return how many records that were.

        What is beyond :data:`MOST_BYTES_AT_ONCE` goes on waiting.

        Raises
        ------
        aiokafka.errors.KafkaError
            Nothing was reported; it will be tried again.
        """
        if not self._waiting:
            return 0
        waiting = self._portion()
        producer = await TaskProducer.start(self._settings, self._group_id)
        try:
            done = await self._reported({TopicPartition(record.topic, record.partition) for record, _ in waiting})
            outputs: list[Output] = []
            offsets: dict[TopicPartition, int] = {}
            for record, rejection in waiting:
                tp = TopicPartition(record.topic, record.partition)
                if record.offset >= done[tp]:
                    key, value, headers = encode_reject(record, rejection)
                    outputs.append(Output(self._settings.topic_rejects, 0, key, value, headers))
                    offsets[tp] = max(record.offset + 1, offsets.get(tp, 0))
            if outputs:
                await producer.commit(outputs, offsets, self._group_id)
        finally:
            await producer.discard()
        for _ in waiting:
            self._waiting.popleft()
        return len(outputs)

    def _portion(self) -> list[Rejected]:
        """Return the first of what waits."""
        sizes = accumulate(content_bytes(record.key, record.value, record.headers) for record, _ in self._waiting)
        n = sum(1 for _ in takewhile(MOST_BYTES_AT_ONCE.__ge__, sizes))
        return list(islice(self._waiting, max(n, 1)))

    @Service.task
    async def _report_while_owner(self) -> None:
        while not self.should_stop:
            await self.collect()
            try:
                if self._is_reporter():
                    await self.report()
                    self._is_delayed = False
            except ProducerFenced:
                self._log.info("catalog_rejects_fenced", reason="another worker has become the one that reports")
            except KafkaError as error:
                final = await final_error(self._settings, error)
                if final is not None:
                    raise final from error
                self._tell_delay(error)
            await self.sleep(_EVERY_S)

    def _tell_delay(self, error: KafkaError) -> None:
        """Log the first failure of a row: a broker that is away fails every second."""
        if not self._is_delayed:
            self._log.warning("catalog_rejects_delayed", error=repr(error), remedy="none needed: tried until it works")
        self._is_delayed = True

    async def _reported(self, tps: set[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the next offset to report, for each partition."""
        async with started_consumer(self._settings, group_id=self._group_id) as consumer:
            return {tp: await consumer.committed(tp) or 0 for tp in tps}
