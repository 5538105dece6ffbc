"""Sums over wide rows are those of numpy, for any choice of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from operators.wide import WIDTH, add_rows, sum_rows, whole_rows

N_ROWS = 9


@njit
def _sum(x, which, weights, start, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    sum_rows(x, which, weights, start, out)


@njit
def _add(x, which, values, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    add_rows(x, which, values, out)


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Return standard normal float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(st.lists(st.integers(0, N_ROWS - 1), max_size=6), st.integers(0, 1 << 20))
def test_rows_are_summed(half: list[int], seed: int) -> None:
    """The start and each named row, as often as it is named, times its number; nothing else is written."""
    which = whole_rows(half + half[::-1])
    x, weights, start, out = numbers(seed, N_ROWS), numbers(seed + 1, N_ROWS, WIDTH), *numbers(seed + 2, 2, WIDTH)
    kept = x.tobytes(), weights.tobytes(), start.tobytes()
    _sum(x, which, weights, start, out)
    assert np.allclose(out, start + x[which] @ weights[which], atol=1e-4)
    assert (x.tobytes(), weights.tobytes(), start.tobytes()) == kept


@given(st.lists(st.integers(0, N_ROWS - 1), max_size=7), st.integers(0, 1 << 20))
def test_rows_are_added_to(which: list[int], seed: int) -> None:
    """The named rows get the values times their number, as often as they are named; the others stay."""
    x, out, values = numbers(seed, N_ROWS), numbers(seed + 1, N_ROWS, WIDTH), numbers(seed + 2, WIDTH)
    expected = out.copy()
    for k in which:
        expected[k] += x[k] * values
    _add(x, whole_rows(which), values, out)
    assert np.allclose(out, expected, atol=1e-4)
    untouched = sorted(set(range(N_ROWS)) - set(which))
    assert (out[untouched] == expected[untouched]).all()
