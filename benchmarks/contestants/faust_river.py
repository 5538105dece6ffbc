"""A Faust agent with a RocksDB table of recent items and River: learn, score 100 candidates, send a slate."""

import sys
from typing import Any

import faust
import msgspec

from benchmarks.contestants.river_model import N_HISTORY, RiverRecommender
from stream_app.records import AsOf, Event, Slate, SlateItem

bootstrap, source, target, partitions, folder = sys.argv[1:6]
sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]

app = faust.App(
    f"{target}-app",
    broker=f"kafka://{bootstrap}",
    store="rocksdb://",
    datadir=folder,
    topic_partitions=int(partitions),
    consumer_auto_offset_reset="earliest",
    producer_max_batch_size=1 << 20,
)
events = app.topic(source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
slates = app.topic(target, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
history = app.Table("history", default=list, partitions=int(partitions))
model = RiverRecommender()
decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode


@app.agent(events)
async def recommend(stream: Any) -> None:
    """Learn from each event and answer it with a slate."""
    async for record in stream.events():
        event = decode(record.value)
        item = event.item_id or ""
        had = [*history[event.user_id], item][-N_HISTORY:]
        history[event.user_id] = had
        model.learn(event.user_id, item)
        message = record.message
        items = [SlateItem(name, "", score, 1.0, "taste") for score, name in model.slate(event.user_id, had)]
        as_of = AsOf(message.partition, message.offset)
        slate = Slate(
            f"{as_of.partition}-{as_of.offset}", event.user_id, as_of, event.event_time_ms, 0, "greedy", 0, [], items
        )
        slates.send_soon(key=message.key, value=encode(slate))


if __name__ == "__main__":
    app.main()
