"""What content vectors say of a user's taste, by signatures of 64 bits (:mod:`operators.signatures`).

A signature is eight bytes, and each bit tells on which side of a random hyperplane a vector lies. Two affinities come
from the same counts of the user's items, both as logarithms of how much more often the user takes something than
everybody does, in the mean over the eight bytes:

- *near*: items with the very byte, that is, vectors close to this one. It knows tastes that lie in several places.
- *direction*: items with the bit, summed over the bits of the byte. It needs few items, and tells something of vectors
  that are near to none of the user's.

References
----------
.. [1] Charikar (2002), STOC, "Similarity estimation techniques from rounding algorithms".
"""

import numpy as np

from operators.arrays import DIRECTION, N_ATTRIBUTE_NUMBERS, N_CONTENT, NEAR, Entities, Work
from operators.elementary import logarithms
from operators.params import AFFINITY_PRIOR, CONTENT_TABLES, CONTENT_VALUES
from state.arrays import Floats, UInt8s
from state.kernel import inner_kernel

N_BITS = 8
"""Bits of a byte."""


@inner_kernel
def add_content(counts: Floats, signature: UInt8s, weight: float) -> None:
    """Add an item to the counts of its signature's bytes, which stand behind those of attributes."""
    for t in range(CONTENT_TABLES):
        counts[N_ATTRIBUTE_NUMBERS + CONTENT_VALUES * t + signature[t]] += weight


@inner_kernel
def content_affinity(affinities: Floats, which: int, signature: UInt8s) -> float:
    """Return the sum of what :func:`weigh_content` wrote for the bytes of a signature, near or direction."""
    total = 0.0
    for t in range(CONTENT_TABLES):
        total += affinities[which, CONTENT_VALUES * t + signature[t]]
    return total


@inner_kernel
def weigh_content(entities: Entities, work: Work) -> None:
    """Turn the counts of a user's signatures into affinities of each byte, and clear the counts.

    ``work.content`` is overwritten. A user who has taken nothing with a content vector has affinities of 0.
    """
    counts, totals = work.attribute_counts[N_ATTRIBUTE_NUMBERS:], entities.attribute_totals[N_ATTRIBUTE_NUMBERS:]
    near = work.content[NEAR]
    taken, everybody = 0.0, 0.0
    for v in range(CONTENT_VALUES):
        taken += counts[v]
        everybody += totals[v]
    scale, total = everybody + 0.1 * CONTENT_VALUES, taken + AFFINITY_PRIOR
    for k in range(counts.shape[0]):
        near[k] = (counts[k] * (scale / (totals[k] + 0.1)) + AFFINITY_PRIOR) / total
    logarithms(near, near.shape[0])
    for k in range(near.shape[0]):
        near[k] /= CONTENT_TABLES
    _weigh_bits(counts, totals, taken, everybody, work.logs, work.content[DIRECTION])
    for k in range(counts.shape[0]):
        counts[k] = 0.0


@inner_kernel
def _weigh_bits(
    counts: Floats, totals: np.ndarray, taken: float, everybody: float, logs: Floats, direction: Floats
) -> None:
    """Fill ``direction``, shape ``(N_CONTENT,)``; the counts become sums of theirs."""
    total = taken + AFFINITY_PRIOR
    for t in range(CONTENT_TABLES):
        start = CONTENT_VALUES * t
        half = CONTENT_VALUES // 2
        for b in range(N_BITS - 1, -1, -1):  # the upper half has the bit; fold it onto the lower, which goes on without
            with_bit = 0.0
            for v in range(half):
                with_bit += counts[start + half + v]
                counts[start + v] += counts[start + half + v]
            share = (totals[N_CONTENT + N_BITS * t + b] + 1.0) / (everybody + 2.0)
            at = 2 * (N_BITS * t + b)
            logs[at] = (with_bit + AFFINITY_PRIOR * share) / (total * share)
            rest = max(taken - with_bit, 0.0)
            logs[at + 1] = (rest + AFFINITY_PRIOR * (1.0 - share)) / (total * (1.0 - share))
            half //= 2
    logarithms(logs, 2 * N_BITS * CONTENT_TABLES)
    for t in range(CONTENT_TABLES):
        start = CONTENT_VALUES * t
        without = 0.0
        for b in range(N_BITS):
            without += logs[2 * (N_BITS * t + b) + 1]
        direction[start] = without / CONTENT_TABLES
        size = 1
        for b in range(N_BITS):
            at = 2 * (N_BITS * t + b)
            step = (logs[at] - logs[at + 1]) / CONTENT_TABLES
            for v in range(size):
                direction[start + size + v] = direction[start + v] + step
            size *= 2
