"""Record batches as aiokafka decodes them, and those it cannot: with names of headers that are not UTF-8.

Kafka takes any bytes for the name of a header, and producers that are not written in Java send what they like.
aiokafka raises UnicodeDecodeError for the whole batch then, each time it is read. Here such a name gets U+FFFD where it
cannot be read, as Kafka's own clients do it.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH: Final = struct.Struct(">i")
_LENGTH_AT: Final = 8
_AFTER_LENGTH: Final = 12


class _ReadableBytes(bytes):
    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "replace")


class _ReadableBuffer(bytearray):
    """The content of a batch, whose parts can all be decoded."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _ReadableBytes(part) if isinstance(at, slice) else part


class _ReadableBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # final, for checkers of types alone
    """A batch read by aiokafka's decoder in Python."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _ReadableBuffer(self._buffer)


class _Batch:
    """A batch as it was decoded, but for its records where they cannot be."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        n = 0
        try:
            for record in self._batch:
                yield record
                n += 1
        except (UnicodeDecodeError, CorruptRecordException):  # the latter from aiokafka's decoder in Python
            yield from islice(_ReadableBatch(self._raw), n, None)

    def __next__(self) -> Any:
        return next(self._batch)


class ReadableRecords(MemoryRecords):  # type: ignore[misc]  # a variable: the one in C, if it is there
    """The answer to a fetch, batch by batch.

    Parameters
    ----------
    data
        Record batches, the last of which may be cut off.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data = memoryview(data)
        self._at = 0

    def next_batch(self) -> Any:
        """Return the next batch.

        Raises
        ------
        aiokafka.errors.CorruptRecordException
            It is too short to be one.
        """
        batch = super().next_batch()
        begin = self._at
        self._at += _AFTER_LENGTH + _LENGTH.unpack_from(self._data, begin + _LENGTH_AT)[0]
        return _Batch(batch, self._data[begin : self._at])


def read_all_header_names() -> None:
    """Let all consumers of this process read such batches; it makes no difference to call it again."""
    fetcher.MemoryRecords = ReadableRecords
