"""Keys and bytes of rows and pages, as they stand in the local store and in the changelog.

Key: ``id u64 big endian | kind u8 | page u16 big endian`` (11 bytes). Kind 0 is the header (page 0), kind ``1 + chain``
a page of that chain, :data:`KIND_NAME` the UTF-8 string behind an item's id, :data:`KIND_GLOBALS` (ids 0 to 2) what a
partition learns for all of its users, :data:`KIND_POLICY` (id 0) its policy statistics, as JSON. Value: the leading
bytes of the record's layout, memory-only fields cut off.
"""

import struct

import numpy as np

from state.arrays import Int32s, Rows, UInt8s
from state.layout import disk_bytes

KIND_HEADER = 0
KIND_NAME = 100
KIND_GLOBALS = 200
KIND_POLICY = 201

_KEY = struct.Struct(">QBH")
KEY_BYTES = _KEY.size


class LayoutError(ValueError):
    """Bytes do not have the length that this version's layout wants."""


def page_key(row_id: int, kind: int, page: int = 0) -> bytes:
    """Return the key of one header or page."""
    return _KEY.pack(row_id, kind, page)


def split_key(key: bytes) -> tuple[int, int, int]:
    """Return ``(id, kind, page)`` of a key.

    Raises
    ------
    LayoutError
        The key does not have :data:`KEY_BYTES` bytes.
    """
    if len(key) != KEY_BYTES:
        msg = f"page key: wanted {KEY_BYTES} bytes, got {len(key)}"
        raise LayoutError(msg)
    row_id, kind, page = _KEY.unpack(key)
    return row_id, kind, page


def matrix(values: list[bytes], dtype: np.dtype) -> UInt8s:
    """Return on-disk values of one layout as rows of bytes, shape ``(len(values), disk_bytes)``.

    Raises
    ------
    LayoutError
        A value has another length: it was written by another version.
    """
    width = disk_bytes(dtype)
    for value in values:
        if len(value) != width:
            msg = (
                f"page with fields {dtype.names}: wanted {width} bytes, got {len(value)}; another version wrote it: "
                "run that version, or start over with a new CROSSAISLE_APP_ID"
            )
            raise LayoutError(msg)
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), width)


def overwrite(records: Rows, numbers: Int32s, values: UInt8s) -> None:
    """Put on-disk bytes into records; memory-only fields stay as they are."""
    size = records.dtype.itemsize
    records.view(np.uint8).reshape(-1, size)[numbers, : values.shape[1]] = values
