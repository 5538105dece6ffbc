"""Tests of replaying a changelog on a real broker: what a store takes over, and what it must not keep."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

from state.memory_store import MemoryPageStore
from state.store import Origin, PageStore
from stream_app.broker import EmbeddedBroker
from stream_app.changelog import CHECKPOINT_KEY, StaleStoreError
from stream_app.processor import Output
from stream_app.replay import Replayed, apply, replay
from stream_app.transaction import TaskProducer
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stream_app.settings import Settings

T = TypeVar("T")

A, B = b"page-key-aaaa", b"page-key-bbbb"
DAY_MS = 86_400_000


class FakeRecord(NamedTuple):
    """What :func:`apply` looks at of a record."""

    key: bytes | None
    value: bytes | None
    timestamp: int = 0


def wall_ms() -> int:
    """Return the present time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def call(function: Callable[..., T], *args: object) -> T:
    """Call a function here and now."""
    return function(*args)


def test_apply_moves_pages_checkpoint_and_position_together() -> None:
    """Pages, removals and the newest checkpoint of a batch are in the store, and records without a key are not."""
    store = MemoryPageStore()
    store.write([(B, b"old")], position=1, checkpoint=b"c0")
    records = [
        FakeRecord(A, b"1"),
        FakeRecord(CHECKPOINT_KEY, b"c1"),
        FakeRecord(A, b"2"),
        FakeRecord(B, None),
        FakeRecord(None, b"x"),
        FakeRecord(CHECKPOINT_KEY, b"c2"),
    ]
    apply(store, records, 7)  # type: ignore[arg-type]  # a fake
    assert store.get_many([A, B]) == [b"2", None]
    assert (store.position, store.checkpoint) == (7, b"c2")


def test_replay_takes_over_committed_records_only(app_settings: Settings) -> None:
    """Records of a transaction that was never committed are skipped, and a second replay reads nothing again."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_user_state
    store = MemoryPageStore()

    async def run() -> tuple[Replayed, Replayed, Replayed]:
        producer = await TaskProducer.start(app_settings, "id")
        await producer.commit([Output(topic, 1, A, b"1"), Output(topic, 1, CHECKPOINT_KEY, b"c1")], {}, "group")
        await producer._producer.begin_transaction()
        await producer._producer.send_and_wait(topic, b"never committed", key=A, partition=1)
        await producer.discard()
        producer = await TaskProducer.start(app_settings, "id")  # this ends the open transaction
        first = await replay(app_settings, topic, 1, store, call, topic_id="id-1", now_ms=wall_ms())
        second = await replay(app_settings, topic, 1, store, call, topic_id="id-1", now_ms=wall_ms())
        await producer.commit([Output(topic, 1, B, b"2")], {}, "group")
        await producer.discard()
        await asyncio.to_thread(harness.wait_decided, app_settings, topic)
        third = await replay(app_settings, topic, 1, store, call, topic_id="id-1", now_ms=wall_ms())
        return first, second, third

    first, second, third = asyncio.run(run())
    assert (first.n_records, second.n_records, third.n_records) == (2, 0, 1)
    assert first.start == 0
    assert store.get_many([A, B]) == [b"1", b"2"]
    assert store.checkpoint == b"c1"
    assert store.position is not None
    assert store.position <= third.end
    assert store.origin is not None
    assert store.origin.topic_id == "id-1"


@pytest.fixture
def eager_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Yield a broker of its own that compacts without waiting."""
    with EmbeddedBroker(tmp_path / "kafka", properties={"log.cleaner.backoff.ms": "50"}) as broker:
        yield broker


def test_a_removed_page_does_not_come_back(
    app_settings: Settings, eager_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """A store from before a removal that compaction has since dropped is stale; the changelog alone is right.

    Compaction leaves the first offset where it was.
    """
    settings = app_settings.model_copy(update={"bootstrap_servers": eager_broker.bootstrap_servers})
    topic = settings.topic_item_state
    harness.make_topics(settings)
    compaction = {"segment.ms": "1", "delete.retention.ms": "0", "min.cleanable.dirty.ratio": "0.01"}
    harness.alter_topic(settings, topic, {"cleanup.policy": "compact", "max.compaction.lag.ms": "1", **compaction})

    async def take(store: PageStore | MemoryPageStore) -> Replayed:
        return await replay(settings, topic, 0, store, call, topic_id="id", now_ms=wall_ms())

    async def commit(*pages: tuple[bytes, bytes | None]) -> None:
        producer = await TaskProducer.start(settings, "id")
        await producer.commit([Output(topic, 0, key, value) for key, value in pages], {}, "group")
        await producer.discard()
        await asyncio.to_thread(harness.wait_decided, settings, topic)

    def is_dropped() -> bool:
        asyncio.run(commit((B, b"2"), (CHECKPOINT_KEY, b"c3")))
        return A not in {record.key for record in harness.read_committed(settings, topic)}

    asyncio.run(commit((A, b"1"), (B, b"1"), (CHECKPOINT_KEY, b"c1")))
    with closing(PageStore(tmp_path / "store")) as store:
        asyncio.run(take(store))
        assert store.get_many([A]) == [b"1"]
    asyncio.run(commit((A, None), (CHECKPOINT_KEY, b"c2")))
    harness.wait_for(is_dropped, "the page and its tombstone to be compacted away")
    with closing(PageStore(tmp_path / "store")) as store, pytest.raises(StaleStoreError, match=r"delete.retention.ms"):
        asyncio.run(take(store))
    anew = MemoryPageStore()
    assert asyncio.run(take(anew)).start == 0
    assert anew.get_many([A, B]) == [None, b"2"]


def test_a_store_whose_clock_was_ahead_is_stale(app_settings: Settings) -> None:
    """Its age cannot be known when it says that it is newer than records that it lacks; nothing is applied."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_user_state
    harness.send(app_settings, [(A, b"1"), (A, b"2"), (A, b"3")], topic=topic, partition=1)
    store = MemoryPageStore()
    store.write([(A, b"1")], position=1, checkpoint=None, origin=Origin("id", wall_ms() + DAY_MS // 2))
    with pytest.raises(StaleStoreError, match="clock was wrong"):
        asyncio.run(replay(app_settings, topic, 1, store, call, topic_id="id", now_ms=wall_ms() + DAY_MS))
    assert (store.position, store.get_many([A])) == (1, [b"1"])
