"""Servers of this machine are asked directly, whatever answers there."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from stream_app.broker.ports import HOST, free_port
from stream_app.direct import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

HTML = b"HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>page</p>"


@contextmanager
def answering(words: bytes) -> Iterator[str]:
    """Run a server that says the same to everybody, and yield its address."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    asked = connection.recv(65_536)
                    if not asked:
                        return
                    connection.sendall(words)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = int(server.getsockname()[1])
        yield f"http://{HOST}:{port}/"
        socket.create_connection((HOST, port)).close()
        thread.join()


def test_an_answer_has_its_type_and_its_begin() -> None:
    """What follows the type, and all beyond a thousand bytes, is left out."""
    with answering(HTML + b"x" * 5_000) as url:
        page = ask(url, 10.0)
    assert page is not None
    assert page.content_type == "text/html"
    assert page.begin.startswith(b"<p>page</p>")
    assert len(page.begin) == 1_000


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example ESMTP\r\n",
        b"",
        b"HTTP/1.0 404 Not Found\r\n\r\nno",
    ],
)
def test_what_is_no_answer_is_none(words: bytes) -> None:
    """A server of another protocol, one that says nothing, and an error end in no traceback."""
    with answering(words) as url:
        assert ask(url, 10.0) is None


def test_nobody_is_none() -> None:
    """A port at which nobody listens is no answer either."""
    assert ask(f"http://{HOST}:{free_port()}/", 10.0) is None


def test_a_proxy_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the environment does not know what this machine calls 127.0.0.1."""
    with answering(b"HTTP/1.0 502 Bad Gateway\r\n\r\n") as proxy, answering(HTML) as url:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert ask(url, 10.0) is not None
