"""Runs all checks in their order; what cannot be looked at, because something before it is broken, says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from pydantic import ValidationError

from stream_app.doctor import cluster, local, rights, topics, transactions
from stream_app.doctor.changelogs import check_changelogs
from stream_app.doctor.environment import check_environment, check_together, wrong_settings
from stream_app.doctor.finding import Finding, Severity, error, skipped
from stream_app.doctor.state import check_state
from stream_app.doctor.workers import check_workers
from stream_app.rights import refusal
from stream_app.settings import Settings
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from stream_app.topic_facts import TopicFacts

TIMEOUT_S = 20.0
"""How long one check of the cluster may take."""


async def examine(*, probe: bool = False) -> AsyncIterator[Finding]:
    """Yield the findings as they are made.

    Parameters
    ----------
    probe
        Also make a topic of the doctor's own, write to it, and delete it: that shows the broker's clock.
    """
    for finding in check_environment(os.environ):
        yield finding
        if finding.severity is Severity.ERROR:
            yield skipped("broker", "the settings cannot be read")
            return
    try:
        settings = Settings()
    except ValidationError as problem:
        for finding in wrong_settings(problem):
            yield finding
        yield skipped("broker", "the settings are wrong")
        return
    for look in (check_together, *local.CHECKS):
        for finding in await asyncio.to_thread(look, settings):
            yield finding
    async for finding in _examine_cluster(settings, probe=probe):
        yield finding


async def _examine_cluster(settings: Settings, *, probe: bool) -> AsyncIterator[Finding]:
    brokers = await cluster.check_broker(settings)
    for finding in brokers:
        yield finding
    is_away = any(finding.severity is Severity.ERROR for finding in brokers)
    for finding in local.check_memory(settings, *(await _numbers_of_tasks(settings, is_away=is_away))):
        yield finding
    if is_away:
        yield skipped(
            "topics", "the broker comes first; so with rights, transactions, offsets, workers, state and clock"
        )
        return
    checks: list[tuple[str, Callable[[Settings], Awaitable[list[Finding]]]]] = [
        ("topics", topics.check_configuration),
        ("changelogs", check_changelogs),
        ("rights", rights.check_rights),
        ("transactions", transactions.check_transactions),
        ("offsets", topics.check_offsets),
        ("workers", check_workers),
        ("state", check_state),
        ("clock", transactions.check_clock_by_events),
    ]
    if probe:
        checks.append(("clock", transactions.check_clock_by_probe))
    for name, check in checks:
        for finding in await _within_time(name, check(settings)):
            yield finding


async def _numbers_of_tasks(settings: Settings, *, is_away: bool) -> list[int]:
    """Return how many user and item tasks there are; for topics that cannot be seen as many as new ones will have."""
    topics = (settings.topic_events, settings.topic_item_updates)
    facts: dict[str, TopicFacts] = {}
    if not is_away:
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                facts = await fetch_topic_facts(settings, topics)
    return [facts[topic].n_partitions if topic in facts else settings.partitions for topic in topics]


async def _within_time(name: str, findings: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await findings
    except TimeoutError:
        return [
            error(
                name,
                f"no answer within {TIMEOUT_S:.0f} s",
                "an answer",
                "look at the broker's log; a coordinator is missing where offsets.topic.replication.factor or "
                "transaction.state.log.replication.factor is more than there are brokers",
            )
        ]
    except KafkaError as problem:
        found = f"the broker refused: {problem}"
        remedy = "see the error, and the broker's log"
        if refusal(problem) is not None:
            remedy = "grant the rights that are named under rights"
        return [error(name, found, "an answer", remedy)]
