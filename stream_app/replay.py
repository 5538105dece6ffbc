"""Replaying the changelog of a task into its local store."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from aiokafka import TopicPartition

from state.store import Origin
from stream_app.changelog import (
    CHECKPOINT_KEY,
    DELETE_RETENTION_MS,
    MARK,
    Log,
    check_clock,
    is_accepted,
    plan_replay,
    restore_state,
)
from stream_app.kafka import started_admin, started_consumer
from stream_app.topics import topic_configs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from state.store import Store
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

_FETCH_BYTES = 8 << 20
_MAX_RECORDS = 5_000
_POLL_MS = 20


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


async def replay(
    settings: Settings,
    topic: str,
    partition: int,
    store: Store,
    run: Callable[..., Awaitable[Any]],
    progress: RestoreProgress | None = None,
    *,
    topic_id: str | None,
    now_ms: int,
) -> Replayed:
    """Bring a store up to the end of its changelog, reading committed records only.

    Parameters
    ----------
    topic, partition, topic_id
        The changelog of the task.
    store
        Local store of the task; its position moves with every batch, so that an interrupted replay goes on where it
        stopped.
    run
        Calls a function with arguments in the thread that owns the store.
    progress
        Kept up to date while the replay goes on.
    now_ms
        Present time, in milliseconds since 1970.

    Raises
    ------
    RecoveryError, StaleStoreError
        See :func:`~stream_app.changelog.plan_replay` and :func:`~stream_app.changelog.check_clock`.
    """
    tp = TopicPartition(topic, partition)
    options = {"auto_offset_reset": "none", "max_partition_fetch_bytes": _FETCH_BYTES}
    async with started_consumer(settings, **options) as consumer:
        consumer.assign([tp])
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        log = await _describe(settings, Log(topic, partition, begin, end, topic_id), store)
        is_new, origin = store.position is None, store.origin
        start = plan_replay(store.position, origin, log, now_ms=now_ms, remedy=restore_state(settings, topic, topic_id))
        consumer.seek(tp, start)
        n_records = 0
        position = start
        as_of = Origin(topic_id, now_ms)
        if progress is not None:
            progress.start, progress.position, progress.end = start, start, end
            progress.started_s = time.monotonic()
        while position < end:
            batches = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            records = cast("Sequence[KafkaRecord]", batches.get(tp, ()))
            position = await consumer.position(tp)
            if records:
                if not (is_new or n_records):
                    check_clock(records[0].timestamp, origin, log)
                n_records += len(records)
                await run(apply, store, records, position, as_of if is_new else None)
            if progress is not None:
                progress.position = position
        if store.position is not None:  # it now has all that there was when the replay began
            await run(apply, store, (), position, as_of)
        return Replayed(n_records, start, end)


async def _describe(settings: Settings, log: Log, store: Store) -> Log:
    """Return a log with what the operator says of it and, where the store has missed anything, its configuration."""
    log = replace(log, is_accepted=is_accepted(settings, log.topic, log.topic_id))
    if store.position is None or store.position + MARK >= log.end:
        return log
    async with started_admin(settings) as admin:
        config = (await topic_configs(admin, [log.topic])).get(log.topic, {})
    return replace(log, delete_retention_ms=int(config.get("delete.retention.ms", DELETE_RETENTION_MS)))


def apply(store: Store, records: Sequence[KafkaRecord], position: int, origin: Origin | None = None) -> None:
    """Write changelog records to a store: pages, the newest checkpoint among them, position and origin.

    Parameters
    ----------
    origin
        See :meth:`~state.store.PageStore.write`. A store that is filled from the beginning is as of when that began,
        wherever it is interrupted: for what it has read by then no tombstone was gone. One that catches up stays as of
        what it was until it has done so.
    """
    pages: list[tuple[bytes, bytes | None]] = []
    checkpoint: bytes | None = None
    for record in records:
        if record.key == CHECKPOINT_KEY:
            checkpoint = record.value
        elif record.key is not None:
            pages.append((record.key, record.value))
    store.write(pages, position=position, checkpoint=checkpoint, origin=origin)
