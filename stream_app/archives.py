"""Unpacks ``.gz`` and ``.zst`` while they are read; an archive that is cut short is an error, not the end of it."""

from __future__ import annotations

import gzip
import io
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 1 << 17


class _ZstdSource(io.RawIOBase):
    """Unpacks the frames of a .zst file and, unlike the library's reader, notices that the last one is cut short."""

    def __init__(self, packed: IO[bytes]) -> None:
        import zstandard  # noqa: PLC0415 - only archives need it

        self._packed = packed
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._rest = b""
        self._started = False
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        while not self._output:
            chunk = self._rest or self._packed.read(_CHUNK_BYTES)
            if not chunk:
                if self._started:
                    message = "compressed file ended inside a frame"
                    raise EOFError(message)
                return 0
            self._started = True
            self._output = memoryview(self._frame.decompress(chunk))
            self._rest = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = self._new_frame()
                self._started = False
        n_bytes = min(len(target), len(self._output))
        target[:n_bytes] = self._output[:n_bytes]
        self._output = self._output[n_bytes:]
        return n_bytes


def unpack(raw: IO[bytes], archive: str) -> IO[bytes]:
    """Return what is in an archive, as it is read.

    Parameters
    ----------
    raw
        The packed bytes.
    archive
        ``.gz``, ``.zst``, or empty for what is not packed.
    """
    if archive == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK_BYTES)
    if archive == ".zst":
        return io.BufferedReader(_ZstdSource(raw), _CHUNK_BYTES)
    return raw
