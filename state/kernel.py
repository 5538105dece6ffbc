"""How kernels are compiled: without the interpreter's lock, kept on disk, and as little of each as is needed.

Numba makes two more functions for every kernel, through which Python and C call it: with the big tuples of arrays
these take longer to compile than the kernel itself. Most kernels are called by kernels only; :func:`inner_kernel`
leaves both out. A division by zero gives an infinity, as in numpy, instead of an exception: no check stands in the way
of working on eight numbers at a time.
"""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F | None = None, *, allocates: bool = False, **options: Any) -> Any:
    """Compile a function that Python and other kernels call; ``options`` are numba's.

    Parameters
    ----------
    allocates
        Whether it makes arrays, or returns any. One that does counts references to the arrays that it is given, each
        time it is called, with an atomic addition, for which two threads that share the arrays wait for each other.
        One that does not hands its arrays on as uncounted: its caller in Python holds them.
    """
    decorate = njit(cache=True, nogil=True, error_model="numpy", **{"_nrt": allocates, **options})
    return decorate if function is None else decorate(function)


def inner_kernel(function: _F | None = None, *, allocates: bool = False, **options: Any) -> Any:
    """Compile a function that other kernels call; a call from Python is a TypeError.

    Make it a :func:`kernel` if Python, or a test, has to call it.

    Parameters
    ----------
    allocates
        Whether it makes arrays; see :func:`kernel`.
    """

    def decorate(function: _F) -> Any:
        found = kernel(allocates=allocates, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
        found.__class__ = _inner_class(type(found))
        return found

    return decorate if function is None else decorate(function)


_classes: dict[type, type] = {}


def _inner_class(base: type) -> type:
    """Return the class of dispatchers without a way in from Python; numba itself would end the process there."""

    def refuse(self: Any, *_args: object, **_kwargs: object) -> NoReturn:
        message = f"{self.py_func.__name__} is called by kernels only; decorate it with kernel to call it from Python"
        raise TypeError(message)

    if base not in _classes:
        _classes[base] = type("InnerDispatcher", (base,), {"__call__": refuse})
    return _classes[base]
