"""Checks of the committed state: whole, committed to the topics that are there, and of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.changelog import CHECKPOINT_KEY, RecoveryError, is_accepted, lacks, restore_state, start_over
from stream_app.doctor.finding import Finding, error, ok
from stream_app.kafka import client_options, stop_consumer
from stream_app.recovery import check_changelog, check_checkpoint
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFacts

WANTED: Final = "state that is whole, committed to the topics that are there"
_LOOK_BACK: Final = (4, 1_000, 100_000)
"""Offsets before the end in which the newest checkpoint is looked for, in turn; it is the last record of a commit."""
_POLL_MS: Final = 100
_TO_GO_ON: Final = ". To go on, "


class Stage(NamedTuple):
    """A stage and its topics."""

    name: str
    input_topic: str
    changelog_topic: str


async def check_state(settings: Settings) -> list[Finding]:
    """Look at the changelogs as a task does when it opens without a local store; nothing is replayed."""
    stages = [
        Stage("user", settings.topic_events, settings.topic_user_state),
        Stage("item", settings.topic_item_updates, settings.topic_item_state),
    ]
    facts = await fetch_topic_facts(settings, [topic for stage in stages for topic in stage[1:]])
    findings: list[Finding] = []
    n_found = 0
    for stage in stages:
        if stage.input_topic in facts and stage.changelog_topic in facts:
            found, n = await _check_stage(settings, stage, facts)
            findings += found
            n_found += n
    return findings or [ok("state", f"{n_found} partitions have committed, none of them wrong", WANTED)]


async def _check_stage(settings: Settings, stage: Stage, facts: Mapping[str, TopicFacts]) -> tuple[list[Finding], int]:
    """Return what is wrong with the state of a stage, and how many partitions have any."""
    source, changelog = facts[stage.input_topic], facts[stage.changelog_topic]
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=_POLL_MS,
    )
    await consumer.start()
    try:
        tps = [TopicPartition(stage.changelog_topic, p) for p in range(changelog.n_partitions)]
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        checkpoints = await _newest_checkpoints(consumer, begins, ends)
        sources = [TopicPartition(stage.input_topic, p) for p in range(source.n_partitions)]
        input_ends = await consumer.end_offsets(sources)
    finally:
        await stop_consumer(consumer)
    remedy = restore_state(settings, stage.changelog_topic, changelog.topic_id)
    cut_off = [] if is_accepted(settings, stage.changelog_topic, changelog.topic_id) else [t for t in tps if begins[t]]
    findings = [
        error("state", f"{tp.topic}, partition {tp.partition}: {lacks(begins[tp])}", WANTED, remedy) for tp in cut_off
    ]
    for tp, raw in checkpoints.items():
        end = input_ends.get(TopicPartition(stage.input_topic, tp.partition), 0)
        try:
            checkpoint = check_checkpoint(raw, stage, tp.partition, source, end, remedy=start_over(settings))
            check_changelog(checkpoint, stage, settings, changelog)
        except RecoveryError as problem:
            found, _, what_to_do = str(problem).partition(_TO_GO_ON)
            findings.append(error("state", found, WANTED, what_to_do or start_over(settings)))
    return findings, len(checkpoints)


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
