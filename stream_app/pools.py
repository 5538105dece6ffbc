"""Uniform negatives, the same for all events whose offsets lie in one block, however they are cut into batches."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators.numeric import splitmix
from state.arrays import Int32s, Rows, UInt64s
from state.layout import KIND_ITEM

BLOCK = 512
"""Offsets that share their uniform negatives."""
POOL = 256
"""Uniform negatives of a block."""


class Run(NamedTuple):
    """Events of a batch whose offsets lie in one block.

    Attributes
    ----------
    block
        Number of the block of offsets.
    part
        Where they are in the batch.
    pool
        Item rows that serve as their uniform negatives.
    """

    block: int
    part: slice
    pool: Int32s


def pooled_runs(offsets: UInt64s, headers: Rows, seed: int, partition: int) -> Iterator[Run]:
    """Cut a batch into runs of one pool each.

    The pool is a function of seed, partition, offset and the replica's rows: how batches were cut does not matter.

    Parameters
    ----------
    offsets
        Of the events, rising, shape ``(n,)`` with ``n >= 1``.
    headers
        Rows of all entities that the replica knows.
    seed, partition
        What the pools hang on besides.
    """
    mixed = int(splitmix(np.uint64((seed * 1_000_003 + partition) & 0xFFFFFFFFFFFFFFFF)))
    blocks = offsets // np.uint64(BLOCK)
    starts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), offsets.size]
    for start, end in pairwise(starts):
        block = int(blocks[start])
        rows = _drawn(mixed, block, max(headers.shape[0], 2))
        known = (headers["n"][rows] > 0) & (headers["kind"][rows] == KIND_ITEM)
        yield Run(block, slice(start, end), rows[known][:POOL].astype(np.int32))


@lru_cache(maxsize=64)
def _drawn(mixed: int, block: int, n_rows: int) -> np.ndarray:
    """Return twice as many rows as a pool has; kept, since small batches come from the same block again and again."""
    return np.random.default_rng([mixed, block]).integers(1, n_rows, 2 * POOL)
