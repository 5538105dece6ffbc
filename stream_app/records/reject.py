"""A reject: a record that could not be used, byte for byte, with where it came from and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from stream_app.record_size import content_bytes

REJECT_CODES: dict[str, str] = {
    "empty": "the record has no value, or one of no bytes (a null value on the catalogue removes the item)",
    "oversized": "the value has more than max_record_bytes bytes",
    "not_utf8": "the value, a string escape in it or a tombstone's key has no UTF-8 form",
    "not_json": "the value is not JSON, or is nested too deeply",
    "missing_field": "a field that is needed is not there",
    "wrong_type": "a field, or the value itself, has another JSON type than the schema says",
    "unknown_type": "the event type is none of the known ones",
    "empty_id": "an id, or a level of the category path, is an empty string",
    "id_too_long": "an id, or a level of the category path, has more than max_id_bytes bytes of UTF-8",
    "bad_value": "a number or a list is out of its range: stars outside 1-5, a quantity of 0 or less, NaN, Infinity",
    "bad_time": "the event lies before the year 2000, or further in the future than max_future_ms",
    "key_mismatch": "the record's key is missing, or is not the user_id (events) or item_id (catalogue)",
}
"""Every code, with what it means."""

PREFIX: Final = "crossaisle."
"""How the headers begin that Crossaisle adds to a reject."""
REJECT_HEADERS: Final = {
    "code": "Why, for machines: a reject code.",
    "reason": "Why, for people: a sentence that names the field, what arrived and what was wanted.",
    "topic": "Topic that the record was read from.",
    "partition": "Partition that it was read from.",
    "offset": "Its offset there.",
    "timestamp_ms": "Its timestamp, in milliseconds since 1970 UTC.",
    "n_cut_bytes": "How many bytes of the original did not fit into the reject; 0 except for records of nearly 1 MB.",
}
"""The headers that Crossaisle adds, without prefix and in their order: UTF-8, numbers in decimal."""

MAX_ORIGINAL_BYTES: Final = 1_000_000
"""Most bytes of the original that a reject holds, its headers counted: with what is said of it a little more.

A record may come in larger than that, from a topic that is set to take it or in a compressed batch. A reject that the
broker refuses would stop its partition for good, so the end of such an original is cut off, a reject that is too large
for a batch with others goes in one of its own, and a worker does not start where ``rejects`` takes less than
:data:`~stream_app.record_size.TOPIC_BYTES`.
"""


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


@dataclass(slots=True)
class LocalRecord:
    """A record as a consumer would hand it over, made without one: of a file, or for a stage in the same process."""

    key: bytes | None
    value: bytes | None
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


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
        Where it came from; the timestamp is in milliseconds since 1970 UTC.
    n_cut_bytes
        Bytes of the original that are missing here, because all of it would have been more than
        :data:`MAX_ORIGINAL_BYTES`; the whole of it may still be where it came from.
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
    n_cut_bytes: int = 0


def encode_reject(
    record: KafkaRecord, rejection: Rejection
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Return key, value and headers of a reject: the original ones, then :data:`REJECT_HEADERS`.

    An original of more than :data:`MAX_ORIGINAL_BYTES` loses the end of its value; should key and headers alone take
    more than half of that, it loses its headers and all but the beginning of its key, too.
    """
    key, value, headers = record.key, record.value, list(record.headers)
    n_bytes = content_bytes(key, value, headers)
    if n_bytes > MAX_ORIGINAL_BYTES:
        if content_bytes(key, None, headers) > MAX_ORIGINAL_BYTES // 2:
            key, headers = key and key[: MAX_ORIGINAL_BYTES // 2], []
        value = value and value[: MAX_ORIGINAL_BYTES - content_bytes(key, None, headers)]
    about = (
        rejection.code,
        rejection.reason,
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        n_bytes - content_bytes(key, value, headers),
    )
    own = [
        (PREFIX + name, str(thing).encode("utf-8", "backslashreplace"))
        for name, thing in zip(REJECT_HEADERS, about, strict=True)
    ]
    return key, value, [*headers, *own]


def decode_reject(record: KafkaRecord) -> Reject:
    """Take a record of the rejects topic apart.

    Raises
    ------
    ValueError
        The last headers are not those of :data:`REJECT_HEADERS`: the record was not written by Crossaisle.
    """
    n_own = len(REJECT_HEADERS)
    headers = list(record.headers)
    own = headers[-n_own:]
    if [name for name, _ in own] != [PREFIX + name for name in REJECT_HEADERS]:
        wanted = ", ".join(PREFIX + name for name in REJECT_HEADERS)
        message = (
            f"record at offset {record.offset} of {record.topic}, partition {record.partition}: its last headers must "
            f"be {wanted}; it was not written by crossaisle: pass it over"
        )
        raise ValueError(message)
    code, reason, topic, *numbers = ((raw or b"").decode() for _, raw in own)
    partition, offset, timestamp_ms, n_cut_bytes = map(int, numbers)
    return Reject(
        key=record.key,
        value=record.value,
        headers=headers[:-n_own],
        code=code,
        reason=reason,
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        n_cut_bytes=n_cut_bytes,
    )
