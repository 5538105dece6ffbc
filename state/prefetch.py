"""A hint to the processor that a record will be read soon.

Rows lie anywhere in slabs far larger than the caches. To ask for a few of them before the first is worked on lets the
processor fetch them at the same time; without it the loop waits for one after the other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LINE_BYTES = 64
"""Of a cache line of the usual processors."""
_BYTE, _WHOLE = ir.IntType(8).as_pointer(), ir.IntType(32)
_FOR_READING, _KEEP, _DATA = (ir.Constant(_WHOLE, value) for value in (0, 3, 1))


def _prefetch(_typing: Any, array: Any, index: Any, offset: Any) -> Any:
    """Ask for the cache line at ``offset`` bytes of record ``index`` of a one-dimensional array; nothing is checked."""
    if not isinstance(array, types.Array):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = make_array(signature.args[0])(context, builder, args[0])
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        offset = context.cast(builder, args[2], signature.args[2], types.intp)
        stride = cgutils.unpack_tuple(builder, found.strides, array.ndim)[0]
        at = builder.add(builder.mul(index, stride), offset)
        pointer = builder.gep(builder.bitcast(found.data, _BYTE), [at])
        hint = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_BYTE, _WHOLE, _WHOLE, _WHOLE]),
            "llvm.prefetch.p0",
        )
        builder.call(hint, [pointer, _FOR_READING, _KEEP, _DATA])
        return context.get_dummy_value()

    return types.none(array, index, offset), generate


prefetch: Any = intrinsic(_prefetch)


def field_at(dtype: np.dtype[Any], name: str) -> int:
    """Return where a field of a record begins, in bytes."""
    fields: Mapping[str, Any] = dtype.fields or {}
    return int(fields[name][1])


def field_lines(dtype: np.dtype[Any], first: str, last: str) -> tuple[int, ...]:
    """Return offsets, in bytes, that reach every cache line of the fields from ``first`` to ``last``."""
    begin, end = field_at(dtype, first), field_at(dtype, last) + dtype[last].itemsize - 1
    return (*range(begin, end, LINE_BYTES), end)
