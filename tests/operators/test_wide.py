"""Sums over wide rows are those of numpy, for any choice of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from operators.wide import AT_ONCE, WIDTH, add_products, sum_rows, whole_rows

N_ROWS = 9


@njit
def _sum(x, which, weights, start, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    sum_rows(x, which, weights, start, out)


@njit
def _add(x, values, out, n):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    add_products(x[0], x[1], x[2], x[3], values, out, n)


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


@given(st.integers(0, N_ROWS), st.integers(0, 1 << 20))
def test_products_are_added_to_rows(n: int, seed: int) -> None:
    """The first rows get all four values times their numbers; the others stay."""
    x, values, out = numbers(seed, AT_ONCE, N_ROWS), numbers(seed + 1, AT_ONCE, WIDTH), numbers(seed + 2, N_ROWS, WIDTH)
    expected = out.copy()
    expected[:n] += x[:, :n].T @ values
    _add(x, values, out, n)
    assert np.allclose(out, expected, atol=1e-4)
    assert (out[n:] == expected[n:]).all()
