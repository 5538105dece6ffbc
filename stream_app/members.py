"""Who owns which partition, and where its HTTP server is: asked of the group's coordinator.

A worker puts the address of its HTTP server into the client id of its group consumers. The description of a group
holds client id and assignment of each member, so that the coordinator is the one source of both, with no topic and no
protocol of our own. A worker that was killed stays listed until its session ends, as it stays the owner until then.
"""

from __future__ import annotations

import ipaddress
import socket
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import NoError, for_code

from stream_app.shared_settings import digests_told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from stream_app.settings import Settings

CLIENT_ID_PREFIX: Final = "crossaisle@"
STAGES: Final = ("user", "item")


class Member(NamedTuple):
    """One worker's part in the group of one stage."""

    stage: str
    address: str
    """``host:port`` of its HTTP server."""
    partitions: frozenset[int]
    """Partitions of the stage's input that it owns; empty while the group shares them out."""
    settings: Mapping[str, str] = MappingProxyType({})
    """Digests of its shared settings by name; empty while the group shares out partitions, or when it tells none."""


class Group(NamedTuple):
    """The group of one stage, as its coordinator describes it."""

    stage: str
    name: str
    topic: str
    """That it reads."""
    described: Sequence[tuple[Any, ...]]
    """Per member: member id, client id, client host, metadata, assignment."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def advertised_address(settings: Settings) -> str:
    """Return the ``host:port`` at which other workers reach this worker's HTTP server."""
    if settings.web_advertise:
        return settings.web_advertise
    host = settings.web_host
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound to
        host = socket.gethostname()
    return f"[{host}]:{settings.web_port}" if ":" in host else f"{host}:{settings.web_port}"


def client_id(settings: Settings) -> str:
    """Return the client id of a worker's group consumers."""
    return CLIENT_ID_PREFIX + advertised_address(settings)


async def fetch_members(admin: AIOKafkaAdminClient, settings: Settings) -> list[Member]:
    """Return the workers of both stages, by stage and address; members that are no workers are passed over.

    Raises
    ------
    aiokafka.errors.KafkaError
        A coordinator does not answer.
    """
    return workers_among(await describe_groups(admin, settings))


async def describe_groups(admin: AIOKafkaAdminClient, settings: Settings) -> list[Group]:
    """Return who is in the group of either stage.

    Raises
    ------
    aiokafka.errors.KafkaError
        A coordinator does not answer.
    """
    topics = {"user": settings.topic_events, "item": settings.topic_item_updates}
    found: list[Group] = []
    for stage in STAGES:
        for response in await admin.describe_consumer_groups([f"{settings.app_id}.{stage}"]):
            for group in response.groups:
                error = for_code(group[0])
                if error is not NoError:
                    message = f"group {group[1]}"
                    raise error(message)
                found.append(Group(stage, group[1], topics[stage], group[5]))
    return found


def workers_among(groups: Iterable[Group]) -> list[Member]:
    """Return the workers in groups, by stage and address; members that are no workers are passed over."""
    found = [member for group in groups for member in members_of(group.described, group.stage, group.topic)]
    return sorted(found, key=lambda member: (member.stage != "user", member.address))


def strangers_among(groups: Iterable[Group]) -> dict[str, list[int]]:
    """Return the members of groups that are no workers, in words, and the partitions that they hold, if any."""
    found: dict[str, list[int]] = {}
    for group in groups:
        for _member_id, client, host, _metadata, assignment in group.described:
            partitions = sorted(_partitions(assignment, group.topic))
            if partitions and not client.startswith(CLIENT_ID_PREFIX):
                found[f"{client} at {host.removeprefix('/')} in group {group.name}"] = partitions
    return found


def members_of(described: Iterable[tuple[Any, ...]], stage: str, topic: str) -> list[Member]:
    """Return the workers among a group's described members.

    Parameters
    ----------
    described
        Per member: member id, client id, client host, metadata, assignment.
    stage, topic
        The group's stage and the topic that it reads.
    """
    return [
        Member(stage, client.removeprefix(CLIENT_ID_PREFIX), _partitions(assignment, topic), digests_told(metadata))
        for _member_id, client, _host, metadata, assignment in described
        if client.startswith(CLIENT_ID_PREFIX)
    ]


def _partitions(assignment: bytes, topic: str) -> frozenset[int]:
    if not assignment:
        return frozenset()
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return frozenset(partition for name, numbers in decoded.assignment if name == topic for partition in numbers)
