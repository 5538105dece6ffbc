"""Where compiled kernels are kept: a folder of their own for every state of the sources that they were compiled from.

numba keeps a kernel under the file that defines it and looks only at that file when it decides whether the kernel is
still good; a change in a file that it *calls* goes unnoticed, and the old kernel runs. So the folder is named by a
digest of all modules of ``operators`` and ``state`` that hold kernels or are imported by such: another source, another
folder.

``NUMBA_CACHE_DIR``, or else the user's cache folder, holds these folders. The ones not used for longest are removed
when there are more than :data:`KEPT`; a process holds a shared lock on its own for as long as it lives, so that none is
removed under a running one. Where nothing can be written, a temporary folder serves this process alone.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platformdirs import user_cache_path

from state.file_lock import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT: Final = 3
"""Folders of other sources that stay: of another checkout, or of the version before."""
_PREFIX: Final = "kernels-"
_VARIABLE: Final = "NUMBA_CACHE_DIR"
_LOCK: Final = ".in-use"
_COMPILING: Final = ".compiling"
_COMPLETE: Final = ".complete"
_PACKAGES: Final = ("operators", "state")
_KERNELS: Final = re.compile(rb"^from (?:numba|state\.kernel) import", re.MULTILINE)
_IMPORT: Final = re.compile(rb"^\s*(?:from|import)\s+((?:operators|state)\.[\w.]+)", re.MULTILINE)


class KernelCache:
    """The folder that this process reads compiled kernels from.

    Parameters
    ----------
    base
        Folder of all of them.
    digest
        Of the sources.

    Raises
    ------
    OSError
        The folder cannot be made or written to.
    """

    def __init__(self, base: Path, digest: str) -> None:
        self.folder = base / f"{_PREFIX}{digest}"
        self._lock = self._hold()
        _prune(base, self.folder)

    def _hold(self) -> int:
        """Make the folder and take the shared lock; again if another process has removed it in between."""
        while True:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self.folder / _LOCK
            try:
                number = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue
            lock_file(number, shared=True)
            with suppress(OSError):
                if lock.stat().st_ino == os.fstat(number).st_ino:
                    os.utime(self.folder)
                    return number
            os.close(number)

    @property
    def is_complete(self) -> bool:
        """Whether every kernel of a worker has been compiled into it."""
        return (self.folder / _COMPLETE).exists()

    def note_complete(self) -> None:
        """Take note that it is; without a right to write nothing is noted, and the next start says that it compiles."""
        with suppress(OSError):
            (self.folder / _COMPLETE).touch()

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Let one process compile at a time: the others wait, and then load what it has left."""
        try:
            number = os.open(self.folder / _COMPILING, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # removed by hand: compile all the same
            yield
            return
        try:
            lock_file(number)
            yield
        finally:
            os.close(number)

    def close(self) -> None:
        """Give up the folder: another process may remove it from now on."""
        os.close(self._lock)


def kernel_sources(root: Path) -> dict[str, bytes]:
    """Return what kernels below ``root`` depend on: their modules and those that these import, by name."""
    texts = {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_bytes()
        for package in _PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    wanted: set[str] = set()
    fresh = {name for name, text in texts.items() if _KERNELS.search(text)}
    while fresh:
        wanted |= fresh
        found = {name.decode() for module in fresh for name in _IMPORT.findall(texts[module])}
        fresh = (found & texts.keys()) - wanted
    return {name: texts[name] for name in sorted(wanted)}


def sources_digest(root: Path) -> str:
    """Return the digest of Python, numba, and the names and contents of :func:`kernel_sources`."""
    found = hashlib.sha256(f"{sys.implementation.cache_tag} numba {version('numba')}\n".encode())
    for name, content in kernel_sources(root).items():
        found.update(f"{name} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:20]


def _prune(base: Path, own: Path) -> None:
    """Remove what was not used for longest, as far as no process holds it; without locks nothing is removed."""
    if sys.platform == "win32":
        return
    others: list[tuple[float, Path]] = []
    for folder in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder != own:
                others.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(others, reverse=True)[KEPT:]:
        _remove_unused(folder)


def _remove_unused(folder: Path) -> None:
    with suppress(OSError):
        number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if lock_file(number, wait=False):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(number)


def _base() -> Path:
    """Return the folder of folders; a process started by one of ours finds its parent's own in the environment."""
    chosen = os.environ.get(_VARIABLE)
    if not chosen:
        return user_cache_path("crossaisle") / "kernels"
    path = Path(chosen)
    return path.parent if path.name.startswith(_PREFIX) else path


def open_kernel_cache(base: Path, root: Path) -> KernelCache:
    """Return the cache below ``base`` for the sources below ``root``; a temporary one if that cannot be written."""
    digest = sources_digest(root)
    try:
        cache = KernelCache(base, digest)
    except OSError:
        temporary = Path(tempfile.mkdtemp(prefix="crossaisle-kernels-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        cache = KernelCache(temporary, digest)
    for package in _PACKAGES:
        _share(cache.folder, root / package)
    return cache


def _share(folder: Path, package: Path) -> None:
    """Let all places where the same sources are installed share their kernels: numba has a folder for each place."""
    here = hashlib.sha1(str(package).encode()).hexdigest()  # noqa: S324 - the name that numba gives it, no secret
    with suppress(
        OSError
    ):  # where it cannot be linked, or numba has been there already, each place compiles for itself
        (folder / package.name).mkdir(exist_ok=True)
        (folder / f"{package.name}_{here}").symlink_to(package.name, target_is_directory=True)


def _install() -> KernelCache:
    cache = open_kernel_cache(_base(), Path(__file__).parents[1])
    os.environ[_VARIABLE] = str(cache.folder)
    config = sys.modules.get("numba.core.config")
    if config is not None:  # numba has read the environment already
        config.CACHE_DIR = str(cache.folder)  # type: ignore[attr-defined]  # numba is untyped
    return cache


KERNELS = _install()
"""The cache of this process; made when ``state`` or ``operators`` is first imported, before any kernel is defined."""
