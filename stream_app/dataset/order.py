"""The order of events at one time: drawn, so that the order in which a source keeps its rows teaches nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stream_app.dataset.files import DatasetError

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


def drawn_order(seed: int, *columns: npt.NDArray[Any]) -> Int64s:
    """Return the rows' numbers by the first column, then the second, and so on; rows alike in all are shuffled.

    Raises
    ------
    DatasetError
        The seed is below 0.

    Examples
    --------
    >>> drawn_order(0, np.array([3, 1, 2, 1])).tolist()
    [1, 3, 2, 0]
    >>> drawn_order(3, np.array([3, 1, 2, 1])).tolist()
    [3, 1, 2, 0]
    """
    keys = drawn_numbers(columns[0].size, seed)
    return np.lexsort((keys, *reversed(columns)))


def drawn_numbers(n_rows: int, seed: int) -> UInt64s:
    """Return one well mixed number per row: splitmix64 of the row's number, started at a place the seed gives.

    Integer arithmetic only, so that the order does not hang on the version of a random generator.

    Raises
    ------
    DatasetError
        The seed is below 0.

    References
    ----------
    .. [1] Steele, Lea, Flood (2014), OOPSLA, "Fast splittable pseudorandom number generators".

    Examples
    --------
    >>> [f"{number:x}" for number in drawn_numbers(2, seed=0)]
    ['e220a8397b1dcdaf', '6e789e6aa1b965f4']
    """
    if seed < 0:
        message = f"the seed must be at least 0, got {seed}"
        raise DatasetError(message)
    golden = np.uint64(0x9E3779B97F4A7C15)
    start = np.uint64((seed * 0xD1342543DE82EF95) & 0xFFFFFFFFFFFFFFFF)
    z: UInt64s = start + np.arange(1, n_rows + 1, dtype=np.uint64) * golden
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
