"""Headers as producers in C may send them: with any bytes for a name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from stream_app.kafka import client_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.settings import Settings


class OddName(str):
    """The name of a header in Latin-1 instead of UTF-8."""

    __slots__ = ()

    def encode(self, _encoding: str = "utf-8", _errors: str = "strict") -> bytes:
        """Return the bytes that are sent."""
        return super().encode("latin-1")


def builder(codec: int = 0, size: int = 1 << 20) -> Any:
    """Return aiokafka's builder of a record batch in Python, which asks names for their bytes."""
    return _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, size)


def send(settings: Settings, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Send keys and values to partition 0 of a topic as one batch; each has a header whose name is not UTF-8."""

    async def run() -> None:
        async with AIOKafkaProducer(**client_options(settings)) as producer:
            batch = producer.create_batch()
            batch._builder = builder()
            for key, value in records:
                batch.append(timestamp=None, key=key, value=value, headers=[(OddName("trac\xe9"), b"\xff")])
            batch.close()
            await (await producer.send_batch(batch, topic, partition=0))

    asyncio.run(run())
