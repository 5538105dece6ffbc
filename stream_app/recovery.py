"""Opening a task: fence, open the store, replay the changelog, check the checkpoint, restore the processor."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiokafka import TopicPartition

from state.layout import STATE_FORMAT_VERSION
from state.store import PageStore, StoreDamagedError, StoreLockedError
from stream_app.changelog import (
    RecoveryError,
    StaleStoreError,
    is_accepted,
    made_anew,
    restore_state,
    start_over,
)
from stream_app.decoding import UNREADABLE, decode_or_none
from stream_app.kafka import started_consumer
from stream_app.left_open import LastTransaction, end_left_open
from stream_app.records import Checkpoint
from stream_app.replay import Replayed, RestoreProgress, replay
from stream_app.transaction import TaskProducer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stream_app.processor import Processor, StageSpec
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFacts, TopicFactsCache

CHECKPOINT_FORMAT_VERSION = 1
"""Format of the checkpoint record."""

_LOCK_WAIT_S = 2.0
_LOCK_POLL_S = 0.1
_MAX_SPARES = 8

_log = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(Checkpoint)


@dataclass(slots=True)
class Opened:
    """An open task: all that is dropped when it closes or fails."""

    producer: TaskProducer
    store: PageStore
    processor: Processor
    n_partitions: int
    input_topic_id: str | None
    changelog_topic_id: str | None
    committed_offset: int
    """Next input offset as of the last commit."""
    next_offset: int
    """Next input offset to read."""
    replayed: Replayed
    took_ms: float
    is_told: bool = True
    """Whether the group has the committed offset; where it has not, lag would be wrong until the next commit."""

    def report(self) -> dict[str, Any]:
        """Return the figures of the recovery, for the log."""
        return {
            "input_offset": self.committed_offset,
            "changelog_offset": self.store.position,
            "n_replayed": self.replayed.n_records,
            "took_ms": round(self.took_ms, 1),
        }

    async def close(self, call: Callable[..., Awaitable[Any]]) -> None:
        """Drop the producer and close the store."""
        await self.producer.discard()
        await call(self.store.close)


def store_folder(settings: Settings, stage: str, partition: int) -> Path:
    """Return the directory of a task's local store."""
    return Path(settings.state_dir) / settings.app_id / f"{stage}-{partition}"


async def open_task(
    settings: Settings,
    spec: StageSpec,
    partition: int,
    facts: TopicFactsCache,
    call: Callable[..., Awaitable[Any]],
    *,
    rebuild: bool,
    progress: RestoreProgress | None = None,
    last: LastTransaction | None = None,
) -> Opened:
    """Recover a task from its last commit.

    Parameters
    ----------
    facts
        Ids and partition counts of the stage's topics.
    call
        Calls a function in the thread that owns stores and processors.
    rebuild
        Whether to destroy the local store first.
    progress
        Told how far the replay of the changelog is.
    last
        What earlier attempts know of the task's last transaction.

    Raises
    ------
    RecoveryError
        Going on would lose or repeat events.
    aiokafka.errors.KafkaError, state.store.StoreError
        Recovery did not work this time.
    """
    started = time.monotonic()
    transactional_id = f"{settings.app_id}.{spec.name}.{partition}"
    last = last if last is not None else LastTransaction()
    await last.look(settings, transactional_id)
    producer = await TaskProducer.start(settings, transactional_id)
    store: PageStore | None = None
    try:
        source, changelog = await _matching_topics(settings, spec, facts)
        aborted_from = await end_left_open(settings, spec, partition, producer, last)
        store = await _open_store(settings, spec, partition, call, rebuild=rebuild)
        if aborted_from is not None and store.position is not None and store.position > aborted_from:
            await call(store.close)
            store = await _open_store(settings, spec, partition, call, rebuild=True)
        try:
            replayed = await _replay(settings, spec, partition, changelog, store, call, progress)
        except StaleStoreError as error:
            _log.warning(
                "store_stale",
                stage=spec.name,
                partition=partition,
                path=str(store.path),
                reason=str(error),
                remedy="none needed: it is rebuilt from the changelog",
            )
            await call(store.close)
            store = await _open_store(settings, spec, partition, call, rebuild=True)
            replayed = await _replay(settings, spec, partition, changelog, store, call, progress)
        offset, is_told = await _start_offset(settings, spec, partition, source, changelog, store.checkpoint)
        processor: Processor = await call(spec.open_processor, partition, source.n_partitions, store)
        await call(processor.restore, store.checkpoint)
    except BaseException:
        await asyncio.shield(_drop(producer, store, call))
        raise
    took_ms = (time.monotonic() - started) * 1000
    ids = (source.topic_id, changelog.topic_id)
    return Opened(producer, store, processor, source.n_partitions, *ids, offset, offset, replayed, took_ms, is_told)


def encode_checkpoint(spec: StageSpec, partition: int, opened: Opened, state: dict[str, Any]) -> bytes:
    """Return the checkpoint record of a commit, as JSON."""
    return msgspec.json.encode(
        Checkpoint(
            format_version=CHECKPOINT_FORMAT_VERSION,
            stage=spec.name,
            partition=partition,
            n_partitions=opened.n_partitions,
            input_topic=spec.input_topic,
            input_topic_id=opened.input_topic_id,
            input_offset=opened.next_offset,
            state=state,
            changelog_topic_id=opened.changelog_topic_id,
            state_format=STATE_FORMAT_VERSION,
        )
    )


def check_checkpoint(
    raw: bytes, spec: StageSpec, partition: int, source: TopicFacts, begin: int, end: int, *, remedy: str
) -> int:
    """Return the input offset of a checkpoint, after making sure that it still means the same events.

    Parameters
    ----------
    raw
        The checkpoint record.
    source
        The input topic as it is now.
    begin, end
        First offset of the input partition, and the offset after its last record.

    Raises
    ------
    RecoveryError
        The input topic was made anew or truncated, its partition count has changed, or the record is of another
        format or stage.
    """
    where = f"stage {spec.name}, partition {partition}"
    try:
        checkpoint = _decoder.decode(raw)
    except UNREADABLE as error:
        message = f"{where}: the checkpoint in {spec.changelog_topic} cannot be read ({error}); to go on, {remedy}"
        raise RecoveryError(message) from error
    problem = ""
    if checkpoint.format_version != CHECKPOINT_FORMAT_VERSION:
        problem = (
            f"the checkpoint has format {checkpoint.format_version}, this version reads {CHECKPOINT_FORMAT_VERSION}"
        )
    elif checkpoint.state_format != STATE_FORMAT_VERSION:
        problem = (
            f"the pages in {spec.changelog_topic} have state format {checkpoint.state_format}, this version reads "
            f"{STATE_FORMAT_VERSION}: start a worker of the version that wrote them"
        )
    elif (checkpoint.stage, checkpoint.partition, checkpoint.input_topic) != (spec.name, partition, spec.input_topic):
        problem = (
            f"{spec.changelog_topic} holds the state of stage {checkpoint.stage}, partition {checkpoint.partition}, "
            f"read from {checkpoint.input_topic}, not from {spec.input_topic}"
        )
    elif checkpoint.input_topic_id and source.topic_id and checkpoint.input_topic_id != source.topic_id:
        problem = (
            f"topic {spec.input_topic} was deleted and made anew (id {checkpoint.input_topic_id} is now "
            f"{source.topic_id}); offset {checkpoint.input_offset} means other events there"
        )
    elif checkpoint.n_partitions != source.n_partitions:
        problem = (
            f"topic {spec.input_topic} has {source.n_partitions} partitions, the state was learned with "
            f"{checkpoint.n_partitions}; keys now go to other partitions than the ones that hold their state"
        )
    elif checkpoint.input_offset > end:
        problem = (
            f"the checkpoint is at offset {checkpoint.input_offset} of {spec.input_topic}, which ends at {end}: "
            "it was truncated or deleted and made anew"
        )
    if problem:
        message = f"{where}: {problem}. To go on, {remedy}"
        raise RecoveryError(message)
    if checkpoint.input_offset < begin:
        _log.error(
            "events_expired",
            stage=spec.name,
            partition=partition,
            n_events=begin - checkpoint.input_offset,
            reason=f"Kafka deleted them from {spec.input_topic} before they were read",
            remedy="raise retention.ms of the topic, or keep a worker running",
        )
    return max(checkpoint.input_offset, begin)


def check_changelog(
    raw: bytes, stage: str, partition: int, topic: str, changelog: TopicFacts, settings: Settings
) -> None:
    """Make sure that a checkpoint stands in the topic that it was committed to, or in one that the operator accepts.

    A worker under which the topic is made anew goes on to commit for some seconds: what it commits then is less than
    the state, and its checkpoints have the former id.

    Parameters
    ----------
    raw
        The checkpoint record; one that cannot be read, or does not tell the id, is accepted.
    topic, changelog
        Where it stands, as that is now.

    Raises
    ------
    RecoveryError
        The topic was made anew.
    """
    checkpoint = decode_or_none(_decoder.decode, raw)
    former_id, topic_id = None if checkpoint is None else checkpoint.changelog_topic_id, changelog.topic_id
    if former_id and topic_id and former_id != topic_id and not is_accepted(settings, topic, topic_id):
        message = (
            f"stage {stage}, partition {partition}: {made_anew(topic, former_id, topic_id)}. To go on, "
            f"{restore_state(settings, topic, topic_id)}"
        )
        raise RecoveryError(message)


async def _matching_topics(
    settings: Settings, spec: StageSpec, facts: TopicFactsCache
) -> tuple[TopicFacts, TopicFacts]:
    """Return the facts of input and changelog, after making sure that they have as many partitions."""
    source, changelog = await facts.get(spec.input_topic), await facts.get(spec.changelog_topic)
    if source.n_partitions != changelog.n_partitions:
        message = (
            f"topics {spec.input_topic} and {spec.changelog_topic}: they have {source.n_partitions} and "
            f"{changelog.n_partitions} partitions but must have as many; to go on, {start_over(settings)}"
        )
        raise RecoveryError(message)
    return source, changelog


async def _replay(
    settings: Settings,
    spec: StageSpec,
    partition: int,
    changelog: TopicFacts,
    store: PageStore,
    call: Callable[..., Awaitable[Any]],
    progress: RestoreProgress | None,
) -> Replayed:
    now_ms = time.time_ns() // 1_000_000
    topic, topic_id = spec.changelog_topic, changelog.topic_id
    return await replay(settings, topic, partition, store, call, progress, topic_id=topic_id, now_ms=now_ms)


async def _start_offset(
    settings: Settings,
    spec: StageSpec,
    partition: int,
    source: TopicFacts,
    changelog: TopicFacts,
    raw: bytes | None,
) -> tuple[int, bool]:
    """Return the input offset to begin at: the checkpoint's, or the first one if there never was a commit.

    And whether the group has the same one: its offsets expire where no worker runs for a week, and others may set them.
    """
    tp = TopicPartition(spec.input_topic, partition)
    async with started_consumer(settings, group_id=spec.group_id) as consumer:
        consumer.assign([tp])
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        if raw is not None:
            offset = check_checkpoint(raw, spec, partition, source, begin, end, remedy=start_over(settings))
            check_changelog(raw, spec.name, partition, spec.changelog_topic, changelog, settings)
            return offset, await consumer.committed(tp) == offset
        committed = await consumer.committed(tp)
    check_no_checkpoint(settings, spec, partition, committed)
    return int(begin), True


def check_no_checkpoint(settings: Settings, spec: StageSpec, partition: int, committed: int | None) -> None:
    """Make sure that a changelog without a checkpoint never had one.

    Parameters
    ----------
    committed
        Offset that the stage's group has committed to its input partition; None if it has not.

    Raises
    ------
    RecoveryError
        It had one: the group has read the input.
    """
    if committed:
        message = (
            f"stage {spec.name}, partition {partition}: the group {spec.group_id} has read {spec.input_topic} up to "
            f"offset {committed}, but {spec.changelog_topic} holds no state; it was deleted and made anew, or "
            f"truncated. To go on, {start_over(settings)}"
        )
        raise RecoveryError(message)


async def _open_store(
    settings: Settings, spec: StageSpec, partition: int, call: Callable[..., Awaitable[Any]], *, rebuild: bool
) -> PageStore:
    """Open the local store; one that is damaged is made anew, one that another process holds gets a spare."""
    base = store_folder(settings, spec.name, partition)
    give_up_s = time.monotonic() + _LOCK_WAIT_S
    path, n_spares, destroyed = base, 0, False
    while True:
        try:
            store: PageStore = await call(PageStore, path)
            if destroyed or not rebuild:
                return store
            await call(store.close)
        except StoreDamagedError as error:
            if destroyed:
                raise
            _log.warning("store_damaged", error=str(error), path=str(path))
        except StoreLockedError:
            if time.monotonic() < give_up_s:
                await asyncio.sleep(_LOCK_POLL_S)
                continue
            if n_spares == _MAX_SPARES:
                raise
            n_spares += 1
            _log.warning("store_locked", path=str(path), reason="another process holds it: using a spare directory")
            path = base.with_name(f"{base.name}.{n_spares}")
            continue
        await call(PageStore.destroy, path)
        destroyed = True


async def _drop(producer: TaskProducer, store: PageStore | None, call: Callable[..., Awaitable[Any]]) -> None:
    await producer.discard()
    if store is not None:
        await call(store.close)
