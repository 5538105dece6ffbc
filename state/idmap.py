"""Open-addressing hash map from 64-bit ids to row numbers, readable and writable inside numba kernels.

Keys are hashes already, so the slot is the key's own low bits after one multiplication. Empty slots hold row ``-1``.
A removal moves what was pushed beyond the free slot back to where it belongs, so probing never meets a tombstone. Two
strings with the same 64-bit hash share a row: with a million ids the probability of one such pair is about 3e-8.
"""

import numpy as np

from state.arrays import Int32s, UInt64s
from state.kernel import kernel

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(20)


@kernel
def find(keys: UInt64s, rows: Int32s, key: np.uint64) -> int:
    """Return the row of ``key``, or -1. Reads only."""
    mask = np.uint64(keys.shape[0] - 1)
    at = ((key * _MIX) >> _SHIFT) & mask
    while rows[at] >= 0:
        if keys[at] == key:
            return rows[at]
        at = (at + np.uint64(1)) & mask
    return -1


@kernel
def insert(keys: UInt64s, rows: Int32s, key: np.uint64, row: int) -> None:
    """Map ``key`` to ``row``; the map must have a free slot (see :meth:`IdMap.reserve`)."""
    mask = np.uint64(keys.shape[0] - 1)
    at = ((key * _MIX) >> _SHIFT) & mask
    while rows[at] >= 0 and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    keys[at] = key
    rows[at] = row


@kernel
def find_many(keys: UInt64s, rows: Int32s, wanted: UInt64s, out: Int32s) -> None:
    """Write the row of each wanted id, or -1, to ``out`` (shape of ``wanted``)."""
    for k in range(wanted.shape[0]):
        out[k] = find(keys, rows, wanted[k])


@kernel
def _insert_many(keys: UInt64s, rows: Int32s, new_keys: UInt64s, new_rows: Int32s) -> None:
    for k in range(new_keys.shape[0]):
        insert(keys, rows, new_keys[k], new_rows[k])


@kernel
def _remove_many(keys: UInt64s, rows: Int32s, gone: UInt64s) -> int:
    """Forget the ids in ``gone``; return how many of them there were."""
    mask = np.uint64(keys.shape[0] - 1)
    one = np.uint64(1)
    n = 0
    for k in range(gone.shape[0]):
        hole = ((gone[k] * _MIX) >> _SHIFT) & mask
        while rows[hole] >= 0 and keys[hole] != gone[k]:
            hole = (hole + one) & mask
        if rows[hole] < 0:
            continue
        n += 1
        at = (hole + one) & mask
        while rows[at] >= 0:
            home = ((keys[at] * _MIX) >> _SHIFT) & mask
            if (at - home) & mask >= (at - hole) & mask:  # its way from home leads over the hole
                keys[hole] = keys[at]
                rows[hole] = rows[at]
                hole = at
            at = (at + one) & mask
        keys[hole] = np.uint64(0)
        rows[hole] = -1
    return n


class IdMap:
    """Id → row map that grows to keep at least half of its slots free.

    Parameters
    ----------
    capacity
        Number of ids it holds before it grows.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._allocate(capacity)
        self.n = 0

    def _allocate(self, capacity: int) -> None:
        size = 16
        while size < 2 * capacity:
            size *= 2
        self.keys: UInt64s = np.zeros(size, np.uint64)
        self.rows: Int32s = np.full(size, -1, np.int32)

    def reserve(self, n_more: int) -> None:
        """Grow so that ``n_more`` further ids fit at half load."""
        if 2 * (self.n + n_more) > self.keys.shape[0]:
            used = self.rows >= 0
            keys, rows = self.keys[used], self.rows[used]
            self._allocate(2 * (self.n + n_more))
            _insert_many(self.keys, self.rows, keys, rows)

    def get(self, key: int) -> int:
        """Return the row of ``key``, or -1."""
        return int(find(self.keys, self.rows, np.uint64(key)))

    def get_many(self, wanted: UInt64s) -> Int32s:
        """Return the rows of ``wanted`` (uint64, any shape ``(n,)``), -1 where unknown."""
        out = np.empty(wanted.shape[0], np.int32)
        find_many(self.keys, self.rows, wanted, out)
        return out

    def put(self, key: int, row: int) -> None:
        """Map a new ``key`` to ``row``."""
        self.reserve(1)
        insert(self.keys, self.rows, np.uint64(key), row)
        self.n += 1

    def put_many(self, keys: UInt64s, rows: Int32s) -> None:
        """Map new and distinct ``keys`` to ``rows``."""
        self.reserve(keys.shape[0])
        _insert_many(self.keys, self.rows, keys, rows)
        self.n += keys.shape[0]

    def remove_many(self, gone: UInt64s) -> None:
        """Forget the ids in ``gone``, those among them that it holds."""
        self.n -= int(_remove_many(self.keys, self.rows, np.ascontiguousarray(gone, np.uint64)))
