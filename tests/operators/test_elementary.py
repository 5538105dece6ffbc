"""Logarithms and powers of many numbers are those of numpy, and inner kernels have no way in from Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.elementary import logarithms, powers_of_two
from state.kernel import inner_kernel

POSITIVE = arrays(np.float32, st.integers(0, 40), elements=st.floats(2.0**-100, 2.0**100, width=32))
EXPONENTS = arrays(np.float32, st.integers(0, 40), elements=st.floats(-200, 50, width=32))


@given(POSITIVE)
def test_logarithms_are_those_of_numpy(values: np.ndarray) -> None:
    """To a few units in the last place; what comes after the first n stays."""
    out = np.append(values, np.float32(7.0))
    logarithms(out, values.size)
    np.testing.assert_allclose(out[:-1], np.log(values.astype(np.float64)), rtol=3e-7, atol=2e-7)
    assert out[-1] == 7.0


@given(EXPONENTS)
def test_powers_are_those_of_numpy(values: np.ndarray) -> None:
    """Above 0 they are 1: nothing decays before its time; far below they are next to nothing."""
    out = values.copy()
    powers_of_two(out, out.size)
    np.testing.assert_allclose(out, np.exp2(np.clip(values.astype(np.float64), -126, 0)), rtol=5e-7)


def test_inner_kernels_refuse_calls_from_python() -> None:
    """Numba would end the process there."""

    @inner_kernel
    def inner() -> int:
        return 1

    with pytest.raises(TypeError, match="called by kernels only"):
        inner()
