"""Bytes of records copied and read as they lie in memory, for kernels that work on records of any layout.

A record is what stands at an index along an array's first axis. Nothing is checked: a wrong index or offset reads and
writes what is not the array's.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_BYTE = ir.IntType(8).as_pointer()


def _place(context: Any, builder: Any, signature: Any, args: Any, k: int) -> Any:
    """Return a pointer to the byte that arguments ``k`` to ``k + 2`` name: array, index, offset."""
    array, index, offset = (signature.args[k + j] for j in range(3))
    found = make_array(array)(context, builder, args[k])
    stride = cgutils.unpack_tuple(builder, found.strides, array.ndim)[0]
    record = builder.mul(context.cast(builder, args[k + 1], index, types.intp), stride)
    at = builder.add(record, context.cast(builder, args[k + 2], offset, types.intp))
    return builder.gep(builder.bitcast(found.data, _BYTE), [at])


def _copy_bytes(_typing: Any, into: Any, k: Any, at: Any, source: Any, row: Any, begin: Any, n_bytes: Any) -> Any:
    """Copy ``n_bytes`` from offset ``begin`` of ``source[row]`` to offset ``at`` of ``into[k]``, which is elsewhere."""
    if not (isinstance(into, types.Array) and isinstance(source, types.Array)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _place(context, builder, signature, args, 0)
        origin = _place(context, builder, signature, args, 3)
        length = context.cast(builder, args[6], signature.args[6], types.intp)
        cgutils.raw_memcpy(builder, target, origin, length, 1)
        return context.get_dummy_value()

    return types.none(into, k, at, source, row, begin, n_bytes), generate


def _reader(kind: Any, bits: int) -> Any:
    """Return an intrinsic that reads a whole number at offset ``begin`` of ``source[row]``, wherever that lies."""

    def read(_typing: Any, source: Any, row: Any, begin: Any) -> Any:
        if not isinstance(source, types.Array):
            return None

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = _place(context, builder, signature, args, 0)
            found = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()))
            found.align = 1
            return found

        return kind(source, row, begin), generate

    return intrinsic(read)


copy_bytes: Any = intrinsic(_copy_bytes)
int32_at = _reader(types.int32, 32)
uint64_at = _reader(types.uint64, 64)
