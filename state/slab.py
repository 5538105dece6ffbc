"""A growing array of fixed-width records with a free list that numba kernels can pop."""

import numpy as np

from state.arrays import Int32s, Rows
from state.kernel import kernel


@kernel
def pop_free(free: Int32s, n_free: Int32s) -> int:
    """Take a free record number; the caller reserved enough (see :meth:`Slab.reserve`)."""
    n_free[0] -= 1
    return free[n_free[0]]


class Slab:
    """Records of one dtype in one array.

    Growing replaces :attr:`records`, so kernels take the array anew for every batch. Freed records are reused last in,
    first out. A fresh record is all zero bytes.

    Parameters
    ----------
    dtype
        Layout of a record, from :mod:`state.layout`.
    capacity
        Records allocated at first; doubles when exhausted.
    """

    def __init__(self, dtype: np.dtype, capacity: int = 256) -> None:
        self.records: Rows = np.zeros(capacity, dtype)
        self.free: Int32s = np.arange(capacity - 1, -1, -1, dtype=np.int32)
        self.n_free: Int32s = np.array([capacity], np.int32)

    @property
    def n_used(self) -> int:
        """Records in use."""
        return int(self.records.shape[0] - self.n_free[0])

    @property
    def n_bytes(self) -> int:
        """Memory taken, in bytes."""
        return int(self.records.nbytes + self.free.nbytes)

    def reserve(self, n_more: int) -> None:
        """Make sure that ``n_more`` records can be taken without growing."""
        if n_more <= self.n_free[0]:
            return
        old = self.records.shape[0]
        new = max(2 * old, old + n_more)
        records = np.zeros(new, self.records.dtype)
        records[:old] = self.records
        free = np.empty(new, np.int32)
        kept = int(self.n_free[0])
        fresh = new - old
        free[:fresh] = np.arange(new - 1, old - 1, -1, dtype=np.int32)
        free[fresh : fresh + kept] = self.free[:kept]
        self.records, self.free = records, free
        self.n_free[0] = fresh + kept

    def take(self) -> int:
        """Take one zeroed record and return its number."""
        self.reserve(1)
        return int(pop_free(self.free, self.n_free))

    def take_many(self, n: int) -> Int32s:
        """Take ``n`` zeroed records and return their numbers."""
        self.reserve(n)
        left = int(self.n_free[0]) - n
        numbers: Int32s = self.free[left : left + n][::-1].copy()
        self.n_free[0] = left
        return numbers

    def give_back(self, numbers: Int32s) -> None:
        """Zero records and put them on the free list."""
        self.records[numbers] = np.zeros((), self.records.dtype)
        at = int(self.n_free[0])
        self.free[at : at + numbers.shape[0]] = numbers
        self.n_free[0] += numbers.shape[0]
