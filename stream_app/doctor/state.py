"""Checks of the committed state: what a worker would refuse to go on from is told before it is started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aiokafka import TopicPartition

from state.codec import KIND_HEADER, LayoutError, matrix, split_key
from state.layout import ENTITY_HEADER, ENTITY_PAGES, USER_HEADER, USER_PAGES
from stream_app.changelog import RecoveryError, start_over
from stream_app.doctor.ends import read_ends
from stream_app.doctor.finding import Finding, error, ok, skipped
from stream_app.kafka import started_consumer
from stream_app.learned_pages import LAYOUTS as LEARNED
from stream_app.processor import StageSpec
from stream_app.recovery import check_checkpoint, check_no_checkpoint
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from stream_app.settings import Settings
    from stream_app.topic_facts import TopicFacts

_WANTED: Final = "state that this version goes on from"
_REMEDY: Final = re.compile(r"[.;] [Tt]o go on, |(?<=another version wrote it): ")
"""What stands between the problem and the remedy in what a worker says."""
_LAYOUTS: Final[Mapping[str, Mapping[int, np.dtype[Any]]]] = {
    "user": {KIND_HEADER: USER_HEADER, **{1 + chain: page for chain, page in enumerate(USER_PAGES)}},
    "item": {KIND_HEADER: ENTITY_HEADER, **{1 + chain: page for chain, page in enumerate(ENTITY_PAGES)}},
}
"""Layout of a page by the stage that owns it and the kind in its key."""


async def check_state(settings: Settings) -> list[Finding]:
    """Check the newest checkpoint of each partition, and the pages beside it, as a worker does when it opens a task.

    Local stores are left alone: a worker may have them open.
    """
    specs = _specs(settings)
    topics = [topic for spec in specs for topic in (spec.input_topic, spec.changelog_topic)]
    facts = await fetch_topic_facts(settings, topics)
    missing = [topic for topic in topics if topic not in facts]
    if missing:
        return [skipped("state", f"topics are missing: {', '.join(missing)}")]
    findings: list[Finding] = []
    n_committed = 0
    for spec in specs:
        n_partitions = min(facts[spec.input_topic].n_partitions, facts[spec.changelog_topic].n_partitions)
        n_checkpoints, problems = await _look(settings, spec, facts[spec.input_topic], n_partitions)
        n_committed += n_checkpoints
        if problems:
            findings.append(_finding(problems, n_partitions))
    if not findings:
        found = f"{n_committed} checkpoints and the pages beside them" if n_committed else "no state yet"
        findings.append(ok("state", found, _WANTED))
    return findings


def _specs(settings: Settings) -> list[StageSpec]:
    return [
        StageSpec("user", settings.topic_events, settings.topic_user_state, f"{settings.app_id}.user", 0, _never),
        StageSpec("item", settings.topic_item_updates, settings.topic_item_state, f"{settings.app_id}.item", 0, _never),
    ]


def _never(*_: object) -> NoReturn:
    message = "the doctor opens no processor"
    raise AssertionError(message)


async def _look(settings: Settings, spec: StageSpec, source: TopicFacts, n_partitions: int) -> tuple[int, list[str]]:
    """Return how many checkpoints a stage has, and in a worker's words why it would refuse partitions."""
    tps = [TopicPartition(spec.input_topic, partition) for partition in range(n_partitions)]
    async with started_consumer(settings, group_id=spec.group_id) as consumer:
        consumer.assign(tps)
        # In this order a worker may commit meanwhile: what it commits later has a checkpoint, and lies before the end.
        committed = {tp: await consumer.committed(tp) for tp in tps}
        ends = await read_ends(settings, spec.changelog_topic, range(n_partitions))
        stops = await consumer.end_offsets(tps)
    problems: list[str] = []
    for tp in tps:
        end = ends[tp.partition]
        try:
            if end.checkpoint is None:
                check_no_checkpoint(settings, spec, tp.partition, committed[tp])
            else:
                # Events that were deleted before they were read stop no worker: as if the first one were there.
                check_checkpoint(end.checkpoint, spec, tp.partition, source, 0, stops[tp], remedy=start_over(settings))
            check_pages(spec.name, end.pages)
        except RecoveryError as problem:
            problems.append(str(problem))
        except LayoutError as problem:
            problems.append(f"topic {spec.changelog_topic}, partition {tp.partition}: {problem}")
    return sum(end.checkpoint is not None for end in ends.values()), problems


def check_pages(stage: str, pages: Mapping[bytes, bytes]) -> None:
    """Make sure that pages have the widths that this version wants; those of kinds that it does not know are no matter.

    Parameters
    ----------
    stage
        Whose pages they are: ``user`` or ``item``.
    pages
        Bytes by page key.

    Raises
    ------
    state.codec.LayoutError
        Another version wrote one.
    """
    for key, page in pages.items():
        layout = LEARNED.get(key) or _LAYOUTS[stage].get(split_key(key)[1])
        if layout is not None:
            matrix([page], layout)


def _finding(problems: list[str], n_partitions: int) -> Finding:
    """Return the finding that a worker would refuse some partitions of a stage: it tells of the first one."""
    found, remedy = _REMEDY.split(problems[0], maxsplit=1)
    if len(problems) > 1:
        found += f"; so or otherwise {len(problems)} of {n_partitions} partitions"
    return error("state", found, _WANTED, remedy)
