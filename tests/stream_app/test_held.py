"""Which transactions are held open, and for how long, from what a broker answers to one question after the other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream_app import held
from stream_app.held import HeldFinder
from stream_app.lag_records import Found
from stream_app.partition_lag import Held

TP = TopicPartition("events", 0)
NOW_MS = 1_000_000_000


class Broker:
    """A partition with a last stable offset, an end, and a first open record of some age."""

    def __init__(self) -> None:
        self.stable, self.end, self.age_s = 100, 100, 0.0
        self.now_s = 50.0
        self.grows = 0
        """Offsets, all committed, that are added between two questions."""
        self.asked: list[str] = []

    def consumer(self, level: str) -> Any:
        """Return a consumer that is answered by this broker."""
        broker = self

        class Consumer:
            async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
                broker.asked.append(level)
                found = broker.stable if level == "committed" else broker.end
                broker.stable, broker.end = broker.stable + broker.grows, broker.end + broker.grows
                return dict.fromkeys(tps, found)

        return Consumer()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Return a broker whose records are found at once."""
    monkeypatch.setattr(held, "PAUSE_S", 0.0)
    return Broker()


@pytest.fixture
def finder(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> HeldFinder:
    """Return a finder that asks it."""
    made = HeldFinder(broker.consumer("committed"), broker.consumer("uncommitted"), lambda: broker.now_s)

    async def find(ranges: dict[TopicPartition, tuple[int, int]], *_: Any, **__: Any) -> dict[TopicPartition, Found]:
        timestamp_ms = NOW_MS - round(broker.age_s * 1000)
        return {tp: Found(start, start, timestamp_ms) for tp, (start, _) in ranges.items()}

    monkeypatch.setattr(made._finder, "find", find)
    return made


def ask(finder: HeldFinder) -> dict[TopicPartition, Held]:
    """Ask once."""
    return asyncio.run(finder.find([TP], lambda: NOW_MS))


def test_plain_traffic_is_not_held(broker: Broker, finder: HeldFinder) -> None:
    """What comes between two questions is no transaction."""
    broker.grows = 30
    for _ in range(3):
        assert ask(finder) == {}
    assert broker.asked[:2] == ["uncommitted", "committed"]


def test_the_first_question_believes_the_records_time(broker: Broker, finder: HeldFinder) -> None:
    """Nothing else is known yet; what moves while it waits is not held."""
    broker.end, broker.age_s = 103, 75.0
    assert ask(finder) == {TP: Held(3, 75.0)}
    broker.now_s += 10
    broker.age_s = 85.0
    assert ask(finder) == {TP: Held(3, 85.0)}


def test_a_transaction_that_ends_meanwhile_is_not_held(broker: Broker, finder: HeldFinder) -> None:
    """A replay of last year in short transactions, looked at for the first time."""
    broker.end, broker.age_s, broker.grows = 103, 86_400.0, 1
    assert ask(finder)[TP].age_s == 0.0


def test_later_questions_count_from_when_it_was_seen(broker: Broker, finder: HeldFinder) -> None:
    """The first transaction after a pause, with records of last year, is as old as it has been seen."""
    assert ask(finder) == {}
    broker.end, broker.age_s = 103, 86_400.0
    assert ask(finder) == {TP: Held(3, 0.0)}
    broker.now_s += 5
    assert ask(finder) == {TP: Held(3, 5.0)}
    broker.stable, broker.end = 104, 106
    assert ask(finder) == {TP: Held(2, 0.0)}
    broker.stable = 106
    assert ask(finder) == {}


def test_a_young_record_is_not_older_than_it_says(broker: Broker, finder: HeldFinder) -> None:
    """Seen for long, but the clock of the first look was wrong, or time stood still between the questions."""
    broker.end, broker.age_s = 103, 2.0
    assert ask(finder) == {TP: Held(3, 2.0)}
    broker.now_s += 1_000
    broker.age_s = 4.0
    assert ask(finder) == {TP: Held(3, 4.0)}
