"""A page that stops reading, on a real server: it is given up, and the end of the worker does not wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from stream_app import application
from stream_app.application import create_app
from stream_app.broker.ports import free_port
from stream_app.settings import Settings
from stream_app.web import pages
from stream_app.web.hub import Hub
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

HOST = "127.0.0.1"
MORE_THAN_BUFFERS_TAKE = "x" * (64 << 20)


@contextlib.contextmanager
def unread_page(port: int) -> Iterator[socket.socket]:
    """Open a page that never reads what comes."""
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(f"GET /events/stream HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        yield connection


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, Hub, int]]:
    """Yield the runner of a worker's server, the hub behind its page, and its port; of the worker nothing else runs."""
    hubs: list[Hub] = []

    def make_hub(*args: Any) -> Hub:
        hubs.append(Hub(*args))
        return hubs[-1]

    monkeypatch.setattr(application, "Hub", make_hub)
    monkeypatch.setattr(application, "configure_logging", lambda _: None)
    port = free_port()
    app = create_app(Settings(state_dir=tmp_path, web_port=port))
    driver: Any = app.web
    await driver._runner.setup()
    await web.TCPSite(driver._runner, HOST, port).start()
    yield driver._runner, hubs[0], port
    await driver._runner.cleanup()


async def test_the_end_of_the_worker_does_not_wait_for_a_page_that_does_not_read(
    server: tuple[Any, Hub, int],
) -> None:
    """Its partitions would have no owner for as long."""
    runner, hub, port = server
    with unread_page(port):
        await harness.until(lambda: bool(hub._watchers), "the page to be open")
        hub._send("state", MORE_THAN_BUFFERS_TAKE)
        async with asyncio.timeout(30.0):  # aiohttp would wait for 60 s, twice
            await runner.cleanup()
    assert not hub._watchers


async def test_a_page_that_takes_nothing_is_given_up(
    server: tuple[Any, Hub, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It no longer counts among the pages that are open, though its connection is still there."""
    monkeypatch.setattr(pages, "_WRITE_TIMEOUT_S", 0.1)
    _, hub, port = server
    with unread_page(port):
        await harness.until(lambda: bool(hub._watchers), "the page to be open")
        hub._send("state", MORE_THAN_BUFFERS_TAKE)
        await harness.until(lambda: not hub._watchers, "the page to be given up", 30.0)
        assert not hub._watchers
