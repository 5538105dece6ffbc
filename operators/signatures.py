"""Content vectors as signatures of 64 bits: on which side of 64 random hyperplanes a vector lies.

The share of bits that two signatures have in common falls with the angle between the vectors, however long these are.
All of it is in whole numbers, which a float64 adds up without rounding: the same record gives the same signature on
every machine. What a component weighs hangs on its number alone, so that vectors of any number of components share the
hyperplanes, and one that ends in zeros is the same as without them.

References
----------
.. [1] Charikar (2002), STOC, "Similarity estimation techniques from rounding algorithms".
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from operators.numeric import splitmix
from operators.params import CONTENT_TABLES
from state.arrays import UInt8s

N_BITS = 8 * CONTENT_TABLES
STEPS = 1 << 15
"""Steps from 0 to the largest component of a vector."""
_AT_ONCE = 1 << 20
"""Components that are worked on at once."""
_FEWEST = 64
"""Hyperplanes are made for so many components, and twice as many, and so on."""
_SEED = 0x5EED_C0DE_0000_0001

Vector = Sequence[float]


def signatures(vectors: Sequence[Vector | None]) -> tuple[UInt8s, UInt8s]:
    """Return the signatures of content vectors.

    Parameters
    ----------
    vectors
        Finite numbers, of any size and any length each; None, nothing and zeros only are no vector.

    Returns
    -------
    signatures
        Shape ``(n, CONTENT_TABLES)``; 0 where there is no vector.
    known
        Whether there is one, shape ``(n,)``.

    Examples
    --------
    >>> same, known = signatures([[0.5, -0.25], [2e38, -1e38], [0.0]])
    >>> bool((same[0] == same[1]).all()), known.tolist()
    (True, [1, 1, 0])
    """
    out, known = np.zeros((len(vectors), CONTENT_TABLES), np.uint8), np.zeros(len(vectors), np.uint8)
    of_length: dict[int, list[int]] = {}
    for k, vector in enumerate(vectors):
        if vector:
            of_length.setdefault(len(vector), []).append(k)
    for length, places in of_length.items():
        n_rows = max(1, _AT_ONCE // length)
        for start in range(0, len(places), n_rows):
            at = places[start : start + n_rows]
            values = np.array([vectors[k] for k in at], np.float64)
            largest = np.abs(values).max(axis=1)
            known[at] = largest > 0.0
            largest[largest == 0.0] = 1.0
            steps = np.rint(values / largest[:, None] * STEPS)
            out[at] = np.packbits(steps @ _hyperplanes(length) > 0.0, axis=1, bitorder="little")
    out[known == 0] = 0
    return out, known


def _hyperplanes(length: int) -> npt.NDArray[np.float64]:
    """Return what each component weighs for each bit, shape ``(length, N_BITS)``: whole numbers, nearly normal."""
    return _made(max(_FEWEST, 1 << (length - 1).bit_length()))[:length]


@lru_cache
def _made(n: int) -> npt.NDArray[np.float64]:
    numbers = np.arange(_SEED - 1, _SEED - 1 + n * N_BITS, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = np.fromiter(map(splitmix, numbers), np.uint64, numbers.size)
    uniform = mixed.view(np.uint16).reshape(n, N_BITS, 4).astype(np.float64)
    out: npt.NDArray[np.float64] = uniform.sum(axis=2) - 2.0 * 0xFFFF
    return out
