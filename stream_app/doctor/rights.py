"""Checks what the broker lets this user do with each topic and group; it is asked, nothing is tried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.channels import CHANNELS
from stream_app.doctor.finding import Finding, error, ok, skipped, warning
from stream_app.kafka import fetch_topic_rights, started_client
from stream_app.rights import (
    NOT_AUTHORIZED,
    NOT_TOLD,
    OPERATIONS_OF_FLOW,
    Kind,
    Operation,
    Right,
    group_rights,
    not_granted,
    worker_groups,
)

if TYPE_CHECKING:
    from stream_app.settings import Settings


async def check_rights(settings: Settings) -> list[Finding]:
    """Check the rights to all topics and to all groups."""
    topics, groups = await _check_topics(settings), await _check_groups(settings)
    findings = topics + groups
    if not findings:
        n_groups = len(worker_groups(settings))
        findings.append(
            ok("rights", f"all that a worker needs, to {len(CHANNELS)} topics and {n_groups} groups", "that")
        )
    return findings


async def _check_topics(settings: Settings) -> list[Finding]:
    flows = {str(getattr(settings, f"topic_{channel.topic}")): channel.flow for channel in CHANNELS}
    rights = await fetch_topic_rights(settings, list(flows))
    if rights is None:
        return [skipped("rights", "the broker is too old to tell rights (Kafka before 3.1)")]
    findings = []
    for name, flow in flows.items():
        needed = OPERATIONS_OF_FLOW[flow]
        error_code, bits = rights.get(name, (0, NOT_TOLD))
        if error_code == NOT_AUTHORIZED:
            right = Right((Operation.DESCRIBE, *needed), Kind.TOPIC, name)
            findings.append(_missing(f"topic {name} may not even be described", right, settings))
            continue
        if error_code or bits == NOT_TOLD:  # not there: that is the topics' check
            continue
        for right in not_granted(Right(needed, Kind.TOPIC, name), bits):
            words = " and ".join(operation.name.lower() for operation in right.operations)
            findings.append(_missing(f"no right to {words} topic {name}", right, settings))
        if not bits >> Operation.DESCRIBE_CONFIGS & 1:
            found = f"the configuration of topic {name} may not be read"
            remedy = Right((Operation.DESCRIBE_CONFIGS,), Kind.TOPIC, name).command(settings)
            findings.append(warning("rights", found, "the right to check it", remedy))
        if flow == "out" and not bits >> Operation.READ & 1:
            found = f"topic {name} may not be read: the page cannot show its newest records"
            remedy = Right((Operation.READ,), Kind.TOPIC, name).command(settings)
            findings.append(warning("rights", found, "the right to show them", remedy))
    return findings


async def _check_groups(settings: Settings) -> list[Finding]:
    async with started_client(settings) as client:
        findings = []
        for group in worker_groups(settings):
            wanted = Right((Operation.READ,), Kind.GROUP, group)
            missing = not_granted(wanted, await group_rights(client, group))
            findings += [_missing(f"no right to read group {group}", right, settings) for right in missing]
        return findings


def _missing(found: str, right: Right, settings: Settings) -> Finding:
    return error("rights", found, "the rights that a worker needs", right.command(settings))
