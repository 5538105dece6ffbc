"""The broker's error, a lock that processes share, and what is said of a file system that refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from state.file_lock import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIN_FREE_BYTES = 256 << 20
"""Space that must be free before anything is started, so that it does not end half way."""

_LOCK_NAME = ".crossaisle.lock"


class BrokerError(Exception):
    """The embedded broker cannot be started or used; the message names the remedy."""


class DirectoryLock:
    """An exclusive lock on a directory; the operating system frees it when all its holders have ended.

    A child process that inherits the descriptor is a holder too. On Windows nobody is locked out here: Kafka's own
    lock stands in.

    Parameters
    ----------
    directory
        An existing directory; the lock is a file in it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _LOCK_NAME
        self._fd: int | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child process must inherit to hold the lock as well; empty while it is not held."""
        return () if self._fd is None else (self._fd,)

    def acquire(self) -> bool:
        """Take the lock if nobody has it, and say whether that went well.

        Raises
        ------
        OSError
            Its file cannot be made.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if not lock_file(fd, wait=False):
            os.close(fd)
            return False
        self._fd = fd
        return True

    def describe(self, words: str) -> None:
        """Leave a few words on the holder, for whoever finds the lock taken.

        Raises
        ------
        OSError
            They cannot be written.
        """
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, words.encode())

    def holder(self) -> str:
        """Return the words that the holder has left; empty if there are none."""
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@contextlib.contextmanager
def refusals(directory: Path, remedy: str) -> Iterator[None]:
    """Turn what the file system refuses about a directory into a `BrokerError`.

    Parameters
    ----------
    directory
        The directory that is written to.
    remedy
        What helps when it cannot be, other than room on the disk.

    Raises
    ------
    BrokerError
        The disk is full, or the directory cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"the disk of {directory} is full: make room, or {remedy}"
        else:
            message = f"cannot write to {directory} ({error.strerror or error}): make it writable, or {remedy}"
        raise BrokerError(message) from error


def check_space(directory: Path, remedy: str) -> None:
    """Check that a directory has room for what is about to be written.

    Raises
    ------
    BrokerError
        Less than ``MIN_FREE_BYTES`` are free.
    """
    free = shutil.disk_usage(directory).free
    if free < MIN_FREE_BYTES:
        message = (
            f"the disk of {directory} is full ({free >> 20} MiB are free, the broker needs {MIN_FREE_BYTES >> 20} MiB "
            f"to start): make room, or {remedy}"
        )
        raise BrokerError(message)
