"""Tests of what all Kafka clients share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import NodeNotReadyError

from stream_app import kafka
from stream_app.kafka import TlsError, client_options, once_listed
from stream_app.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_certificate_that_is_none_names_its_setting(tmp_path: Path) -> None:
    """A file that is not there, and one that is no certificate: the variable, the file, and what to do."""
    path = tmp_path / "ca.pem"
    settings = Settings(security_protocol="SSL", ssl_cafile=path)
    with pytest.raises(TlsError, match=r"CROSSAISLE_SSL_CAFILE .*ca\.pem cannot be used \(no such file\): set it"):
        client_options(settings)
    path.write_text("hello")
    with pytest.raises(TlsError, match=r"CROSSAISLE_SSL_CAFILE .*ca\.pem cannot be used"):
        client_options(settings)
    settings = Settings(security_protocol="SSL", ssl_certfile=path, ssl_keyfile=path)
    with pytest.raises(TlsError, match=r"CROSSAISLE_SSL_CERTFILE .* with CROSSAISLE_SSL_KEYFILE "):
        client_options(settings)
