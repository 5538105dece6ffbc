"""Prints each slate once with aiokafka, and goes on after a restart where it stopped."""

import asyncio
import json

from aiokafka import AIOKafkaConsumer


async def main() -> None:
    """Read until interrupted."""
    consumer = AIOKafkaConsumer(
        "recommendations",
        bootstrap_servers="127.0.0.1:9092",
        group_id="shop-front",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async for record in consumer:
            slate = json.loads(record.value)
            print(slate["user_id"], slate["slate_id"], [item["item_id"] for item in slate["items"]], flush=True)
    finally:
        await consumer.stop()


asyncio.run(main())
