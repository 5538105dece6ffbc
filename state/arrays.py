"""Names for the array types that rows, pages and kernels pass around."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt64s: TypeAlias = NDArray[np.uint64]
Int64s: TypeAlias = NDArray[np.int64]
Int32s: TypeAlias = NDArray[np.int32]
UInt8s: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[Any]
"""A structured array: one record per row or page, laid out as :mod:`state.layout` says."""
Row: TypeAlias = Any
"""One record of :data:`Rows`, whose fields kernels read and write as attributes."""
