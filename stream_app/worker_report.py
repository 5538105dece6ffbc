"""What a worker answers at ``/health/ready``, as far as the page of another one and ``crossaisle lag`` read it.

Whatever listens at a worker's address may answer: a proxy with a page of its own, a program that took over the port. An
answer of another shape is no worker's.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream_app.decoding import decode_or_none

_NESTED: Final = frozenset({"by_type", "rejects"})
"""What a worker has learned by name; all else that it has learned are numbers."""


class _Restore(msgspec.Struct):
    n_left: int
    left_s: float | None


class _Task(msgspec.Struct):
    partition: int
    read_offset: int | None = None
    restore: _Restore | None = None


class _Stage(msgspec.Struct):
    tasks: list[_Task]


class _Tail(msgspec.Struct):
    offsets: dict[int, int]


class _Quality(msgspec.Struct):
    hit_rate: float
    log_loss: float
    n_drifts: float


class _Report(msgspec.Struct):
    ready: bool
    phase: str
    stages: dict[str, _Stage]
    tails: dict[str, _Tail]
    quality: dict[str, _Quality] = {}
    learned: dict[str, float | dict[str, float]] = {}
    arms: list[dict[str, Any]] = []

    def __post_init__(self) -> None:
        for name, value in self.learned.items():
            if isinstance(value, dict) != (name in _NESTED):
                message = f"learned.{name} must be {'numbers by name' if name in _NESTED else 'a number'}"
                raise ValueError(message)


_decoder = msgspec.json.Decoder(_Report)


def decode_report(raw: bytes) -> dict[str, Any] | None:
    """Return a worker's report, None where the answer is not one.

    Examples
    --------
    >>> decode_report(b'{"ready": true, "phase": "running", "stages": {}, "tails": {}}')["ready"]
    True
    >>> decode_report(b"<html>Service Unavailable</html>") is None
    True
    """
    if decode_or_none(_decoder.decode, raw) is None:
        return None
    return decode_or_none(msgspec.json.decode, raw)
