"""The transactional producer of one task: everything a commit sends, in one Kafka transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError

from stream_app import faults
from stream_app.kafka import client_options, forget
from stream_app.packing import BATCH_BYTES, PackedBatch
from stream_app.record_size import EMPTY_BATCH_BYTES, LARGE_TOPIC_BYTES, TOPIC_BYTES, record_bytes
from stream_app.topics import too_small, topic_limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from stream_app.processor import Output
    from stream_app.settings import Settings

_AFTERWARDS = (AssertionError, IllegalOperation)
"""What aiokafka raises for anything that is asked of a transaction after it has failed."""
_STOP_TIMEOUT_S = 1.0
_RETRY_MS = 20
"""Wait before a request is repeated. A broker refuses one now and then while it still writes down what the one before
asked of the same transaction, for a few milliseconds; aiokafka's own 100 ms would be a commit interval."""


class TaskProducer:
    """One transactional id. Starting it fences every older producer of that id and ends its open transaction.

    Parameters
    ----------
    producer
        Not started yet.
    transactional_id
        Whose producer it is.
    limits
        Largest batch of each topic, in bytes; others take :data:`~stream_app.record_size.TOPIC_BYTES`.
    """

    def __init__(self, producer: AIOKafkaProducer, transactional_id: str, limits: Mapping[str, int]) -> None:
        self._producer = producer
        self._transactional_id = transactional_id
        self._limits = limits
        self._begun = False
        self._ahead: list[tuple[TopicPartition, Awaitable[Any], int]] = []

    @classmethod
    async def start(cls, settings: Settings, transactional_id: str) -> TaskProducer:
        """Connect and fence.

        Raises
        ------
        aiokafka.errors.KafkaError
            The broker cannot be reached or refuses the transactional id.
        """
        producer = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=transactional_id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            max_batch_size=LARGE_TOPIC_BYTES,
            max_request_size=LARGE_TOPIC_BYTES,
            retry_backoff_ms=_RETRY_MS,
        )
        started = cls(producer, transactional_id, topic_limits(settings))
        try:
            await producer.start()
        except BaseException:
            await started.discard()
            raise
        return started

    async def send(self, outputs: Iterable[Output]) -> None:
        """Send records ahead, in the transaction that the next :meth:`commit` commits, without waiting for the broker.

        Consumers that read uncommitted see them at once. Whether they arrived is found out by the commit.

        Raises
        ------
        aiokafka.errors.KafkaError
            The transaction failed: discard the producer and recover.
        """
        try:
            await self._begin()
            for tp, records in _by_partition(outputs).items():
                self._ahead += [(tp, future, n) for future, n in await self._submit_all(tp, (), records)]
        except _AFTERWARDS as error:
            raise (self._first_failure() or error) from error

    async def _begin(self) -> None:
        if not self._begun:
            await self._producer.begin_transaction()
            self._begun = True

    async def commit(
        self,
        outputs: Iterable[Output],
        offsets: Mapping[TopicPartition, int],
        group_id: str,
        packed: Mapping[TopicPartition, Sequence[PackedBatch]] | None = None,
    ) -> dict[TopicPartition, int]:
        """Send outputs and consumer offsets in one transaction, with what was sent ahead, and commit it.

        Parameters
        ----------
        outputs
            Records to send; those of one partition keep their order.
        offsets
            Next input offset per partition, for lag tools; may be empty.
        packed
            Batches that are built already; they go before the outputs of the same partition.

        Returns
        -------
        dict
            The offset after the last record, for each partition that was written to.

        Raises
        ------
        aiokafka.errors.ProducerFenced
            A newer producer has the transactional id, or the transaction took too long. Nothing counts as sent.
        aiokafka.errors.KafkaError
            The outcome is unknown or the transaction failed: discard the producer and recover.
        """
        try:
            return await self._commit(outputs, offsets, group_id, packed or {})
        except _AFTERWARDS as error:
            raise (self._first_failure() or error) from error

    def _first_failure(self) -> KafkaError | None:
        """Return what made the transaction fail first: afterwards aiokafka only says that it cannot be asked."""
        waiter: asyncio.Future[Any] | None = self._producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
        if waiter is None or not waiter.done() or waiter.cancelled():
            return None
        error = waiter.exception()
        return error if isinstance(error, KafkaError) else None

    async def _commit(
        self,
        outputs: Iterable[Output],
        offsets: Mapping[TopicPartition, int],
        group_id: str,
        batches: Mapping[TopicPartition, Sequence[PackedBatch]],
    ) -> dict[TopicPartition, int]:
        producer = self._producer
        await self._begin()
        records = _by_partition(outputs)
        ahead, self._ahead = self._ahead, []
        tps = [tp for tp in {**batches, **records} if batches.get(tp) or tp in records]
        sends: list[Awaitable[Any]] = [self._delivered(tp, [(future, n)]) for tp, future, n in ahead]
        sends += [self._send(tp, batches.get(tp, ()), records.get(tp, ())) for tp in tps]
        if offsets:
            sends.append(producer.send_offsets_to_transaction(dict(offsets), group_id))
        results = await _all(sends)
        faults.hit("in_transaction")
        await producer.commit_transaction()
        self._begun = False
        return dict(zip([*(tp for tp, _, _ in ahead), *tps], results, strict=False))

    async def end_in(self, tps: Iterable[TopicPartition], *, commit: bool = False) -> None:
        """End a transaction without records in these partitions: whatever this id has left open there ends with it.

        Raises
        ------
        aiokafka.errors.KafkaError
            The transaction failed: discard the producer.
        """
        try:
            await self._producer.begin_transaction()
            for tp in tps:
                self._producer._txn_manager.maybe_add_partition_to_txn(tp)  # noqa: SLF001 - sending records does the same
            await (self._producer.commit_transaction() if commit else self._producer.abort_transaction())
        except _AFTERWARDS as error:
            raise (self._first_failure() or error) from error

    async def discard(self) -> None:
        """Drop the producer without committing. The next one with the same id ends what is open."""
        stopping = asyncio.ensure_future(self._producer.stop())
        stopping.add_done_callback(forget)
        await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)
        if not stopping.done():
            stopping.cancel()
            closing = asyncio.ensure_future(self._producer.client.close())
            closing.add_done_callback(forget)
            await asyncio.wait([stopping, closing], timeout=_STOP_TIMEOUT_S)

    async def _send(self, tp: TopicPartition, packed: Sequence[PackedBatch], outputs: Sequence[Output]) -> int:
        """Send batches, then records, to one partition; return the offset after the last one."""
        return await self._delivered(tp, await self._submit_all(tp, packed, outputs))

    async def _delivered(self, tp: TopicPartition, batches: Sequence[tuple[Awaitable[Any], int]]) -> int:
        """Wait until batches of one partition are delivered; return the offset after the last record, -1 if not known.

        Raises
        ------
        aiokafka.errors.MessageSizeTooLargeError
            The broker refused one as too large; the message names the topic and the remedy.
        """
        try:
            results = await _all([future for future, _ in batches])
        except MessageSizeTooLargeError as error:
            raise MessageSizeTooLargeError(too_small(tp.topic, self._limit(tp.topic))) from error
        ends = [
            result.offset + n if result.offset >= 0 else -1 for result, (_, n) in zip(results, batches, strict=True)
        ]
        return max(ends)

    def _limit(self, topic: str) -> int:
        return self._limits.get(topic, TOPIC_BYTES)

    async def _submit_all(
        self, tp: TopicPartition, packed: Sequence[PackedBatch], outputs: Sequence[Output]
    ) -> list[tuple[Awaitable[Any], int]]:
        """Hand batches, then records, to the producer; return the delivery and the number of records of each batch.

        Raises
        ------
        aiokafka.errors.MessageSizeTooLargeError
            The topic does not take a record, even alone in its batch.
        """
        most = self._limit(tp.topic)
        delivered = [(await self._submit(ready, tp), ready.record_count()) for ready in packed]
        batch = self._producer.create_batch()
        for output in outputs:
            n_bytes = record_bytes(output.key, output.value, output.headers)
            if n_bytes + EMPTY_BATCH_BYTES > most:
                message = (
                    f"record of {n_bytes} bytes with its headers for {tp.topic}, partition {tp.partition}: there a "
                    f"record must be smaller than {most - EMPTY_BATCH_BYTES} bytes"
                )
                raise MessageSizeTooLargeError(message)
            if batch.record_count() and batch.size() + n_bytes > BATCH_BYTES:
                delivered.append((await self._submit(batch, tp), batch.record_count()))
                batch = self._producer.create_batch()
            timestamp: Any = output.timestamp_ms  # annotated float | None in aiokafka, but must be whole milliseconds
            batch.append(timestamp=timestamp, key=output.key, value=output.value, headers=output.headers)
        if batch.record_count():
            delivered.append((await self._submit(batch, tp), batch.record_count()))
        return delivered

    async def _submit(self, batch: Any, tp: TopicPartition) -> Awaitable[Any]:
        batch.close()
        future: Awaitable[Any] = await self._producer.send_batch(batch, tp.topic, partition=tp.partition)
        asyncio.ensure_future(future).add_done_callback(forget)  # it may be left behind where a later one fails
        return future


def _by_partition(outputs: Iterable[Output]) -> dict[TopicPartition, list[Output]]:
    found: dict[TopicPartition, list[Output]] = {}
    tps: dict[tuple[str, int], TopicPartition] = {}
    for output in outputs:
        where = (output.topic, output.partition)
        tp = tps.get(where)
        if tp is None:
            tp = tps[where] = TopicPartition(*where)
            found[tp] = []
        found[tp].append(output)
    return found


async def _all(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    """Wait for all of them, then raise the first error: none is left behind with nobody to look at it."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
