"""Sends one purchase with confluent-kafka, and returns when all replicas have it."""

import json
import time
import uuid

from confluent_kafka import KafkaError, KafkaException, Message, Producer


def check(error: KafkaError | None, _record: Message) -> None:
    """Fail when the broker did not take the event."""
    if error is not None:
        raise KafkaException(error)


producer = Producer(
    {
        "bootstrap.servers": "127.0.0.1:9092",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",  # as Java and aiokafka do; the default would put users elsewhere
    }
)
event = {
    "event_id": str(uuid.uuid4()),  # make it once and keep it with the event: sent again, it counts once
    "type": "purchase",
    "user_id": "ann",
    "item_id": "milk",
    "event_time_ms": int(time.time() * 1000),
    "value": 2,
}
producer.produce("events", json.dumps(event), key=event["user_id"], on_delivery=check)
producer.flush()
