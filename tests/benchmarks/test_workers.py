"""How far a benchmark's processes are, asked of the real broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from benchmarks.workers import admin_of, owners
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings


def test_owners_are_members_with_partitions(app_settings: Settings) -> None:
    """Of a group that nobody has joined there are none; a member beyond the partitions owns nothing."""
    harness.make_topics(app_settings)
    group, topic = f"{app_settings.app_id}.user", app_settings.topic_events

    async def run() -> list[int]:
        found = []
        consumers = [
            AIOKafkaConsumer(
                topic,
                bootstrap_servers=app_settings.bootstrap_servers,
                group_id=group,
                heartbeat_interval_ms=100,
            )
            for _ in range(harness.N_PARTITIONS + 1)
        ]
        async with admin_of(app_settings) as admin, asyncio.timeout(60):
            found.append(await owners(admin, group, topic))
            try:
                await asyncio.gather(*(consumer.start() for consumer in consumers))
                while await owners(admin, group, topic) < harness.N_PARTITIONS:  # noqa: ASYNC110 - the broker's answer
                    await asyncio.sleep(0.05)
                found += [await owners(admin, group, topic), await owners(admin, group, "another")]
            finally:
                await asyncio.gather(*(consumer.stop() for consumer in consumers))
        return found

    assert asyncio.run(run()) == [0, harness.N_PARTITIONS, 0]
