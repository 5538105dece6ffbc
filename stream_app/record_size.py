"""How large records are and may be: what topics take, and what a record takes in a batch.

A broker refuses a batch, not a record, that is larger than ``max.message.bytes`` of its topic. Sizes here are upper
bounds of what a record adds to a batch, whichever client writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TOPIC_BYTES: Final = 1 << 20
"""Largest batch of a topic, bytes: a little less than Kafka's default of 1,048,588, and what other brokers take."""

LARGE_TOPIC_BYTES: Final = 4 << 20
"""Largest batch of item updates and of the state topics, bytes; ``crossaisle topics create`` sets the topics to it."""

EMPTY_BATCH_BYTES: Final = 61
"""What a batch takes besides its records."""
_RECORD_BYTES: Final = 21 + 3 * 5
"""Length, timestamp, offset and attributes; the lengths of key and value, and the number of headers."""
_HEADER_BYTES: Final = 10
"""Two lengths."""


def content_bytes(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """Return what key, value and headers take, each header with its two lengths; a header's value may be null."""
    n_header_bytes = sum(len(name.encode()) + len(raw or b"") + _HEADER_BYTES for name, raw in headers)
    return len(key or b"") + len(value or b"") + n_header_bytes


def record_bytes(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """Return the most bytes that a record adds to a batch.

    Examples
    --------
    >>> record_bytes(b"key", b"value", [("name", b"7")])
    59
    """
    return _RECORD_BYTES + content_bytes(key, value, headers)
