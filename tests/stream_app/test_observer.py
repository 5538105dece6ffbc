"""The observer measures anew after whatever fails, the end of its own connection included."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from stream_app import observer
from stream_app.lag import LagError
from stream_app.observer import Observer
from stream_app.settings import Settings


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
