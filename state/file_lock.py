"""Locks on open files that processes share; the operating system frees one when all its holders have ended.

Windows has none of them: nobody is locked out there.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import fcntl


def lock_file(descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file, and say whether that went well.

    Parameters
    ----------
    descriptor
        Of the file; the lock is held until it is closed, here and in every child that has inherited it.
    shared
        Whether others may hold it at the same time, if they share it as well.
    wait
        Whether to wait until nobody stands in the way.

    Raises
    ------
    OSError
        The file system knows no locks.
    """
    if sys.platform == "win32":
        return True
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
