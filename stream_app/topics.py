"""The topics that Crossaisle needs: which, with what settings; making them and checking them."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from stream_app.kafka import started_admin
from stream_app.record_size import LARGE_TOPIC_BYTES, TOPIC_BYTES
from stream_app.rights import Kind, Operation, Right, lacking, missing_rights

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from stream_app.settings import Settings

_POLICY = "cleanup.policy"
_COMPACT = {_POLICY: "compact", "min.cleanable.dirty.ratio": "0.2"}
_DELETE = {_POLICY: "delete"}
_LARGEST = "max.message.bytes"
_PLAIN = {_LARGEST: str(TOPIC_BYTES)}
_LARGE = {_LARGEST: str(LARGE_TOPIC_BYTES)}
CREATE = "crossaisle topics create"
_LOST = {
    "compact": "what is not written anew for long would be deleted",
    "delete": "compaction would drop all but the newest record of a key unread",
}
"""What a topic loses under another cleanup policy than the one it must have."""
_KNOWN_WITHIN_S = 15.0
_ASK_AGAIN_S = 0.1


class TopicError(Exception):
    """A topic cannot be made or used; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be.

    Attributes
    ----------
    name
        Its name in the cluster.
    like
        The topic whose number of partitions it must have, or None where any number will do.
    config
        Settings that it is made with and must have.
    n_partitions
        How many partitions it must have, or None where the operator decides.
    """

    name: str
    like: str | None
    config: Mapping[str, str] = field(default_factory=dict)
    n_partitions: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a topic, and what to do about it."""

    topic: str
    problem: str
    remedy: str


def topic_specs(settings: "Settings") -> list[TopicSpec]:
    """Return all topics, those that others are compared with first."""
    events, updates = settings.topic_events, settings.topic_item_updates
    policy = {**_COMPACT, **_PLAIN}
    return [
        TopicSpec(events, None, _DELETE),
        TopicSpec(updates, None, {**_DELETE, **_LARGE}),
        TopicSpec(settings.topic_catalog, None, _COMPACT),
        TopicSpec(settings.topic_recommendations, events, _PLAIN),
        TopicSpec(settings.topic_rejects, events, _PLAIN),
        TopicSpec(settings.topic_user_state, events, {**_COMPACT, **_LARGE}),
        TopicSpec(settings.topic_item_state, updates, {**_COMPACT, **_LARGE}),
        TopicSpec(settings.topic_policy_updates, None, policy, n_partitions=1),
        TopicSpec(settings.topic_policy_table, settings.topic_policy_updates, policy, n_partitions=1),
        TopicSpec(settings.topic_policy_state, None, policy, n_partitions=1),
    ]


def topic_limits(settings: "Settings") -> dict[str, int]:
    """Return the largest batch that each topic takes at least, in bytes."""
    return {spec.name: int(spec.config.get(_LARGEST, TOPIC_BYTES)) for spec in topic_specs(settings)}


async def create_topics(settings: "Settings", partitions: int, replication_factor: int) -> list[str]:
    """Make every topic that is not there; those that are stay as they are.

    Parameters
    ----------
    partitions
        Partitions of new topics; one that must match a topic that is there already gets that one's number.

    Returns
    -------
    list of str
        Names of the topics that were made.

    Raises
    ------
    TopicError
        The broker refused one.
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    async with started_admin(settings) as admin:
        counts = await _partition_counts(admin, settings)
        made = []
        for spec in topic_specs(settings):
            if spec.name in counts:
                continue
            n = counts.get(spec.like, partitions) if spec.like is not None else partitions
            n = spec.n_partitions or n
            counts[spec.name] = n
            topic = NewTopic(spec.name, n, replication_factor, topic_configs=dict(spec.config))
            response = await admin.create_topics([topic])
            for name, code, *rest in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    why = rest[0] if rest and rest[0] else for_code(code).__name__
                    remedy = "check rights and --replication-factor"
                    if for_code(code) in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
                        remedy = lacking([Right((Operation.CREATE,), Kind.TOPIC, name)], settings)
                    message = f"topic {name}: the broker refused to make it ({why}); {remedy}"
                    raise TopicError(message)
            made.append(spec.name)
        await _wait_until_known(admin, settings)
        return made


async def _wait_until_known(admin: "AIOKafkaAdminClient", settings: "Settings") -> None:
    """Wait until the broker that is asked knows all topics: it may learn of them later than the one that made them."""
    give_up_s = time.monotonic() + _KNOWN_WITHIN_S
    wanted = {spec.name for spec in topic_specs(settings)}
    while wanted - (await _partition_counts(admin, settings)).keys():
        if time.monotonic() > give_up_s:
            message = (
                f"the topics were made, but a broker does not know them after {_KNOWN_WITHIN_S:.0f} s; check them later"
            )
            raise TopicError(message)
        await asyncio.sleep(_ASK_AGAIN_S)


async def check_topics(settings: "Settings", partitions: int | None = None) -> list[Finding]:
    """Return what is wrong with the topics: missing, another number of partitions, another cleanup policy or size.

    Parameters
    ----------
    partitions
        Partitions that events and item-updates must have; None accepts what is there.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    async with started_admin(settings) as admin:
        counts = await _partition_counts(admin, settings)
        specs = topic_specs(settings)
        findings = await _absent(settings, [spec.name for spec in specs if spec.name not in counts])
        for spec in specs[:2]:
            if partitions is not None and counts.get(spec.name, partitions) != partitions:
                problem = f"has {counts[spec.name]} partitions, wanted {partitions}"
                findings.append(Finding(spec.name, problem, f"delete it and make it anew with: {CREATE}"))
        findings += [
            Finding(
                spec.name,
                f"has {counts[spec.name]} partitions, wanted {spec.n_partitions}",
                f"delete it and make it anew with: {CREATE}; what it held is made again",
            )
            for spec in specs
            if spec.name in counts and spec.n_partitions and counts[spec.name] != spec.n_partitions
        ]
        findings += [
            Finding(
                spec.name,
                f"has {counts[spec.name]} partitions, but {spec.like} has {counts[spec.like]}",
                "they must have as many: delete the one without state worth keeping and make it anew with: "
                f"{CREATE}; a changed number of partitions needs a new CROSSAISLE_APP_ID",
            )
            for spec in specs
            if spec.name in counts and spec.like in counts and counts[spec.name] != counts[spec.like]
        ]
        present = [spec for spec in specs if spec.name in counts and spec.config]
        configs = await topic_configs(admin, [spec.name for spec in present])
        findings += [f for spec in present for f in _config_findings(spec, configs.get(spec.name, {}))]
        return findings


async def _absent(settings: "Settings", names: list[str]) -> list[Finding]:
    """Return what is wrong with topics that the broker does not list: some may be there, but may not be seen."""
    findings, needed = [], (Right((Operation.DESCRIBE,), Kind.TOPIC, name) for name in names)
    hidden = {right.name: right for right in await missing_rights(settings, needed)} if names else {}
    for name in names:
        if name in hidden:
            remedy = f"{hidden[name].command(settings)}; or, if it does not exist, make it with: {CREATE}"
            findings.append(Finding(name, "may not be seen, if it exists", remedy))
        else:
            findings.append(Finding(name, "does not exist", f"make it with: {CREATE}"))
    return findings


def _config_findings(spec: TopicSpec, found: Mapping[str, str]) -> list[Finding]:
    findings = []
    for key, wanted in spec.config.items():
        got = found.get(key)
        if got is None or key == "min.cleanable.dirty.ratio":
            continue
        good = got == wanted if key == _POLICY else int(got) >= int(wanted)
        if not good:
            why = f": {_LOST[wanted]}" if key == _POLICY else ""
            findings.append(
                Finding(spec.name, f"{key} is {got}, wanted {wanted}{why}", _remedy(spec.name, key, wanted))
            )
    return findings


def _remedy(topic: str, key: str, wanted: str) -> str:
    return f"kafka-configs.sh --alter --topic {topic} --add-config {key}={wanted}"


def too_small(topic: str, wanted_bytes: int) -> str:
    """Return the words for a topic whose broker refused a batch as too large, with the remedy."""
    return f"the broker took a batch for too large: {_LARGEST} of {topic} must be at least {wanted_bytes}; " + _remedy(
        topic, _LARGEST, str(wanted_bytes)
    )


async def _partition_counts(admin: "AIOKafkaAdminClient", settings: "Settings") -> dict[str, int]:
    names = {spec.name for spec in topic_specs(settings)}
    there = sorted(names & set(await admin.list_topics()))
    if not there:
        return {}
    return {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(there) if t["error_code"] == 0}


async def topic_configs(admin: "AIOKafkaAdminClient", names: list[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic that is there."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    out: dict[str, dict[str, str]] = {}
    responses: list[Any] = await admin.describe_configs(resources)
    for response in responses:
        for _code, _message, _kind, name, entries in response.resources:
            out[name] = {entry[0]: entry[1] for entry in entries}
    return out
