"""The times in records that a lag is counted from: whatever somebody has sent, a lag can be told."""

from __future__ import annotations

import pytest

from state.updates import UPDATE_VERSION
from stream_app.lag_records import Found, event_time_ms

UNTIMED = {
    "no value": None,
    "empty": b"",
    "no JSON": b"no JSON",
    "not UTF-8": b'{"event_time_ms": "\xff"}',
    "no time": b"{}",
    "text": b'{"event_time_ms": "1"}',
    "nested too deeply": b'{"x":' + b"[" * 60_000,
    "too large for a float": b'{"event_time_ms": 1' + b"0" * 400 + b"}",
    "far too early": b'{"event_time_ms": -1' + b"0" * 400 + b"}",
    "half an update": bytes([UPDATE_VERSION]),
}


@pytest.mark.parametrize("value", UNTIMED.values(), ids=UNTIMED.keys())
def test_a_record_without_a_time_has_none(value: bytes | None) -> None:
    """No bytes raise: the observer of a worker reads whatever is in the topic of events."""
    assert event_time_ms(value) is None


def test_the_furthest_times_have_a_span() -> None:
    """The difference of any two times that are read is a number of seconds."""
    times = [event_time_ms(b'{"event_time_ms": %d}' % ms) for ms in (-(2**63 - 1), 2**63 - 1)]
    first, newest = times
    assert Found(0, 0, 0, first, 1, newest).event_span_s == pytest.approx(2**64 / 1_000)
