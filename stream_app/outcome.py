"""What became of the last transaction of a transactional id, by its coordinator.

aiokafka has no such request: it is Kafka's DescribeTransactions, key 65, which brokers know since Kafka 3.0.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from stream_app.kafka import started_client

if TYPE_CHECKING:
    from stream_app.settings import Settings

PATIENCE_S: Final = 10.0
"""How long to ask again: for a coordinator that loads, or a transaction that is decided and not yet told to all."""
COMMITTED: Final = "CompleteCommit"
_UNDECIDED: Final = frozenset({"PrepareCommit", "PrepareAbort", "PrepareEpochFence"})
_ASK_AGAIN_S: Final = 0.05
_COMES_LATER: Final = frozenset(
    error.errno for error in (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorForGroupError)
)


class _DescribeTransactionsResponse(Response):
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("timeout_ms", Int32),
                ("start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeTransactionsV0(RequestStruct):
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = _DescribeTransactionsResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class _StateRequest(Request[_DescribeTransactionsV0]):
    """Asks a transaction's coordinator how it stands."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[_DescribeTransactionsV0]) -> _DescribeTransactionsV0:
        return request_struct_class([self._transactional_id], {})


async def last_outcome(settings: Settings, transactional_id: str) -> str | None:
    """Return the state of an id's last transaction, as Kafka names it: ``"CompleteCommit"``, ``"Ongoing"``, ...

    Who starts a producer of the id wipes it out: ask before.

    Returns
    -------
    str or None
        None for an id that never had a producer, and where the broker does not tell: one before Kafka 3.0, or without
        the right to describe the id, which whoever may write with it has.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    async with started_client(settings) as client:
        while True:
            state, is_final = None, False
            try:
                coordinator = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
                answer: Any = await client.send(coordinator, _StateRequest(transactional_id))
            except (IncompatibleBrokerVersion, TransactionalIdAuthorizationFailed):
                return None
            except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NodeNotReadyError):
                if time.monotonic() > deadline_s:
                    raise
            else:
                code, _, found = answer.transactions[0][:3]
                state = str(found) if code == 0 else None
                is_final = code not in _COMES_LATER and state not in _UNDECIDED
            if is_final or time.monotonic() > deadline_s:
                return state
            await asyncio.sleep(_ASK_AGAIN_S)
