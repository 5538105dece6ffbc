"""The folder of a demo run: one demo at a time, and empty at its start."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from state.file_lock import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FolderError(Exception):
    """The folder cannot be used. The message ends with the remedy."""


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold the folder for one run, and empty it of what an earlier run has left.

    The system drops the claim with the process, however that ends. On Windows nothing stops a second demo.

    Raises
    ------
    FolderError
        Another demo holds the folder, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            if not lock_file(lock.fileno(), wait=False):
                message = f"another demo is running in {folder}: end it first, with Ctrl-C in its terminal"
                raise FolderError(message)
            shutil.rmtree(folder)
            folder.mkdir()
            yield
    except PermissionError as error:
        message = f"{error.filename or folder}: {error.strerror}; give yourself write access to {folder.parent}"
        raise FolderError(message) from error
