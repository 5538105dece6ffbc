"""Checks what the broker lets this user do with each topic and group; it is asked, nothing is tried out."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request

from stream_app.catalog_rejects import catalog_rejects_group
from stream_app.channels import CHANNELS
from stream_app.doctor.finding import Finding, error, ok, skipped, warning
from stream_app.kafka import fetch_topic_rights, started_client

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from stream_app.settings import Settings


class Operation(IntEnum):
    """Kafka's numbers of operations that a worker needs a right to."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


_NEEDED: Final = {
    "in": (Operation.READ,),
    "out": (Operation.WRITE,),
    "own": (Operation.READ, Operation.WRITE),
}
NOT_AUTHORIZED: Final = 29
"""Kafka's error code for a topic that may not be described."""
_NOT_TOLD: Final = -(1 << 31)
_COMES_LATER: Final = (
    CoordinatorNotAvailableError.errno,
    CoordinatorLoadInProgressError.errno,
    NotCoordinatorForGroupError.errno,
)
_RETRY_S: Final = 0.2


async def check_rights(settings: Settings) -> list[Finding]:
    """Check the rights to all topics and to all groups."""
    topics, groups = await _check_topics(settings), await _check_groups(settings)
    findings = topics + groups
    if not findings:
        n_groups = len(_groups(settings))
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
        error_code, bits = rights.get(name, (0, _NOT_TOLD))
        if error_code == NOT_AUTHORIZED:
            findings.append(
                _missing(f"topic {name} may not even be described", name, [Operation.DESCRIBE, *_NEEDED[flow]])
            )
            continue
        if error_code or bits == _NOT_TOLD:  # not there: that is the topics' check
            continue
        missing = [operation for operation in _NEEDED[flow] if not bits >> operation & 1]
        if missing:
            words = " and ".join(operation.name.lower() for operation in missing)
            findings.append(_missing(f"no right to {words} topic {name}", name, missing))
        if not bits >> Operation.DESCRIBE_CONFIGS & 1:
            found = f"the configuration of topic {name} may not be read"
            remedy = f"kafka-acls.sh --add --allow-principal User:NAME --operation DescribeConfigs --topic {name}"
            findings.append(warning("rights", found, "the right to check it", remedy))
        if flow == "out" and not bits >> Operation.READ & 1:
            found = f"topic {name} may not be read: the page cannot show its newest records"
            remedy = f"kafka-acls.sh --add --allow-principal User:NAME --operation Read --topic {name}"
            findings.append(warning("rights", found, "the right to show them", remedy))
    return findings


def _missing(found: str, topic: str, operations: list[Operation]) -> Finding:
    options = " ".join(f"--operation {operation.name.title()}" for operation in operations)
    remedy = f"kafka-acls.sh --add --allow-principal User:NAME {options} --topic {topic}"
    return error("rights", found, "the rights that a worker needs", remedy)


class _DescribeGroupsV3(DescribeGroupsRequest_v3):
    """As aiokafka has it, but for the answer: that of its request leaves the rights out."""

    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _GroupRightsRequest(Request[_DescribeGroupsV3]):
    """Asks a group's coordinator for what may be done with the group."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroupsV3]) -> _DescribeGroupsV3:
        return request_struct_class([self._group], True)


async def _check_groups(settings: Settings) -> list[Finding]:
    async with started_client(settings) as client:
        findings = []
        for group in _groups(settings):
            if not await _may_read(client, group):
                remedy = f"kafka-acls.sh --add --allow-principal User:NAME --operation Read --group {group}"
                found = f"no right to read group {group}"
                findings.append(error("rights", found, "the rights that a worker needs", remedy))
        return findings


async def _may_read(client: AIOKafkaClient, group: str) -> bool:
    """Ask a group's coordinator; on a new cluster it comes into being first, and the caller sets a limit to that."""
    while True:
        try:
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
            answer: Any = await client.send(coordinator, _GroupRightsRequest(group))
        except GroupAuthorizationFailedError:
            return False
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NodeNotReadyError):
            await asyncio.sleep(_RETRY_S)
            continue
        described = answer.groups[0]
        error_code, bits = described[0], int(described[-1])
        if error_code in _COMES_LATER:
            await asyncio.sleep(_RETRY_S)
            continue
        return error_code == 0 and (bits == _NOT_TOLD or bool(bits >> Operation.READ & 1))


def _groups(settings: Settings) -> list[str]:
    stages = [f"{settings.app_id}.{channel.stage}" for channel in CHANNELS if channel.stage]
    return [*stages, catalog_rejects_group(settings)]
