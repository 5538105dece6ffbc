"""What B2 measures, on the real broker: times at which events were due, and every slate, however late it comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition

from benchmarks.b2_latency import LEVELS, Reader, produce
from stream_app.records import AsOf, Event, Slate
from stream_app.records.slate import encode_slate
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings

N = 40
RATE = 1_000.0


def test_events_hold_the_times_at_which_they_were_due(app_settings: Settings) -> None:
    """A few are due every hundredth of a second, whenever they are sent: a producer that is held up hides no wait."""
    harness.make_topics(app_settings)
    event = Event(event_id="", type="purchase", user_id="ann", event_time_ms=0, item_id="i1")
    asyncio.run(produce(app_settings, iter([event] * N), RATE))
    records = harness.read_committed(app_settings, app_settings.topic_events)
    sent = [msgspec.json.decode(record.value, type=Event) for record in records]
    assert len({each.event_id for each in sent}) == N
    times_ms = Counter(each.event_time_ms for each in sent)
    assert set(times_ms.values()) == {10}
    assert all(after - before in {9, 10, 11} for before, after in pairwise(sorted(times_ms)))


def test_late_slates_are_seen(app_settings: Settings) -> None:
    """Readers end where the slates end, and not before, whatever they wait for."""
    settings = app_settings.model_copy(update={"partitions": harness.N_PARTITIONS})
    harness.make_topics(settings)
    topic = settings.topic_recommendations
    slates = [Slate(f"0-{k}", "ann", AsOf(0, k), 1_000 * k, 0, "greedy", 0, [], []) for k in range(6)]

    async def read() -> list[int]:
        readers = [Reader(settings, level) for level in LEVELS]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=settings.app_id)
        await producer.start()
        try:
            for reader in readers:
                await reader.begun.wait()
                reader.ends.set_result({TopicPartition(topic, 0): 8})  # six slates and two markers
            for part in (slates[:3], slates[3:]):
                assert not any(task.done() for task in tasks)
                async with producer.transaction():
                    for slate in part:
                        await producer.send_and_wait(topic, encode_slate(slate), partition=0)
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
        finally:
            await producer.stop()
        return [len(reader.ages_ms) for reader in readers]

    assert asyncio.run(read()) == [6, 6]
