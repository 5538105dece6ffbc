"""The arithmetic of Crossaisle: pure kernels that learn from events, recall candidates, rank them and fill slates."""

from state import kernel_cache as _kernel_cache  # noqa: F401 - first of all: numba asks where to keep kernels when it meets one
