"""Checks of the changelogs: nothing was cut off, and they are the topics that the state was committed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.changelog import CHECKPOINT_KEY, RecoveryError, is_accepted, lacks, restore_state
from stream_app.doctor.finding import Finding, error, ok
from stream_app.kafka import client_options, stop_consumer
from stream_app.recovery import check_changelog
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFacts

WANTED: Final = "changelogs that hold all state that was committed"
_LOOK_BACK: Final = (4, 1_000, 100_000)
"""Offsets before the end in which the newest checkpoint is looked for, in turn; it is the last record of a commit."""
_POLL_MS: Final = 100
_TO_GO_ON: Final = ". To go on, "


async def check_changelogs(settings: Settings) -> list[Finding]:
    """Look at each changelog as a task does that opens without a local store; nothing is replayed."""
    topics = {"user": settings.topic_user_state, "item": settings.topic_item_state}
    facts = await fetch_topic_facts(settings, list(topics.values()))
    findings: list[Finding] = []
    for stage, topic in topics.items():
        if topic in facts:
            findings += await _check_changelog(settings, stage, topic, facts[topic])
    return findings or [ok("changelogs", "none of them was cut off or made anew", WANTED)]


async def _check_changelog(settings: Settings, stage: str, topic: str, facts: TopicFacts) -> list[Finding]:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=_POLL_MS,
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in range(facts.n_partitions)]
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        checkpoints = await _newest_checkpoints(consumer, begins, ends)
    finally:
        await stop_consumer(consumer)
    remedy = restore_state(settings, topic, facts.topic_id)
    cut_off = [] if is_accepted(settings, topic, facts.topic_id) else [tp for tp in tps if begins[tp] > 0]
    findings = [
        error("changelogs", f"{topic}, partition {tp.partition}: {lacks(begins[tp])}", WANTED, remedy) for tp in cut_off
    ]
    for tp, raw in checkpoints.items():
        try:
            check_changelog(raw, stage, tp.partition, topic, facts, settings)
        except RecoveryError as problem:
            findings.append(error("changelogs", str(problem).partition(_TO_GO_ON)[0], WANTED, remedy))
    return findings


async def _newest_checkpoints(
    consumer: AIOKafkaConsumer, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, bytes]:
    """Return the newest checkpoint of each partition that has one, looking further and further back."""
    found: dict[TopicPartition, bytes] = {}
    for n_back in (*_LOOK_BACK, max(ends.values(), default=0)):
        starts = {tp: max(begins[tp], end - n_back) for tp, end in ends.items() if tp not in found}
        left = {tp for tp, start in starts.items() if start < ends[tp]}
        if not left:
            break
        consumer.assign(list(left))
        for tp in left:
            consumer.seek(tp, starts[tp])
        while left:
            for tp, records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).items():
                found |= _checkpoint_among(tp, cast("Sequence[KafkaRecord]", records))
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    return found


def _checkpoint_among(tp: TopicPartition, records: Sequence[KafkaRecord]) -> dict[TopicPartition, bytes]:
    newest = [record.value for record in records if record.key == CHECKPOINT_KEY and record.value is not None]
    return {tp: newest[-1]} if newest else {}
