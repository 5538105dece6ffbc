"""Quix Streams as in :mod:`benchmarks.contestants.quix_river`, with one slate per user and second.

Every event is learned and its user's recent items are kept in state, as there. Slates go through a sink of its own:
Quix adds each processed record to its sinks and flushes them when it commits, before the offsets, so that nothing is
lost. Of a user's events the sink keeps the newest, and at the flush it fills and sends one slate for each user that it
holds. With a commit interval of a second that is what this worker does under a backlog.

Quix's windows would do less well: a tumbling window closes by the time of the events, of which a backlog holds days in
a second, and it writes each user's window to its state. A sink is flushed by the clock, holds users in a dictionary,
and has the history of the newest event at hand.
"""

import sys
from typing import Any

import msgspec
from quixstreams import Application, State
from quixstreams.sinks import BaseSink

from benchmarks.contestants.river_model import N_HISTORY, RiverRecommender
from stream_app.records import AsOf, Event, Slate, SlateItem

_COMMIT_INTERVAL_S = 1.0


class SlateSink(BaseSink):  # type: ignore[misc] # quixstreams is not followed
    """Fills a slate for each user that events were about since the last commit.

    Parameters
    ----------
    app
        Its settings make the producer.
    target
        Topic of slates.
    model
        Learns elsewhere.
    """

    def __init__(self, app: Application, target: str, model: RiverRecommender) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._producer = app.get_producer()
        self._target = target
        self._model = model
        self._encode = msgspec.json.Encoder().encode
        self._touched: dict[bytes, tuple[Event, list[str], AsOf]] = {}

    def add(
        self,
        value: tuple[Event, list[str]],
        key: bytes,
        timestamp: int,
        headers: Any,
        topic: str,
        partition: int,
        offset: int,
    ) -> None:
        """Keep the newest event of each user, with the items the user had by then."""
        del timestamp, headers, topic
        event, had = value
        self._touched[key] = event, had, AsOf(partition, offset)

    def flush(self) -> None:
        """Fill and send the slates, and wait until the broker has them."""
        for key, (event, had, as_of) in self._touched.items():
            items = [SlateItem(name, "", score, 1.0, "taste") for score, name in self._model.slate(event.user_id, had)]
            slate = Slate(event.event_id, event.user_id, as_of, event.event_time_ms, 0, "greedy", 0, [], items)
            self._producer.produce(topic=self._target, key=key, value=self._encode(slate))
        self._touched.clear()
        self._producer.flush()

    def on_paused(self) -> None:
        """Forget what will be read again."""
        self._touched.clear()


def main() -> None:
    """Run until killed."""
    bootstrap, source, target, _partitions, folder = sys.argv[1:6]
    decode = msgspec.json.Decoder(Event).decode
    model = RiverRecommender()
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"{target}-app",
        auto_offset_reset="earliest",
        state_dir=folder,
        commit_interval=_COMMIT_INTERVAL_S,
        loglevel="WARNING",
    )

    def step(value: bytes, _key: bytes, _timestamp: int, _headers: Any, state: State) -> tuple[Event, list[str]]:
        event = decode(value)
        item = event.item_id or ""
        had = [*state.get("had", []), item][-N_HISTORY:]
        state.set("had", had)
        model.learn(event.user_id, item)
        return event, had

    frame = app.dataframe(app.topic(source, key_deserializer="bytes", value_deserializer="bytes"))
    frame.apply(step, stateful=True, metadata=True).sink(SlateSink(app, target, model))
    app.run()


if __name__ == "__main__":
    main()
