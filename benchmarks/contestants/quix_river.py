"""Quix Streams with RocksDB state of recent items and River: learn, score 100 candidates, send a slate."""

import sys
from typing import Any

import msgspec
from quixstreams import Application, State

from benchmarks.contestants.river_model import N_HISTORY, RiverRecommender
from stream_app.records import AsOf, Event, Slate, SlateItem


def main() -> None:
    """Run until killed."""
    bootstrap, source, target, _partitions, folder = sys.argv[1:6]
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    model = RiverRecommender()
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"{target}-app",
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="WARNING",
    )

    def step(value: bytes, _key: bytes, _timestamp: int, _headers: Any, state: State) -> bytes:
        event = decode(value)
        item = event.item_id or ""
        had = [*state.get("had", []), item][-N_HISTORY:]
        state.set("had", had)
        model.learn(event.user_id, item)
        items = [SlateItem(name, "", score, 1.0, "taste") for score, name in model.slate(event.user_id, had)]
        slate = Slate(event.event_id, event.user_id, AsOf(0, 0), event.event_time_ms, 0, "greedy", 0, [], items)
        return encode(slate)

    frame = app.dataframe(app.topic(source, key_deserializer="bytes", value_deserializer="bytes"))
    frame = frame.apply(step, stateful=True, metadata=True)
    frame.to_topic(app.topic(target, key_serializer="bytes", value_serializer="bytes"))
    app.run()


if __name__ == "__main__":
    main()
