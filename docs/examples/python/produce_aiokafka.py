"""Sends one purchase with aiokafka, and returns when all replicas have it."""

import asyncio
import json
import time
import uuid

from aiokafka import AIOKafkaProducer


async def main() -> None:
    """Send it."""
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:9092", enable_idempotence=True)
    await producer.start()
    try:
        event = {
            "event_id": str(uuid.uuid4()),  # make it once and keep it with the event: sent again, it counts once
            "type": "purchase",
            "user_id": "ann",
            "item_id": "milk",
            "event_time_ms": int(time.time() * 1000),
            "value": 2,
        }
        await producer.send_and_wait("events", json.dumps(event).encode(), key=event["user_id"].encode())
    finally:
        await producer.stop()


asyncio.run(main())
