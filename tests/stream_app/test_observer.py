"""The observer measures anew after whatever fails, the end of its own connection included."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError, NodeNotReadyError, TopicAuthorizationFailedError

from stream_app import observer
from stream_app.lag import LagError
from stream_app.observer import Observer
from stream_app.settings import Settings
from tests.stream_app import harness


class FailingMeter:
    """A meter whose broker is away, and whose consumer had failed before it is stopped."""

    n_made = 0

    def __init__(self, settings: Settings) -> None:
        del settings
        FailingMeter.n_made += 1

    async def start(self) -> None:
        """Find no broker."""
        message = "the broker is away"
        raise LagError(message)

    async def stop(self) -> None:
        """Tell what had failed."""
        message = "a task of the consumer had failed"
        raise KafkaError(message)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError("away"), ""),
        (NodeNotReadyError("away"), ""),
        (TopicAuthorizationFailedError("events"), "lag: refused"),
        (None, "lag: refused"),  # a topic is missing
    ],
)
async def test_a_broker_that_is_away_and_one_that_refuses_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, told: str
) -> None:
    """Only what a broker that answers says is kept as the problem."""

    class Meter(FailingMeter):
        async def start(self) -> None:
            message = "lag: refused"
            raise LagError(message) from error

    meter: Any = Meter
    monkeypatch.setattr(observer, "LagMeter", meter)
    monkeypatch.setattr(observer, "EVERY_S", 0.01)
    service = Observer(Settings())
    await service.start()
    try:
        await harness.until(lambda: service._is_lost, "a failure")
        assert service.problem == told
    finally:
        await service.stop()


async def test_a_connection_that_cannot_be_closed_does_not_stop_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the meter tells when it is stopped is no reason to crash: the next one is made."""
    meter: Any = FailingMeter
    monkeypatch.setattr(observer, "LagMeter", meter)
    monkeypatch.setattr(observer, "EVERY_S", 0.01)
    service = Observer(Settings())
    await service.start()
    try:
        for _ in range(3_000):
            if FailingMeter.n_made >= 3 or service.crashed:
                break
            await asyncio.sleep(0.01)
        assert not service.crashed
        assert FailingMeter.n_made >= 3
    finally:
        await service.stop()
