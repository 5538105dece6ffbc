"""Row numbers for 64-bit ids of entities: what rows of users hold in memory in the place of ids.

A user's row names a hundred entities and more. In memory each is the number of the entity's row in the replica: half as
wide as the id, and a kernel need not look it up. Numbers are never given back, and mean nothing on disk.
"""

from typing import Protocol

import numpy as np

from state.arrays import Int32s, UInt64s
from state.idmap import IdMap


class Numbering(Protocol):
    """Both ways between ids and numbers above 0; id 0 has number 0."""

    def numbers_of(self, ids: UInt64s) -> Int32s:
        """Return the number of each id, shape of ``ids``; unknown ids get one."""

    @property
    def ids(self) -> UInt64s:
        """Id behind each number, shape ``(n_numbers,)``."""


class Numbers:
    """A numbering of its own, for tables that stand beside no replica.

    Examples
    --------
    >>> numbers = Numbers()
    >>> numbers.numbers_of(np.array([70, 0, 80, 70], np.uint64)).tolist()
    [1, 0, 2, 1]
    >>> numbers.ids.tolist()
    [0, 70, 80]
    """

    def __init__(self) -> None:
        self._index = IdMap(64)
        self._ids = np.zeros(1, np.uint64)

    def numbers_of(self, ids: UInt64s) -> Int32s:
        """Return the number of each id, shape of ``ids``; unknown ids get one."""
        unique, where = np.unique(ids, return_inverse=True)
        fresh = unique[(self._index.get_many(unique) < 0) & (unique != 0)]
        self._index.put_many(fresh, np.arange(self._ids.size, self._ids.size + fresh.size, dtype=np.int32))
        self._ids = np.concatenate([self._ids, fresh])
        numbers: Int32s = np.where(unique == 0, 0, self._index.get_many(unique)).astype(np.int32)
        return numbers[where].reshape(ids.shape)

    @property
    def ids(self) -> UInt64s:
        """Id behind each number, shape ``(n_numbers,)``."""
        return self._ids
