"""The newest records of a topic, on the real broker: what was taken is not taken again by the next page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.web.feed import LOOK_BACK, NewestRecords
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from stream_app.settings import Settings


def test_a_feed_goes_on_where_the_last_one_ended(app_settings: Settings) -> None:
    """The first one looks back, as far as it is told; the next one, a page opened anew, takes only what came since."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_rejects
    seen: dict[TopicPartition, int] = {}

    async def take() -> list[bytes]:
        async with NewestRecords(app_settings, topic, 50, seen) as records:
            return [record.value for record in await records.take()]

    def send(*numbers: int) -> list[bytes]:
        values = [b"%d" % number for number in numbers]
        harness.send(app_settings, [(b"k", value) for value in values], topic=topic, partition=0)
        return values

    first = send(*range(2 * LOOK_BACK))
    assert asyncio.run(take()) == first
    assert asyncio.run(take()) == []
    assert asyncio.run(take()) == []
    later = send(*range(100, 100 + 2 * LOOK_BACK))
    assert asyncio.run(take()) == later


def test_what_comes_while_a_feed_reads_is_taken_once(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records beyond the end that the feed has asked for come in the same batch: they are not taken again."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_rejects
    values = [b"%d" % number for number in range(6)]
    harness.send(app_settings, [(b"k", value) for value in values], topic=topic, partition=0)
    ask = AIOKafkaConsumer.end_offsets
    asked: list[int] = []

    async def end_offsets(consumer: Any, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return ends of before the last three records were there, the first time."""
        ends: dict[TopicPartition, int] = await ask(consumer, tps)
        asked.append(ends[TopicPartition(topic, 0)])
        return {tp: end - 3 if tp.partition == 0 and len(asked) == 1 else end for tp, end in ends.items()}

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", end_offsets)

    async def take() -> list[bytes]:
        async with NewestRecords(app_settings, topic) as records:
            return [record.value for _ in range(2) for record in await records.take()]

    assert asyncio.run(take()) == values
    assert len(asked) == 2
