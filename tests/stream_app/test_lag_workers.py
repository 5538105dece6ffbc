"""What `crossaisle lag` learns from workers: whatever else answers at their address counts as no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stream_app import lag_workers
from stream_app.lag_workers import WorkerLag, ask_workers
from stream_app.members import Member
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.partition_lag import PartitionLag

RUNNING = {
    "ready": True,
    "phase": "running",
    "stages": {"user": {"tasks": [{"partition": 0, "read_offset": 9, "restore": None}]}},
    "tails": {},
}


class FakeMeter:
    """A meter whose broker knows of no item changes."""

    admin = None

    async def measure_replica(self, topic: str, positions: Mapping[int, int]) -> list[PartitionLag]:
        """Return that nothing is missing."""
        del topic, positions
        return []


async def asked(monkeypatch: pytest.MonkeyPatch, body: object) -> tuple[WorkerLag, dict[tuple[str, int], int]]:
    """Return what is found of a worker at whose address something answers with a body."""

    async def ready(request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/health/ready", ready)
    async with TestServer(app) as server:
        address = f"127.0.0.1:{server.port}"

        async def fetch_members(*_: object) -> list[Member]:
            return [Member("user", address, frozenset({0}))]

        monkeypatch.setattr(lag_workers, "fetch_members", fetch_members)
        meter: Any = FakeMeter()
        workers, positions = await ask_workers(Settings(), meter)
        return workers[0], positions


async def test_a_worker_tells_its_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, is ready, and says where its task reads."""
    worker, positions = await asked(monkeypatch, RUNNING)
    assert (worker.answers, worker.ready, worker.owns) == (True, True, {"user": [0]})
    assert positions == {("user", 0): 9}


@pytest.mark.parametrize("body", [{}, {"ready": True}, {**RUNNING, "tails": 1}, {**RUNNING, "stages": {"user": {}}}])
async def test_another_program_is_no_worker(monkeypatch: pytest.MonkeyPatch, body: object) -> None:
    """Any other JSON object at the address of a worker is shown as one that does not answer."""
    worker, positions = await asked(monkeypatch, body)
    assert (worker.answers, worker.owns, positions) == (False, {"user": [0]}, {})
