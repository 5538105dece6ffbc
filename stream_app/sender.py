"""Sends records to a topic in batches that are built per partition, and counts what the broker has confirmed.

Batches are built here instead of through the producer's ``send``, which makes a future per record and is several times
slower.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from stream_app.decoding import decode_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaProducer
    from aiokafka.producer.message_accumulator import BatchBuilder

    from stream_app.reading import Record

STALL_TIMEOUT_S: Final = 30.0
"""How long a broker may take to confirm a batch: a restart of it is survived."""
STOP_TIMEOUT_S: Final = 5.0
"""How long batches on their way are waited for once producing has ended early."""

_MAX_RECORD_BYTES = 1_000_000
_MAX_IN_FLIGHT = 16
_MAX_CACHED_KEYS = 100_000


class ProduceError(Exception):
    """Records could not be produced. The message ends with the remedy.

    Attributes
    ----------
    n_confirmed
        Records that the broker had confirmed before.
    """

    def __init__(self, message: str, n_confirmed: int = 0) -> None:
        super().__init__(message)
        self.n_confirmed = n_confirmed


class RecordError(ProduceError):
    """The record that was read last cannot be produced."""


class _UserKey(msgspec.Struct):
    user_id: str | None = None


class _ItemKey(msgspec.Struct):
    item_id: str | None = None


class KeyReader:
    """Finds a record's key: its ``item_id`` in the catalogue, its ``user_id`` elsewhere.

    Parameters
    ----------
    name
        ``"user_id"`` or ``"item_id"``.

    Examples
    --------
    >>> KeyReader("user_id").encode({"user_id": "u1", "type": "view"})
    (b'u1', b'{"user_id":"u1","type":"view"}')
    >>> KeyReader("user_id").encode(b"not JSON")
    (None, b'not JSON')
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_ItemKey if name == "item_id" else _UserKey)
        self._encoder = msgspec.json.Encoder()

    def encode(self, record: Record) -> tuple[bytes | None, bytes]:
        """Return key and value; no key if the record has none or cannot be read: the worker will reject it.

        Raises
        ------
        RecordError
            A dict holds what JSON cannot.
        """
        if isinstance(record, dict):
            found = record.get(self._name)
            try:
                value = self._encoder.encode(record)
            except (TypeError, ValueError) as error:
                message = f"a record cannot be written as JSON ({error}); convert or remove it"
                raise RecordError(message) from error
        else:
            value = bytes(record)
            found = getattr(decode_or_none(self._decoder.decode, value), self._name, None)
        return (found.encode("utf-8", "replace") if isinstance(found, str) else None), value


def check_size(key: bytes | None, value: bytes, n_confirmed: int = 0) -> None:
    """Check that a topic takes a record of this size.

    Parameters
    ----------
    n_confirmed
        Records that the broker has confirmed before, for the error.

    Raises
    ------
    RecordError
        The record is larger than that.
    """
    n_bytes = len(value) + len(key or b"")
    if n_bytes > _MAX_RECORD_BYTES:
        message = f"a record of {n_bytes:,} bytes is larger than a topic takes ({_MAX_RECORD_BYTES:,}); remove it"
        raise RecordError(message, n_confirmed)


class BatchSender:
    """Sends records in batches per partition and counts those that the broker has confirmed.

    Parameters
    ----------
    producer
        Started, idempotent.
    topic
        Topic to send to; it must be there.
    on_progress
        Called with the records confirmed so far whenever that changes.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, on_progress: Callable[[int], None] | None) -> None:
        self.n_confirmed = 0
        self._producer = producer
        self._topic = topic
        self._on_progress = on_progress
        self._partitioner = DefaultPartitioner()
        self._partitions: list[int] = []
        self._partition_of: dict[bytes, int] = {}
        self._open: dict[int, BatchBuilder] = {}
        self._in_flight: dict[asyncio.Future[Any], int] = {}

    async def find_topic(self) -> bool:
        """Find the topic's partitions; return whether the broker lists any."""
        cluster = await self._producer.client.fetch_all_metadata()
        partitions = cluster.partitions_for_topic(self._topic)
        self._partitions = sorted(partitions or ())
        return bool(partitions)

    def _partition(self, key: bytes | None) -> int:
        if key is None:
            return int(self._partitioner(None, self._partitions, self._partitions))
        partition = self._partition_of.get(key)
        if partition is None:
            if len(self._partition_of) >= _MAX_CACHED_KEYS:
                self._partition_of.clear()
            partition = int(self._partitioner(key, self._partitions, self._partitions))
            self._partition_of[key] = partition
        return partition

    async def add(self, key: bytes | None, value: bytes) -> None:
        """Put a record into its partition's batch; send that first if it is full.

        Raises
        ------
        RecordError
            The record is larger than a topic takes.
        ProduceError
            The broker does not confirm what was sent before.
        """
        check_size(key, value, self.n_confirmed)
        partition = self._partition(key)
        batch = self._open.get(partition)
        if batch is None:
            batch = self._open[partition] = self._producer.create_batch()
        if batch.append(timestamp=None, key=key, value=value) is None:
            await self._send(partition)
            batch = self._open[partition] = self._producer.create_batch()
            batch.append(timestamp=None, key=key, value=value)

    async def _send(self, partition: int) -> None:
        batch = self._open.pop(partition)
        batch.close()
        while len(self._in_flight) >= _MAX_IN_FLIGHT:
            await self._confirm(asyncio.FIRST_COMPLETED)
        try:
            async with asyncio.timeout(STALL_TIMEOUT_S):
                sent = await self._producer.send_batch(batch, self._topic, partition=partition)
        except TimeoutError as error:
            raise self._stalled() from error
        self._in_flight[sent] = batch.record_count()

    async def flush(self) -> None:
        """Send what is in the open batches; do not wait for it."""
        for partition in list(self._open):
            await self._send(partition)
        self._settle([sent for sent in self._in_flight if sent.done()])

    async def drain(self) -> None:
        """Send everything and wait until the broker has confirmed it.

        Raises
        ------
        ProduceError
            The broker refuses a batch, or confirms nothing for ``STALL_TIMEOUT_S``.
        """
        await self.flush()
        while self._in_flight:
            await self._confirm(asyncio.FIRST_COMPLETED)

    async def _confirm(self, when: str) -> None:
        done, _ = await asyncio.wait(self._in_flight, timeout=STALL_TIMEOUT_S, return_when=when)
        if not done:
            raise self._stalled()
        self._settle(done)

    def _settle(self, done: Iterable[asyncio.Future[Any]]) -> None:
        before = self.n_confirmed
        failure: BaseException | None = None
        for sent in done:
            n_records = self._in_flight.pop(sent)
            problem = sent.exception()
            if problem is None:
                self.n_confirmed += n_records
            else:
                failure = failure or problem
        if self._on_progress is not None and self.n_confirmed != before:
            self._on_progress(self.n_confirmed)
        if failure is not None:
            if isinstance(failure, TimeoutError) or (isinstance(failure, KafkaError) and failure.retriable):
                raise self._stalled() from failure
            message = (
                f"the broker refused records for topic {self._topic!r}: {failure or type(failure).__name__}; mend "
                "that, then produce the rest (events sent twice are recognised by their event_id)"
            )
            raise ProduceError(message, self.n_confirmed) from failure

    def _stalled(self) -> ProduceError:
        message = (
            f"the broker has confirmed nothing for {STALL_TIMEOUT_S:.0f} s, {self.n_confirmed:,} records before that; "
            "check that it runs, then produce the rest (events sent twice are recognised by their event_id)"
        )
        return ProduceError(message, self.n_confirmed)

    async def close(self) -> None:
        """Wait up to ``STOP_TIMEOUT_S`` for batches on their way, count them, and stop the producer."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._producer.stop()
        except TimeoutError:
            # The producer retries for as long as it lives: cut its connections, the rest ends with the event loop.
            await self._producer.client.close()
        done = [sent for sent in self._in_flight if sent.done() and sent.exception() is None]
        self._settle(done)
