"""A reject: a record that could not be used, byte for byte, with where it came from and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

REJECT_CODES: dict[str, str] = {
    "empty": "the record has no value",
    "oversized": "the value is larger than max_record_bytes",
    "not_utf8": "the value is not UTF-8",
    "not_json": "the value is not JSON",
    "missing_field": "a field that is needed is not there",
    "wrong_type": "a field has another JSON type than the schema says",
    "unknown_type": "the event type is none of the known ones",
    "empty_id": "an id is an empty string",
    "id_too_long": "an id is longer than max_id_bytes",
    "bad_value": "a number is out of its range: stars outside 1-5, a quantity or price below, NaN or infinite",
    "bad_time": "the event lies before 2000, or further in the future than max_future_ms",
    "key_mismatch": "the record's key is not the user_id (events) or item_id (catalogue)",
}
"""Every code, with what it means."""

PREFIX = "crossaisle."


class KafkaRecord(Protocol):
    """What decoding needs of a consumed record; aiokafka's ``ConsumerRecord`` has it."""

    @property
    def topic(self) -> str:
        """Topic it was read from."""

    @property
    def partition(self) -> int:
        """Partition it was read from."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def timestamp(self) -> int:
        """Its timestamp, in milliseconds since 1970 UTC."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one record of a batch was rejected.

    Attributes
    ----------
    index
        Position of the record in the batch.
    code
        One of :data:`REJECT_CODES`.
    reason
        A sentence that names the field, what arrived and what was wanted.
    """

    index: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A record of the rejects topic, taken apart: the original, and what the headers ``crossaisle.*`` say of it.

    Attributes
    ----------
    key, value, headers
        The original record, byte for byte.
    code, reason
        Why it was rejected.
    topic, partition, offset, timestamp_ms
        Where it came from.
    """

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    code: str
    reason: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int


def encode_reject(
    record: KafkaRecord, rejection: Rejection
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Return key, value and headers of the reject: the original ones, and headers that say where from and why."""
    about = {
        "code": rejection.code,
        "reason": rejection.reason,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp_ms": str(record.timestamp),
    }
    own = [(PREFIX + name, text.encode("utf-8", "backslashreplace")) for name, text in about.items()]
    return record.key, record.value, [*record.headers, *own]


def decode_reject(record: KafkaRecord) -> Reject:
    """Take a record of the rejects topic apart.

    Raises
    ------
    ValueError
        A header is missing: the record was not written by Crossaisle.
    """
    n_own = 6
    own = dict(record.headers[-n_own:])
    try:
        code, reason, topic, partition, offset, timestamp = (
            own[PREFIX + name].decode() for name in ("code", "reason", "topic", "partition", "offset", "timestamp_ms")
        )
    except KeyError as error:
        msg = f"reject at offset {record.offset}: header {error} is missing; it was not written by crossaisle"
        raise ValueError(msg) from error
    return Reject(
        record.key,
        record.value,
        list(record.headers[:-n_own]),
        code,
        reason,
        topic,
        int(partition),
        int(offset),
        int(timestamp),
    )
