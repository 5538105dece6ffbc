"""Sums over rows of :data:`WIDTH` float32, held in the processor's registers.

In a loop over so few numbers the compiler looks each time whether its arrays overlap, and stores the sums after each
row: three times as slow (``docs/performance/log.md``). Vectors of this width say what is meant; LLVM splits them into
those that the processor has.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 32
"""Numbers in a row."""
_SINGLE, _INDEX = ir.FloatType(), ir.IntType(64)
_ROW = ir.VectorType(_SINGLE, WIDTH)
_ALIGN = 4


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _row_at(builder: Any, data: Any, row: Any) -> Any:
    """Return a pointer to a row of a whole array."""
    start = builder.gep(data, [builder.mul(row, ir.Constant(_INDEX, WIDTH))])
    return builder.bitcast(start, _ROW.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    """Return a row that holds one number everywhere."""
    first = builder.insert_element(ir.Constant(_ROW, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _add_product(builder: Any, number: Any, row: Any, to: Any) -> Any:
    kind = ir.FunctionType(_ROW, [_ROW, _ROW, _ROW])
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{WIDTH}f32")
    return builder.call(multiply_add, [_spread(builder, number), row, to])


def _element(builder: Any, data: Any, at: Any) -> Any:
    return builder.load(builder.gep(data, [at]))


def _sum_rows_of(_typing: Any, x: Any, which: Any, weights: Any, start: Any, out: Any) -> Any:
    """Write ``start + sum of x[k] * weights[k]`` over the rows ``k`` in ``which`` to ``out``.

    ``x`` is float32, ``which`` int64 of even length, ``weights`` float32 of shape ``(n, WIDTH)``, ``start`` and ``out``
    one row each; all whole arrays.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        x_data, which_data, rows, first, target = (
            _data(context, builder, kind, array) for kind, array in zip(kinds, args, strict=True)
        )
        n = builder.extract_value(context.make_array(kinds[1])(context, builder, args[1]).shape, 0)
        zero = ir.Constant(_INDEX, 0)
        sums = [cgutils.alloca_once(builder, _ROW) for _ in range(2)]
        builder.store(builder.load(_row_at(builder, first, zero), align=_ALIGN), sums[0])
        builder.store(ir.Constant(_ROW, None), sums[1])
        with cgutils.for_range_slice(builder, zero, n, ir.Constant(_INDEX, 2), inc=True) as (at, _):
            for k, total in enumerate(sums):  # two sums, so that one addition need not wait for the one before
                row = _element(builder, which_data, builder.add(at, ir.Constant(_INDEX, k)))
                values = builder.load(_row_at(builder, rows, row), align=_ALIGN)
                number = _element(builder, x_data, row)
                builder.store(_add_product(builder, number, values, builder.load(total)), total)
        builder.store(
            builder.fadd(builder.load(sums[0]), builder.load(sums[1])), _row_at(builder, target, zero), align=_ALIGN
        )
        return context.get_dummy_value()

    return types.void(x, which, weights, start, out), generate


def _add_rows_of(_typing: Any, x: Any, which: Any, values: Any, out: Any) -> Any:
    """Add ``x[k] * values`` to the rows ``k`` in ``which`` of ``out``, float32 of shape ``(n, WIDTH)``.

    ``x`` is float32, ``which`` int64, ``values`` one row of float32; all whole arrays.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        x_data, which_data, row_data, target = (
            _data(context, builder, kind, array) for kind, array in zip(kinds, args, strict=True)
        )
        n = builder.extract_value(context.make_array(kinds[1])(context, builder, args[1]).shape, 0)
        row = builder.load(_row_at(builder, row_data, ir.Constant(_INDEX, 0)), align=_ALIGN)
        with cgutils.for_range(builder, n) as loop:
            k = _element(builder, which_data, loop.index)
            to = _row_at(builder, target, k)
            total = _add_product(builder, _element(builder, x_data, k), row, builder.load(to, align=_ALIGN))
            builder.store(total, to, align=_ALIGN)
        return context.get_dummy_value()

    return types.void(x, which, values, out), generate


sum_rows: Any = intrinsic(_sum_rows_of)
add_rows: Any = intrinsic(_add_rows_of)


def whole_rows(numbers: list[int]) -> np.ndarray:
    """Return numbers of rows as these functions want them."""
    return np.array(numbers, np.int64)
