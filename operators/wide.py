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
AT_ONCE = 4
"""Products that :data:`add_products` adds up before it writes a row."""
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


def _add_products_of(_typing: Any, x0: Any, x1: Any, x2: Any, x3: Any, values: Any, out: Any, n: Any) -> Any:
    """Add ``sum of xj[k] * values[j]`` to each row ``k`` below ``n`` of ``out``, four products at a time.

    ``x0`` to ``x3`` are float32, shape ``(n,)`` or longer; ``values`` float32 of shape ``(4, WIDTH)``, ``out`` of shape
    ``(n, WIDTH)`` or more rows; all whole arrays. A row of ``out`` is read and written once for all four.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *numbers, row_data, target = (
            _data(context, builder, kind, array) for kind, array in zip(signature.args[:-1], args[:-1], strict=True)
        )
        rows = [builder.load(_row_at(builder, row_data, ir.Constant(_INDEX, k)), align=_ALIGN) for k in range(AT_ONCE)]
        with cgutils.for_range(builder, args[-1]) as loop:
            to = _row_at(builder, target, loop.index)
            total = builder.load(to, align=_ALIGN)
            for data, row in zip(numbers, rows, strict=True):
                total = _add_product(builder, _element(builder, data, loop.index), row, total)
            builder.store(total, to, align=_ALIGN)
        return context.get_dummy_value()

    return types.void(x0, x1, x2, x3, values, out, n), generate


sum_rows: Any = intrinsic(_sum_rows_of)
add_products: Any = intrinsic(_add_products_of)


def whole_rows(numbers: list[int]) -> np.ndarray:
    """Return numbers of rows as these functions want them."""
    return np.array(numbers, np.int64)
