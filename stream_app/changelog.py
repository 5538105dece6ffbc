"""The changelog of a task: replaying it into the local store, and telling when it cannot be trusted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.kafka import client_options, stop_consumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from state.store import Store
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

CHECKPOINT_KEY = b"\x00checkpoint"
"""Key of the checkpoint record; no page key is equal to it: read as one, its kind would be 105, which no page has."""

MAX_RECORD_BYTES = 4 << 20
"""Largest record of a state topic, bytes; ``crossaisle topics create`` sets the topics to it."""

_FETCH_BYTES = 8 << 20
_MAX_RECORDS = 5_000
_POLL_MS = 20


class RecoveryError(Exception):
    """A task cannot be recovered without losing or repeating events; the message names the remedy."""


class StaleStoreError(Exception):
    """The changelog no longer reaches back to the local store: the store must be rebuilt from the beginning."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    n_records: int
    start: int
    """Changelog offset the replay began at."""
    end: int
    """Changelog offset after the last record, when the replay began."""


@dataclass(slots=True)
class RestoreProgress:
    """How far a replay is; shown while it goes on."""

    start: int = 0
    position: int = 0
    end: int = 0
    started_s: float = 0.0
    """When it began, by the monotonic clock."""

    @property
    def n_left(self) -> int:
        """Offsets still to read."""
        return max(self.end - self.position, 0)

    def left_s(self, now_s: float) -> float | None:
        """Return an estimate of the seconds left, at the speed so far; None before anything was read."""
        n_read, took_s = self.position - self.start, now_s - self.started_s
        return self.n_left * took_s / n_read if n_read > 0 else None


def start_over(settings: Settings) -> str:
    """Return the sentence that tells an operator how to begin anew."""
    return (
        f"put the topic back as it was, or start over with a new CROSSAISLE_APP_ID (now {settings.app_id!r}), "
        "which learns everything again from the events that the broker still has"
    )


def plan_replay(position: int | None, begin: int, end: int, *, topic: str, partition: int, remedy: str) -> int:
    """Return the changelog offset to replay from.

    Parameters
    ----------
    position
        Next offset that the local store wants, None if the store is new.
    begin, end
        First offset of the log, and the offset after its last record.

    Raises
    ------
    RecoveryError
        The store is ahead of the log: the topic was truncated or made anew.
    StaleStoreError
        Records that the store has not seen are gone from the log.
    """
    if position is None:
        return begin
    if position > end:
        message = (
            f"changelog {topic}, partition {partition}: the local store is at offset {position}, but the topic ends at "
            f"{end}; the topic was truncated or deleted and made anew. To go on, {remedy}"
        )
        raise RecoveryError(message)
    if position < begin:
        raise StaleStoreError
    return position


async def replay(
    settings: Settings,
    topic: str,
    partition: int,
    store: Store,
    run: Callable[..., Awaitable[Any]],
    progress: RestoreProgress | None = None,
) -> Replayed:
    """Bring a store up to the end of its changelog, reading committed records only.

    Parameters
    ----------
    topic, partition
        The changelog of the task.
    store
        Local store of the task; its position moves with every batch, so that an interrupted replay goes on where it
        stopped.
    run
        Calls a function with arguments in the thread that owns the store.
    progress
        Kept up to date while the replay goes on.

    Raises
    ------
    RecoveryError, StaleStoreError
        See :func:`plan_replay`.
    """
    tp = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    try:
        await consumer.start()
        consumer.assign([tp])
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        remedy = start_over(settings)
        start = plan_replay(store.position, begin, end, topic=topic, partition=partition, remedy=remedy)
        consumer.seek(tp, start)
        n_records = 0
        position = start
        if progress is not None:
            progress.start, progress.position, progress.end = start, start, end
            progress.started_s = time.monotonic()
        while position < end:
            batches = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            records = cast("Sequence[KafkaRecord]", batches.get(tp, ()))
            position = await consumer.position(tp)
            if records:
                n_records += len(records)
                await run(apply, store, records, position)
            if progress is not None:
                progress.position = position
        return Replayed(n_records, start, end)
    finally:
        await stop_consumer(consumer)


def apply(store: Store, records: Sequence[KafkaRecord], position: int) -> None:
    """Write changelog records to a store: pages, the newest checkpoint among them, and the position."""
    pages: list[tuple[bytes, bytes | None]] = []
    checkpoint: bytes | None = None
    for record in records:
        if record.key == CHECKPOINT_KEY:
            checkpoint = record.value
        elif record.key is not None:
            pages.append((record.key, record.value))
    store.write(pages, position=position, checkpoint=checkpoint)
