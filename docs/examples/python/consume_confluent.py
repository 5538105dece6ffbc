"""Prints each slate once with confluent-kafka, and goes on after a restart where it stopped."""

import json

from confluent_kafka import Consumer, KafkaException

consumer = Consumer(
    {
        "bootstrap.servers": "127.0.0.1:9092",
        "group.id": "shop-front",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    }
)
consumer.subscribe(["recommendations"])
try:
    while True:
        record = consumer.poll(1.0)
        if record is None:
            continue
        if record.error():
            raise KafkaException(record.error())
        slate = json.loads(record.value())
        print(slate["user_id"], slate["slate_id"], [item["item_id"] for item in slate["items"]], flush=True)
finally:
    consumer.close()
