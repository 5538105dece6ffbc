"""B1: whose turn it is, and what the rival that fills slates once a second sends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from benchmarks.b1_throughput import ORDER, in_turn
from benchmarks.contestants.river_model import RiverRecommender
from stream_app.records import Event, Slate


@pytest.mark.parametrize("n_rounds", [1, 2, 3, 6])
def test_each_round_begins_with_another_contestant(n_rounds: int) -> None:
    """All take part in every round, one after the other, and nobody runs last in all of several."""
    rounds = [in_turn(number, n_rounds) for number in range(n_rounds)]
    assert rounds[0] == ORDER
    assert all(sorted(names) == sorted(ORDER) for names in rounds)
    assert len({names[0] for names in rounds}) == len({names[-1] for names in rounds}) == n_rounds


class _Producer:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Slate]] = []
        self.n_flushed = 0

    def produce(self, *, topic: str, key: bytes, value: bytes) -> None:
        assert topic == "slates"
        self.sent.append((key, msgspec.json.decode(value, type=Slate)))

    def flush(self) -> None:
        self.n_flushed += 1


class _App:
    """Gives out a producer."""

    def __init__(self) -> None:
        self.producer = _Producer()

    def get_producer(self) -> Any:
        return self.producer


def test_one_slate_for_each_user_of_a_commit() -> None:
    """It is filled at the flush, of the newest event; the next commit begins with none."""
    pytest.importorskip("quixstreams")
    from benchmarks.contestants.quix_coalescing import SlateSink  # noqa: PLC0415 - may be missing

    app, model = _App(), RiverRecommender()
    sink = SlateSink(app, "slates", model)  # type: ignore[arg-type, unused-ignore] # a fake
    for k, user in enumerate(["ann", "bob", "ann"]):
        event = Event(f"e{k}", "purchase", user, 1_000 * k, f"i{k}")
        model.learn(user, f"i{k}")
        sink.add((event, [f"i{k}"]), user.encode(), 1_000 * k, None, "events", 0, k)
    assert not app.producer.sent
    sink.flush()
    assert [(key, slate.event_time_ms, slate.as_of.offset) for key, slate in app.producer.sent] == [
        (b"ann", 2_000, 2),
        (b"bob", 1_000, 1),
    ]
    assert {item.item_id for item in app.producer.sent[0][1].items} == {"i0", "i1"}
    sink.flush()
    assert (len(app.producer.sent), app.producer.n_flushed) == (2, 2)
