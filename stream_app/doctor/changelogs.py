"""Checks of the changelogs: nothing was cut off, and they are the topics that the state was committed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stream_app.changelog import RecoveryError, is_accepted, lacks, restore_state
from stream_app.doctor.ends import read_ends
from stream_app.doctor.finding import Finding, error, ok
from stream_app.recovery import check_changelog
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFacts

WANTED: Final = "changelogs that hold all state that was committed"
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
    ends = await read_ends(settings, topic, range(facts.n_partitions))
    remedy = restore_state(settings, topic, facts.topic_id)
    findings: list[Finding] = []
    for partition, end in ends.items():
        if end.begin > 0 and not is_accepted(settings, topic, facts.topic_id):
            problem = f"{topic}, partition {partition}: {lacks(end.begin)}"
            findings.append(error("changelogs", problem, WANTED, remedy))
        if end.checkpoint is not None:
            try:
                check_changelog(end.checkpoint, stage, partition, topic, facts, settings)
            except RecoveryError as refused:
                findings.append(error("changelogs", str(refused).partition(_TO_GO_ON)[0], WANTED, remedy))
    return findings
