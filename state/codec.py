"""Keys and bytes of rows and pages, as they stand in the local store and in the changelog.

Key: ``id u64 big endian | kind u8 | page u16 big endian`` (11 bytes). Kind 0 is the header (page 0), kind ``1 + chain``
a page of that chain, :data:`KIND_NAME` the UTF-8 string behind an item's id, :data:`KIND_GLOBALS` (ids 0 to 7) what a
partition learns for all of its users, :data:`KIND_POLICY` (id 0) its policy statistics, as JSON. Value: the leading
bytes of the record's layout, memory-only fields cut off, entities as ids (:func:`state.layout.disk_layout`).
"""

import struct
from functools import cache
from typing import NamedTuple

import numpy as np

from state.arrays import Int32s, Rows, UInt8s, UInt64s
from state.kernel import inner_kernel, kernel
from state.layout import ENTITY_FIELDS, disk_bytes, disk_layout
from state.numbering import Numbering
from state.raw import copy_bytes, int32_at

KIND_HEADER = 0
KIND_NAME = 100
KIND_GLOBALS = 200
KIND_POLICY = 201

_KEY = struct.Struct(">QBH")
KEY_BYTES = _KEY.size
_ID_BYTES = 8
_NO_IDS = np.zeros(1, np.dtype([("id", "<u8"), ("_pad", "u1")]))["id"]
"""For layouts without entities; a strided view, as ids of a replica are, so that one compiled kernel serves both."""


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


_SAME, _ENTITIES = 0, 1


class _Run(NamedTuple):
    """Bytes that stand side by side in memory and on disk: a field of entities, or fields that are the same in both."""

    name: str
    memory: slice
    disk: slice


@cache
def _runs(dtype: np.dtype) -> tuple[_Run, ...]:
    """Return what a record consists of on disk; ``name`` is empty where the bytes are the same."""
    runs: list[_Run] = []
    disk = disk_layout(dtype)
    for name in disk.names or ():
        begin, there = int(dtype.fields[name][1]), int(disk.fields[name][1])  # type: ignore[index] # they have fields
        memory = slice(begin, begin + dtype[name].itemsize)
        of = slice(there, there + disk[name].itemsize)
        if name in ENTITY_FIELDS:
            runs.append(_Run(name, memory, of))
        elif runs and not runs[-1].name:
            last = runs.pop()
            runs.append(_Run("", slice(last.memory.start, memory.stop), slice(last.disk.start, of.stop)))
        else:
            runs.append(_Run("", memory, of))
    return tuple(runs)


@cache
def runs_of(dtype: np.dtype) -> Int32s:
    """Return what a record consists of on disk, shape ``(n, 4)``: kind, offset in memory, offset on disk, length."""
    return np.array(
        [
            (_ENTITIES, run.memory.start, run.disk.start, (run.disk.stop - run.disk.start) // _ID_BYTES)
            if run.name
            else (_SAME, run.memory.start, run.disk.start, run.disk.stop - run.disk.start)
            for run in _runs(dtype)
        ],
        np.int32,
    )


@kernel
def _gather(records: UInt8s, numbers: Int32s, runs: Int32s, ids: UInt64s, out: UInt8s) -> None:
    """Write the runs of chosen records to ``out``. A run's length is in bytes, of entities in how many they are."""
    for k in range(numbers.shape[0]):
        row = numbers[k]
        for r in range(runs.shape[0]):
            begin, at, n = runs[r, 1], runs[r, 2], runs[r, 3]
            if runs[r, 0] == _SAME:
                copy_bytes(out, k, at, records, row, begin, n)
                continue
            for e in range(n):
                copy_bytes(out, k, at + _ID_BYTES * e, ids, int32_at(records, row, begin + 4 * e), 0, _ID_BYTES)


@inner_kernel
def put_back(values: UInt8s, k: int, runs: Int32s, records: UInt8s, row: int) -> None:
    """Write on-disk bytes ``values[k]`` to a record; memory-only fields and entities stay as they are.

    Parameters
    ----------
    runs, records
        From :func:`runs_of` and :func:`bytes_of`.
    """
    for r in range(runs.shape[0]):
        if runs[r, 0] == _SAME:
            copy_bytes(records, row, runs[r, 1], values, k, runs[r, 2], runs[r, 3])


@kernel
def _scatter(values: UInt8s, numbers: Int32s, runs: Int32s, records: UInt8s) -> None:
    for k in range(numbers.shape[0]):
        put_back(values, k, runs, records, numbers[k])


def _wanted(numbering: Numbering | None) -> Numbering:
    if numbering is None:
        msg = "this layout has entities: their ids need a numbering"
        raise TypeError(msg)
    return numbering


def overwrite(records: Rows, numbers: Int32s, values: UInt8s, numbering: Numbering | None = None) -> None:
    """Put on-disk bytes into records; memory-only fields stay as they are.

    Parameters
    ----------
    records, numbers
        A slab, and which of its records, shape ``(n,)``.
    values
        From :func:`matrix`, shape ``(n, disk_bytes)``.
    numbering
        Gives the numbers of ids; wanted where the layout has entities.

    Raises
    ------
    TypeError
        It is wanted and not given.
    """
    _scatter(
        np.ascontiguousarray(values), np.ascontiguousarray(numbers, np.int32), runs_of(records.dtype), bytes_of(records)
    )
    for run in _runs(records.dtype):
        if run.name:
            ids = np.ascontiguousarray(values[:, run.disk]).view("<u8")
            records[run.name][numbers] = _wanted(numbering).numbers_of(ids)


def on_disk(records: Rows, numbers: Int32s, numbering: Numbering | None = None) -> UInt8s:
    """Return the on-disk bytes of records, shape ``(n, disk_bytes)``: what :func:`overwrite` takes.

    Raises
    ------
    TypeError
        The layout has entities, and there is no numbering.
    """
    values = np.empty((numbers.shape[0], disk_bytes(records.dtype)), np.uint8)
    has_entities = any(run.name for run in _runs(records.dtype))
    ids = _wanted(numbering).ids if has_entities else _NO_IDS
    _gather(bytes_of(records), np.ascontiguousarray(numbers, np.int32), runs_of(records.dtype), ids, values)
    return values


def bytes_of(records: Rows) -> UInt8s:
    """Return records as rows of bytes, shape ``(n, itemsize)``; a view."""
    return records.view(np.uint8).reshape(-1, records.dtype.itemsize)
