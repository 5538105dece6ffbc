"""The newest records of a topic, on the real broker: what was taken is not taken again by the next page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream_app.web.feed import LOOK_BACK, NewestRecords
from tests.stream_app import harness

if TYPE_CHECKING:
    from aiokafka import TopicPartition

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
