"""Intervals of very many events: what they hold goes through a real broker, in records that it takes."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

from state.updates import decode_update
from stream_app.record_size import LARGE_TOPIC_BYTES, TOPIC_BYTES, record_bytes
from stream_app.transaction import TaskProducer
from stream_app.user_state import MOST_INTERVAL_BYTES
from tests.stream_app import harness
from tests.stream_app.test_user_stage import NOW_MS, Record, World, event

if TYPE_CHECKING:
    import pytest

    from stream_app.processor import Output
    from stream_app.settings import Settings

N_EVENTS = 20_000
N_ITEMS = 60_000


def strangers(n: int) -> list[Record]:
    """Return events of a hundred users, each with an item of a very large shop that hardly anybody else takes."""
    rng = random.Random(11)  # noqa: S311 - shoppers, not secrets
    begin_ms = NOW_MS - 1_000 * n
    return [
        event(k, f"u{k % 100}", f"i{rng.randrange(N_ITEMS)}", session_id="s", event_time_ms=begin_ms + 1_000 * k)
        for k in range(n)
    ]


def test_an_interval_of_20_000_events_goes_through_a_broker(app_settings: Settings) -> None:
    """One shard's sums of more bytes than a record may have are committed in parts, and every event teaches items."""
    harness.make_topics(app_settings)
    world = World(**app_settings.model_dump())
    records = strangers(N_EVENTS)
    for at in range(0, N_EVENTS, 2_000):
        world.users.process(records[at : at + 2_000], NOW_MS, n_waiting=100_000)
    outputs = world.users.flush(NOW_MS).outputs
    updates = [output for output in outputs if output.topic == app_settings.topic_item_updates]
    assert sum(len(output.value or b"") for output in updates) > 2 * LARGE_TOPIC_BYTES
    assert all(record_bytes(output.key, output.value, []) < TOPIC_BYTES for output in updates)

    async def run() -> None:
        producer = await TaskProducer.start(app_settings, "id")
        try:
            await producer.commit(outputs, {}, "group")
        finally:
            await producer.discard()

    asyncio.run(run())
    harness.wait_decided(app_settings, app_settings.topic_item_updates)
    received = harness.read_committed(app_settings, app_settings.topic_item_updates)
    assert [record.value for record in received] == [output.value for output in updates]
    world.items.process(received, NOW_MS)
    assert world.items.item_events == N_EVENTS
    world.items.flush(NOW_MS)
    names = {name for record in received for name in decode_update(record.value).names.values()}
    assert names == {json.loads(record.value or b"")["item_id"] for record in records}


def test_a_task_is_full_before_its_interval_is_absurd(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many sums, or with large rejects, a user task wants to commit; after the commit it does not."""
    world = World()
    monkeypatch.setattr("stream_app.user_state.MOST_INTERVAL_BYTES", 200_000)
    world.users.process(strangers(100), NOW_MS)
    assert not world.users.is_full
    world.users.process(strangers(2_000)[100:], NOW_MS)
    assert world.users.is_full
    world.commit()
    assert not world.users.is_full
    world.users.process([Record(b"u", b"?" * 60_000, offset=k) for k in range(5)], NOW_MS)
    assert world.users.is_full
    world.commit()
    assert not world.users.is_full


def test_what_is_full_is_far_more_than_a_second_of_events() -> None:
    """A user task at full load commits by its interval: 12,000 events of strangers are not nearly too many."""
    world = World()
    world.users.process(strangers(2_000), NOW_MS)
    outputs: list[Output] = world.users.take_updates()
    assert 6 * sum(len(output.value or b"") for output in outputs) < MOST_INTERVAL_BYTES / 4


def test_an_item_task_is_full_after_very_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that updates touch are counted until the commit."""
    monkeypatch.setattr("stream_app.item_stage._MOST_TOUCHED", 500)
    world = World()
    world.users.process(strangers(1_000), NOW_MS)
    world.items.process([Record(o.key, o.value) for o in world.users.take_updates()], NOW_MS)
    assert world.items.is_full
    world.items.flush(NOW_MS)
    world.items.committed()
    assert not world.items.is_full
