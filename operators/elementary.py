"""Logarithms, powers and sums of products of many float32 at once.

A call of the C library for each number would take most of the time of a feature vector, and keep the compiler from
working on eight numbers at a time. These are the polynomials of the Cephes library [1]_, right to one or two units in
the last place of a float32.

References
----------
.. [1] Moshier (1992), Cephes Mathematical Library, ``logf`` and ``exp2f``.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from state.arrays import Floats
from state.kernel import inner_kernel, kernel

LOG2_E = 1.4426950408889634
SMALLEST = 2.0**-126
"""The least that :func:`powers_of_two` gives."""
_SQRT_HALF = 0x3F3504F3
"""Bits of the float32 next to the root of one half."""
_LOWEST = np.float32(-126.0)
"""Smallest exponent of two that is taken as it is."""


def _singles(*values: float) -> tuple[np.float32, ...]:
    return tuple(np.float32(value) for value in values)


_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _singles(
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_E0, _E1, _E2, _E3, _E4, _E5 = _singles(
    1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2, 2.402264791363012e-1,
    6.931472028550421e-1,
)  # fmt: skip
_ZERO, _HALF, _ONE = _singles(0.0, 0.5, 1.0)
_LN2_HIGH, _LN2_LOW = _singles(0.693359375, -2.12194440e-4)
_WHOLE, _SINGLE = ir.IntType(32), ir.FloatType()
_PAIR: Any = types.UniTuple(types.float32, 2)


def _pair(builder: Any, first: Any, second: Any) -> Any:
    out = builder.insert_value(ir.Constant(ir.ArrayType(_SINGLE, 2), ir.Undefined), first, 0)
    return builder.insert_value(out, second, 1)


def _mantissa_exponent_of(_typing: Any, x: Any) -> Any:  # noqa: ARG001 - numba goes by its name
    """Return ``m`` in [.71, 1.41) and ``e`` with ``x = m * 2 ** e``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], _WHOLE)
        exponent = builder.ashr(builder.sub(bits, ir.Constant(_WHOLE, _SQRT_HALF)), ir.Constant(_WHOLE, 23))
        mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, ir.Constant(_WHOLE, 23))), _SINGLE)
        return _pair(builder, mantissa, builder.sitofp(exponent, _SINGLE))

    return _PAIR(types.float32), generate


def _whole_rest_of(_typing: Any, x: Any) -> Any:  # noqa: ARG001 - numba goes by its name
    """Return ``2 ** n`` and ``x - n`` of an ``x`` in [-126, 0], ``n`` the whole number next to it."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        n = builder.fptosi(builder.fsub(args[0], ir.Constant(_SINGLE, 0.5)), _WHOLE)
        biased = builder.shl(builder.add(n, ir.Constant(_WHOLE, 127)), ir.Constant(_WHOLE, 23))
        return _pair(builder, builder.bitcast(biased, _SINGLE), builder.fsub(args[0], builder.sitofp(n, _SINGLE)))

    return _PAIR(types.float32), generate


_mantissa_exponent: Any = intrinsic(_mantissa_exponent_of)
_whole_rest: Any = intrinsic(_whole_rest_of)


@inner_kernel(fastmath={"reassoc", "contract"})
def dot(a: Floats, b: Floats) -> float:
    """Return the sum of the products, as long as ``a``, which is to be a whole array.

    The length of a field of a record is known when this is compiled: the loop would be written out, number by number.
    """
    total = _ZERO
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return float(total)


@inner_kernel(fastmath={"contract"})
def add_scaled(out: Floats, scale: float, values: Floats, n: int) -> None:
    """Add ``scale`` times the first ``n`` of ``values`` to ``out``; let ``n`` be no constant, as for :func:`dot`."""
    factor = np.float32(scale)
    for k in range(n):
        out[k] += factor * values[k]


@inner_kernel
def add_with_squares(out: Floats, squares: Floats, scale: float, values: Floats) -> None:
    """Add ``scale`` times ``values`` to ``out``, and as many times their squares to ``squares``; all of one length."""
    factor = np.float32(scale)
    for k in range(values.shape[0]):
        out[k] += factor * values[k]
        squares[k] += factor * (values[k] * values[k])


@kernel(fastmath={"contract"})
def logarithms(values: Floats, n: int) -> None:
    """Replace the first ``n`` of ``values``, which are positive and finite, by their natural logarithms."""
    for k in range(n):
        m, e = _mantissa_exponent(values[k])
        f = m - _ONE
        z = f * f
        y = _L0 * f + _L1
        y = y * f + _L2
        y = y * f + _L3
        y = y * f + _L4
        y = y * f + _L5
        y = y * f + _L6
        y = y * f + _L7
        y = y * f + _L8
        y = y * f * z + e * _LN2_LOW - _HALF * z
        values[k] = f + y + e * _LN2_HIGH


@kernel(fastmath={"contract"})
def powers_of_two(values: Floats, n: int) -> None:
    """Replace each of the first ``n`` of ``values`` by ``2 ** x``; above 0 they count as 0, below -126 as -126."""
    for k in range(n):
        x = min(max(values[k], _LOWEST), _ZERO)
        scale, f = _whole_rest(x)
        y = _E0 * f + _E1
        y = y * f + _E2
        y = y * f + _E3
        y = y * f + _E4
        y = y * f + _E5
        values[k] = scale * (y * f + _ONE)


@inner_kernel
def exponentials(values: Floats, n: int, highest: float) -> float:
    """Replace each of the first ``n`` of ``values``, none above ``highest``, by ``exp(x - highest)``; return their sum.

    None becomes less than :data:`SMALLEST`, which is next to nothing beside that of the highest.
    """
    for k in range(n):
        values[k] = (values[k] - highest) * LOG2_E
    powers_of_two(values, n)
    total = 0.0
    for k in range(n):
        total += values[k]
    return total
