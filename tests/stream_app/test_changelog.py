"""Tests of replaying a changelog: where it starts, what it takes over, and what it refuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

from state.store import MemoryPageStore
from stream_app.changelog import (
    CHECKPOINT_KEY,
    RecoveryError,
    Replayed,
    StaleStoreError,
    apply,
    plan_replay,
    replay,
)
from stream_app.processor import Output
from stream_app.transaction import TaskProducer
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.settings import Settings

T = TypeVar("T")

A, B = b"page-key-aaaa", b"page-key-bbbb"


class FakeRecord(NamedTuple):
    """What :func:`apply` looks at of a record."""

    key: bytes | None
    value: bytes | None


async def call(function: Callable[..., T], *args: object) -> T:
    """Call a function here and now."""
    return function(*args)


@pytest.mark.parametrize(
    ("position", "begin", "end", "start"), [(None, 3, 9, 3), (3, 3, 9, 3), (5, 3, 9, 5), (9, 3, 9, 9), (None, 0, 0, 0)]
)
def test_replay_starts_at_the_store_or_at_the_beginning(position: int | None, begin: int, end: int, start: int) -> None:
    """A new store replays from the beginning of the log, another one from where it is."""
    assert plan_replay(position, begin, end, topic="t", partition=0, remedy="r") == start


def test_store_ahead_of_the_log_is_refused() -> None:
    """A position beyond the end of the log means another or a truncated topic: the error has the remedy."""
    with pytest.raises(RecoveryError, match=r"changelog t, partition 2: .* offset 10, .* ends at 9.* do this"):
        plan_replay(10, 0, 9, topic="t", partition=2, remedy="do this")


def test_store_behind_the_log_is_stale() -> None:
    """A position before the first offset means that records were missed."""
    with pytest.raises(StaleStoreError):
        plan_replay(2, 3, 9, topic="t", partition=0, remedy="r")


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
        first = await replay(app_settings, topic, 1, store, call)
        second = await replay(app_settings, topic, 1, store, call)
        await producer.commit([Output(topic, 1, B, b"2")], {}, "group")
        await producer.discard()
        await asyncio.to_thread(harness.wait_decided, app_settings, topic)
        return first, second, await replay(app_settings, topic, 1, store, call)

    first, second, third = asyncio.run(run())
    assert (first.n_records, second.n_records, third.n_records) == (2, 0, 1)
    assert first.start == 0
    assert store.get_many([A, B]) == [b"1", b"2"]
    assert store.checkpoint == b"c1"
    assert store.position is not None
    assert store.position <= third.end
