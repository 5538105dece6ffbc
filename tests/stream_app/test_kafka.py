"""Tests of what all Kafka clients share."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import NodeNotReadyError

from stream_app import kafka
from stream_app.kafka import once_listed


def test_a_broker_that_lists_none_is_asked_again() -> None:
    """A frozen broker that has just woken lists nobody for a moment; the answer after that counts."""
    answers = iter([None, None, 5])

    async def ask() -> int:
        answer = next(answers)
        if answer is None:
            raise NodeNotReadyError
        return answer

    assert asyncio.run(once_listed(ask)) == 5


def test_a_broker_that_never_lists_any_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked for ever."""
    monkeypatch.setattr(kafka, "_NO_BROKER_LISTED_S", 0.3)
    n_asked = 0

    async def ask() -> None:
        nonlocal n_asked
        n_asked += 1
        raise NodeNotReadyError

    with pytest.raises(NodeNotReadyError):
        asyncio.run(once_listed(ask))
    assert n_asked > 1
