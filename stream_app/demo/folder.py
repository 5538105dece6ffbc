"""The folder of a demo run: one demo at a time, and empty at its start."""

from __future__ import annotations

import contextlib
import shutil
import sys
from typing import TYPE_CHECKING, Final

from state.file_lock import lock_file
from stream_app.broker.files import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BROKER: Final = "broker"
"""Name of the broker's directory in the folder."""


class FolderError(Exception):
    """The folder cannot be used. The message ends with the remedy."""


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold the folder for one run, and empty it of what an earlier run has left.

    The system drops the claim with the process, however that ends. On Windows nothing stops a second demo.

    Raises
    ------
    FolderError
        Another demo holds the folder, a broker runs on what an earlier one has left in it, or it cannot be written to.
    """
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(folder.with_name(f"{folder.name}.lock").open("w"))
            if not lock_file(lock.fileno(), wait=False):
                message = f"another demo is running in {folder}: end it first, with Ctrl-C in its terminal"
                raise FolderError(message)
            _empty(folder)
        except PermissionError as error:
            message = f"{error.filename or folder}: {error.strerror}; give yourself write access to {folder.parent}"
            raise FolderError(message) from error
        yield


def _empty(folder: Path) -> None:
    """Empty the folder, unless a broker runs in it: a user may look at what the last run has learned."""
    directory = folder / BROKER
    lock = DirectoryLock(directory)
    if directory.is_dir() and not lock.acquire():
        holder = lock.holder()
        message = (
            f"a broker runs in {directory}{f' ({holder})' if holder else ''}, on what the last demo has left: "
            "stop it first, with Ctrl-C in its terminal"
        )
        raise FolderError(message)
    try:
        if sys.platform == "win32":
            lock.release()  # there no open file can be removed
        shutil.rmtree(folder)
        folder.mkdir()
    finally:
        lock.release()
