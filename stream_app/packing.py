"""Changed pages as record batches of the changelog, written by a kernel instead of record by record.

The bytes are those of Kafka's record batch, version 2: a header of 61 bytes, then for each record
``length | attributes | timestamp delta | offset delta | key length, key | value length, value | header count``, lengths
and deltas as zigzag varints. The producer adds its id, epoch and sequence number, and the checksum, before sending.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from state.kernel import inner_kernel, kernel

if TYPE_CHECKING:
    from state.arrays import UInt8s
    from state.pages import Block, Pages

BATCH_BYTES: Final = 512 << 10
"""Size at which a batch is closed, bytes: below the 1 MB that a topic takes unless it is set otherwise."""

_HEADER = struct.Struct(">qiibIhiqqqhii")
_AFTER_LENGTH: Final = 12
_CRC_AT: Final = 17
_ATTRIBUTES_AT: Final = 21
_TRANSACTIONAL: Final = 0x10
_MAGIC: Final = 2
_NO_EPOCH: Final = -1
_MOST_OVERHEAD: Final = 24
"""Most bytes that a record takes beside its key and value."""


@inner_kernel
def _put_varint(out: UInt8s, at: int, value: int) -> int:
    """Write a number that is not negative as a zigzag varint; return the place after it."""
    rest = value << 1
    while rest > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out[at] = (rest & 0x7F) | 0x80
        rest >>= 7
        at += 1
    out[at] = rest
    return at + 1


@inner_kernel
def _varint_bytes(value: int) -> int:
    n, rest = 1, value << 1
    while rest > 0x7F:  # noqa: PLR2004 - seven bits a byte
        rest >>= 7
        n += 1
    return n


@kernel(allocates=True)
def put_records(out: UInt8s, at: int, first_offset: int, keys: UInt8s, values: UInt8s) -> int:
    """Write a record for each key and value.

    Parameters
    ----------
    out, at
        Buffer with enough room, and where to begin.
    first_offset
        Offset delta of the first record.
    keys, values
        Shapes ``(n, key width)`` and ``(n, value width)``.

    Returns
    -------
    int
        The place after the last record.
    """
    n_key, n_value = keys.shape[1], values.shape[1]
    fixed = 3 + _varint_bytes(n_key) + n_key + _varint_bytes(n_value) + n_value
    for k in range(keys.shape[0]):
        at = _put_varint(out, at, fixed + _varint_bytes(first_offset + k))
        out[at] = 0
        out[at + 1] = 0
        at = _put_varint(out, at + 2, first_offset + k)
        at = _put_varint(out, at, n_key)
        out[at : at + n_key] = keys[k]
        at = _put_varint(out, at + n_key, n_value)
        out[at : at + n_value] = values[k]
        out[at + n_value] = 0
        at += n_value + 1
    return at


class PackedBatch(BatchBuilder):
    """A record batch that is complete but for the producer's state; aiokafka sends it like one of its own.

    Parameters
    ----------
    raw
        Room for the header, then the records.
    n_records
        How many there are.
    timestamp_ms
        Timestamp of all of them, milliseconds since 1970.
    """

    def __init__(self, raw: UInt8s, n_records: int, timestamp_ms: int) -> None:
        self._raw = raw
        self._n_records = n_records
        self._timestamp_ms = timestamp_ms
        self._producer = (-1, -1, 0)
        self._is_built = False
        self._closed = True

    def append(self, **_record: Any) -> None:
        """Take nothing more: the batch is closed."""

    def record_count(self) -> int:
        """Return the number of records."""
        return self._n_records

    def size(self) -> int:
        """Return the size in bytes."""
        return int(self._raw.shape[0])

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> memoryview:
        buffer = self._raw.data
        if not self._is_built:
            _HEADER.pack_into(
                buffer, 0, 0, len(buffer) - _AFTER_LENGTH, _NO_EPOCH, _MAGIC, 0, _TRANSACTIONAL, self._n_records - 1,
                self._timestamp_ms, self._timestamp_ms, *self._producer, self._n_records,
            )  # fmt: skip
            struct.pack_into(">I", buffer, _CRC_AT, calc_crc32c(buffer[_ATTRIBUTES_AT:]))
            self._is_built = True
        return buffer


def pack(pages: Pages, timestamp_ms: int, batch_bytes: int = BATCH_BYTES) -> list[PackedBatch]:
    """Return the record batches of all pages that stand in blocks, in their order.

    Parameters
    ----------
    timestamp_ms
        Timestamp of the records, milliseconds since 1970.
    batch_bytes
        A batch is closed before it is larger than this, unless it holds one record only.
    """
    batches: list[PackedBatch] = []
    open_parts: list[Block] = []
    room = batch_bytes - _HEADER.size
    for block in pages.blocks:
        n_bytes = block.keys.shape[1] + block.values.shape[1] + _MOST_OVERHEAD
        at = 0
        while at < block.keys.shape[0]:
            n = min(max(room, 0) // n_bytes, block.keys.shape[0] - at)
            if n == 0 and open_parts:
                batches.append(_batch(open_parts, timestamp_ms))
                open_parts, room = [], batch_bytes - _HEADER.size
                continue
            n = max(n, 1)
            open_parts.append(type(block)(block.keys[at : at + n], block.values[at : at + n]))
            room -= n * n_bytes
            at += n
    if open_parts:
        batches.append(_batch(open_parts, timestamp_ms))
    return batches


def _batch(parts: list[Block], timestamp_ms: int) -> PackedBatch:
    most = sum(p.keys.shape[0] * (p.keys.shape[1] + p.values.shape[1] + _MOST_OVERHEAD) for p in parts)
    out = np.empty(_HEADER.size + most, np.uint8)
    at, n = _HEADER.size, 0
    for part in parts:
        at = put_records(out, at, n, part.keys, part.values)
        n += part.keys.shape[0]
    return PackedBatch(out[:at], n, timestamp_ms)
