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

from operators.arrays import N_CONTENT, Entities, Work
from operators.elementary import logarithms
from operators.params import AFFINITY_PRIOR, CONTENT_TABLES, CONTENT_VALUES
from state.arrays import Floats, UInt8s
from state.kernel import inner_kernel

N_BITS = 8
"""Bits of a byte."""


@inner_kernel
def add_content(counts: Floats, signature: UInt8s, weight: float) -> None:
    """Add an item to the counts of its signature's bytes, shape ``(N_CONTENT,)``."""
    for t in range(CONTENT_TABLES):
        counts[CONTENT_VALUES * t + signature[t]] += weight


@inner_kernel
def content_affinity(affinities: Floats, signature: UInt8s) -> float:
    """Return the sum of what :func:`weigh_content` wrote for the bytes of a signature."""
    total = 0.0
    for t in range(CONTENT_TABLES):
        total += affinities[CONTENT_VALUES * t + signature[t]]
    return total


@inner_kernel
def weigh_content(entities: Entities, work: Work) -> None:
    """Turn the counts of a user's signatures into affinities of each byte, and clear the counts.

    ``work.content_counts`` becomes ``work.content_near`` and ``work.content_direction``, all of shape
    ``(N_CONTENT,)``. A user who has taken nothing with a content vector has affinities of 0.
    """
    counts, near, totals = work.content_counts, work.content_near, entities.content_totals
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
    _weigh_bits(entities, work, taken, everybody)
    for k in range(counts.shape[0]):
        counts[k] = 0.0


@inner_kernel
def _weigh_bits(entities: Entities, work: Work, taken: float, everybody: float) -> None:
    """Fill ``work.content_direction``; the counts become sums of theirs."""
    counts, direction, totals, logs = work.content_counts, work.content_direction, entities.content_totals, work.logs
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
