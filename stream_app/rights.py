"""Rights: which ones a worker and the commands need, which are missing, and how an operator grants them.

The broker is asked; nothing is tried out.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request

from stream_app.kafka import fetch_topic_rights, started_client
from stream_app.probe import AccessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiokafka.client import AIOKafkaClient

    from stream_app.settings import Settings


class Operation(IntEnum):
    """Kafka's numbers of operations that a worker or a command needs a right to."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    IDEMPOTENT_WRITE = 12

    @property
    def label(self) -> str:
        """Its name as Kafka's own tools and documents spell it."""
        return self.name.title().replace("_", "")


class Kind(StrEnum):
    """What a right can be for; the value is the option of ``kafka-acls.sh``."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"
    CLUSTER = "cluster"


class Right(NamedTuple):
    """To do something with something.

    Attributes
    ----------
    operations
        All that is needed or, among what is missing, all that is not granted.
    is_prefix
        Whether it is for all names that begin so.
    """

    operations: tuple[Operation, ...]
    kind: Kind
    name: str
    is_prefix: bool = False

    @property
    def words(self) -> str:
        """It in words, as in ``Read and Write on topic events``."""
        what = " and ".join(operation.label for operation in self.operations)
        names = f"s {self.name}*" if self.is_prefix else f" {self.name}"
        return f"{what} on {self.kind.value.replace('-', ' ')}{names}".rstrip()

    def command(self, settings: Settings) -> str:
        """Return the command that grants it to the user of the settings."""
        options = " ".join(f"--operation {operation.label}" for operation in self.operations)
        principal = f"User:{settings.sasl_username or 'NAME'}"
        pattern = "--resource-pattern-type prefixed " if self.is_prefix else ""
        return (
            f"kafka-acls.sh --add --allow-principal {principal} {options} {pattern}--{self.kind} {self.name}".rstrip()
        )


OPERATIONS_OF_FLOW: Final = {
    "in": (Operation.READ,),
    "out": (Operation.WRITE,),
    "own": (Operation.READ, Operation.WRITE),
}
"""What a worker does with a topic, by the flow of its channel."""
NOT_AUTHORIZED: Final = 29
"""Kafka's error code for a topic that may not be described."""
NOT_TOLD: Final = -(1 << 31)
"""What a broker tells of rights that it does not know."""
_REFUSALS: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
_COMES_LATER: Final = (
    CoordinatorNotAvailableError.errno,
    CoordinatorLoadInProgressError.errno,
    NotCoordinatorForGroupError.errno,
)
_RETRY_S: Final = 0.2
_ASK_TIMEOUT_S: Final = 5.0
_MOST_COMMANDS: Final = 4
"""A sentence holds up to so many commands."""


def worker_rights(settings: Settings) -> list[Right]:
    """Return what a worker cannot do without, at topics and groups."""
    from stream_app.channels import CHANNELS  # noqa: PLC0415  # numpy: only a worker pays for it

    topics = [
        Right(OPERATIONS_OF_FLOW[channel.flow], Kind.TOPIC, getattr(settings, f"topic_{channel.topic}"))
        for channel in CHANNELS
    ]
    return [*topics, *(Right((Operation.READ,), Kind.GROUP, group) for group in worker_groups(settings))]


def reading(*topics: str) -> list[Right]:
    """Return the rights to read topics."""
    return [Right((Operation.READ,), Kind.TOPIC, topic) for topic in topics]


def writing(topic: str) -> list[Right]:
    """Return the right to write to a topic."""
    return [Right((Operation.WRITE,), Kind.TOPIC, topic)]


def worker_groups(settings: Settings) -> list[str]:
    """Return the consumer groups of a worker."""
    from stream_app.catalog_rejects import catalog_rejects_group  # noqa: PLC0415  # as above
    from stream_app.channels import CHANNELS  # noqa: PLC0415

    stages = [f"{settings.app_id}.{channel.stage}" for channel in CHANNELS if channel.stage]
    return [*stages, catalog_rejects_group(settings)]


def refusal(error: BaseException | None) -> KafkaError | None:
    """Return the broker's refusal for want of a right that an error is, or was caused by."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, _REFUSALS):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


async def missing_rights(settings: Settings, needed: Iterable[Right]) -> list[Right]:
    """Return which rights are missing for certain.

    One that the broker does not tell, because it is too old, keeps no rights, or has no such topic, counts as there.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer.
    TimeoutError
        It did not within some seconds.
    """
    needed = list(needed)
    topics = [right for right in needed if right.kind is Kind.TOPIC]
    groups = [right for right in needed if right.kind is Kind.GROUP]
    async with asyncio.timeout(_ASK_TIMEOUT_S):
        found = await _missing_at_topics(settings, topics) if topics else []
    if groups:
        with contextlib.suppress(TimeoutError):  # of a new cluster: its coordinator comes into being
            async with asyncio.timeout(_ASK_TIMEOUT_S), started_client(settings) as client:
                for right in groups:
                    bits = await group_rights(client, right.name)
                    found += not_granted(right, bits)
    return found


async def _missing_at_topics(settings: Settings, needed: Sequence[Right]) -> list[Right]:
    told = await fetch_topic_rights(settings, [right.name for right in needed]) or {}
    found = []
    for right in needed:
        error_code, bits = told.get(right.name, (0, NOT_TOLD))
        if error_code == NOT_AUTHORIZED:
            found.append(right)  # who may read or write may also describe
        elif not error_code:
            found += not_granted(right, bits)
    return found


def not_granted(right: Right, bits: int | None) -> list[Right]:
    """Return the part of a right that is not among the bits of what is allowed, if any; None is nothing allowed."""
    if bits == NOT_TOLD:
        return []
    missing = tuple(operation for operation in right.operations if bits is None or not bits >> operation & 1)
    return [right._replace(operations=missing)] if missing else []


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


async def group_rights(client: AIOKafkaClient, group: str) -> int | None:
    """Return the allowed operations on a group as bits by their number; None if it may not even be described.

    On a new cluster the group's coordinator comes into being first, and the caller sets a limit to that.
    """
    while True:
        try:
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
            answer: Any = await client.send(coordinator, _GroupRightsRequest(group))
        except GroupAuthorizationFailedError:
            return None
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NodeNotReadyError):
            await asyncio.sleep(_RETRY_S)
            continue
        described = answer.groups[0]
        error_code, bits = described[0], int(described[-1])
        if error_code in _COMES_LATER:
            await asyncio.sleep(_RETRY_S)
            continue
        return bits if error_code == 0 else None


def lacking(missing: Sequence[Right], settings: Settings) -> str:
    """Say which rights are missing, and what grants them."""
    who = f"user {settings.sasl_username}" if settings.sasl_username else "this client's user"
    rights = ", ".join(right.words for right in missing)
    commands = [right.command(settings) for right in missing]
    if len(commands) > _MOST_COMMANDS:
        commands = ["crossaisle doctor prints the commands"]
    return f"{who} lacks rights at the broker: grant {rights} ({'; '.join(commands)})"


async def explain_refusal(settings: Settings, error: BaseException, needed: Iterable[Right]) -> str:
    """Return what to grant after the broker refused something for want of a right.

    Parameters
    ----------
    error
        What the client raised.
    needed
        All rights that are needed for what was being done: the broker is asked which of them are missing. Where it
        tells of none, the sentence says what the error does.
    """
    missing: list[Right] = []
    with contextlib.suppress(KafkaError, OSError):
        missing = await missing_rights(settings, needed)
    return lacking(missing or [_right_of(error, settings)], settings)


async def final_error(settings: Settings, error: BaseException, needed: Iterable[Right] = ()) -> AccessError | None:
    """Return the error that ends a worker or a command where a right is missing; None if that is not the matter.

    Parameters
    ----------
    needed
        As :func:`explain_refusal` takes it; all that a worker needs if empty.
    """
    if refusal(error) is None:
        return None
    return AccessError(await explain_refusal(settings, error, list(needed) or worker_rights(settings)))


async def check_worker_rights(settings: Settings) -> None:
    """Return if the broker tells of no right that a worker lacks, or does not tell in time.

    Raises
    ------
    AccessError
        Some are missing; the message lists them all.
    """
    missing: list[Right] = []
    with contextlib.suppress(KafkaError, OSError):  # TimeoutError is an OSError
        missing = await missing_rights(settings, worker_rights(settings))
    if missing:
        raise AccessError(lacking(missing, settings))


def _right_of(error: BaseException, settings: Settings) -> Right:
    """Return the right that an error is about, as far as it tells."""
    refused = refusal(error) or error
    about = refused.args[0] if refused.args else ""
    names = ", ".join(sorted(map(str, about))) if isinstance(about, set | frozenset | list | tuple) else str(about)
    if isinstance(refused, TransactionalIdAuthorizationFailed):
        both = (Operation.WRITE, Operation.DESCRIBE)
        return Right(both, Kind.TRANSACTIONAL_ID, f"{settings.app_id}.", is_prefix=True)
    if isinstance(refused, GroupAuthorizationFailedError):
        return Right((Operation.READ,), Kind.GROUP, names)
    if isinstance(refused, ClusterAuthorizationFailedError):
        return Right((Operation.IDEMPOTENT_WRITE,), Kind.CLUSTER, "")
    return Right((Operation.READ, Operation.WRITE), Kind.TOPIC, names)
