"""Tests of the sentence for a broker that does not answer."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from stream_app.settings import Settings
from stream_app.unreachable import no_broker


@pytest.mark.parametrize("error", [KafkaConnectionError("Unable to bootstrap from [...]"), TimeoutError()])
def test_silence_needs_no_reason(error: Exception) -> None:
    """Nobody there: the address and what to do, without the client's own words."""
    assert no_broker(Settings(bootstrap_servers="kafka:9092"), error) == (
        "no broker answers at kafka:9092: start one with `crossaisle broker`, or set CROSSAISLE_BOOTSTRAP_SERVERS"
    )


def test_a_refusal_is_told() -> None:
    """What the broker has against us is in the sentence."""
    assert "TopicAuthorizationFailed" in no_broker(Settings(), TopicAuthorizationFailedError())


def test_a_protocol_that_may_be_the_wrong_one_is_told() -> None:
    """A broker that speaks another protocol than the one that is set looks like none: the sentence names it."""
    settings = Settings(bootstrap_servers="kafka:9092", security_protocol="SSL")
    assert no_broker(settings, KafkaConnectionError()).startswith("no broker answers at kafka:9092 over SSL: ")
