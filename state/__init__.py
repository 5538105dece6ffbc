"""Rows in memory and pages on disk: fixed layouts, slabs, id maps, codecs and the local page store."""

from state import kernel_cache as _kernel_cache  # noqa: F401 - first of all: numba asks where to keep kernels when it meets one
