"""The limit: a bare aiokafka loop that reads and decodes each event and writes one ten-item slate for it."""

import asyncio
import sys

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.records import AsOf, Event, Slate, SlateItem

ITEMS = [SlateItem(f"item-{k}", "department / category", 0.01, 1.0, "repeat") for k in range(10)]


async def run(bootstrap: str, source: str, target: str, partitions: int) -> None:
    """Read and write until killed."""
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 20, linger_ms=0)
    await consumer.start()
    await producer.start()
    tps = [TopicPartition(source, p) for p in range(partitions)]
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=100, max_records=4000)).items():
            batch = producer.create_batch()
            for record in records:
                event = decode(record.value)
                as_of = AsOf(tp.partition, record.offset)
                slate = Slate(
                    f"{tp.partition}-{record.offset}", event.user_id, as_of, event.event_time_ms, 0, "greedy", 0, [],
                    ITEMS,
                )  # fmt: skip
                value = encode(slate)
                if batch.append(key=record.key, value=value, timestamp=None) is None:
                    await producer.send_batch(batch, target, partition=tp.partition)
                    batch = producer.create_batch()
                    batch.append(key=record.key, value=value, timestamp=None)
            await producer.send_batch(batch, target, partition=tp.partition)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
