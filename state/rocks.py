"""RocksDB under a store: opens it, and says what it raises in errors that name the directory and the remedy."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any, cast

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteOptions

if TYPE_CHECKING:
    from pathlib import Path

_WRITE_BUFFER_BYTES = 8 << 20
"""Of a table in memory: what a store hands over at a time, which it then has put on disk, fits in it."""
_BLOCK_CACHE_BYTES = 16 << 20
_MAX_INFO_LOG_BYTES = 1 << 20
_BLOOM_BITS_PER_KEY = 10
_MAX_OPEN_FILES = 256
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_LOCKED = re.compile(r"IO error: (lock hold by current process|While lock file)")
_REFUSED = {
    errno.ENFILE: "let this machine open more of them (fs.file-max)",
    errno.EMFILE: "let this process open more of them (ulimit -n, or LimitNOFILE of its service)",
    errno.EACCES: "give the user that the worker runs as the right to read and write there",
    errno.EPERM: "give the user that the worker runs as the right to read and write there",
    errno.EROFS: "make its file system writable, or set CROSSAISLE_STATE_DIR to a directory that is",
    errno.EIO: "look after its disk, or set CROSSAISLE_STATE_DIR to a directory on another one",
}
"""What the system may answer that says nothing against the files, and what to do about it.

What ENFILE is called begins like what EMFILE is called, so it comes first.
"""


class StoreError(Exception):
    """A local store cannot be used; the message names the directory and the remedy."""


class StoreLockedError(StoreError):
    """Another process has the store open."""


class StoreDamagedError(StoreError):
    """The files of the store cannot be read; it may be destroyed and rebuilt from the changelog."""


class StoreFullError(StoreError):
    """The disk of the store is full. What was written before is there; what is committed in the changelog is, too."""


class StoreFormatError(StoreError):
    """The store was written in another format than :data:`state.store.STORE_FORMAT_VERSION`."""


def open_rocks(path: Path) -> Rdict:
    """Open the RocksDB in a directory, both made if they are not there.

    Raises
    ------
    StoreLockedError
        Another process has it open.
    StoreFullError, StoreDamagedError
        The files cannot be made, or not be read.
    StoreError
        The directory cannot be made, or the system does not let this process at the files.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"store {path}: the directory cannot be made ({error}); set CROSSAISLE_STATE_DIR to a directory that can"
        )
        raise StoreError(message) from error
    try:
        db = Rdict(str(path), _options())
        db.set_write_options(_without_log())
    except Exception as error:
        text = str(error)
        if _LOCKED.match(text):
            message = (
                f"store {path}: another process has it open ({text}); give each worker its own CROSSAISLE_STATE_DIR"
            )
            raise StoreLockedError(message) from error
        raise unusable(path, error) from error
    return db


def _without_log() -> WriteOptions:
    options: Any = WriteOptions()  # its stub calls this property a method
    options.disable_wal = True
    return cast("WriteOptions", options)


def _options() -> Options:
    tables = BlockBasedOptions()
    tables.set_block_cache(Cache(_BLOCK_CACHE_BYTES))
    tables.set_bloom_filter(_BLOOM_BITS_PER_KEY, block_based=False)
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_block_based_table_factory(tables)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_paranoid_checks(enabled=True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_open_files(_MAX_OPEN_FILES)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(_MAX_INFO_LOG_BYTES)
    return options


def unusable(path: Path, reason: Exception) -> StoreError:
    """Return the error for what RocksDB raised: it tells a full disk, a refusal and damage apart in words only."""
    if any(words in str(reason) for words in _FULL):
        message = (
            f"store {path}: its disk is full ({reason}); make room, or set CROSSAISLE_STATE_DIR to a directory on "
            "another disk, and start the worker again: what is committed is in the changelog, and nothing is lost"
        )
        return StoreFullError(message)
    for number, remedy in _REFUSED.items():
        if f": {os.strerror(number)}" in str(reason):
            message = f"store {path}: the system refuses its files ({reason}); {remedy}, and start the worker again"
            return StoreError(message)
    return damaged(path, reason)


def damaged(path: Path, reason: object) -> StoreDamagedError:
    """Return the error for files that hold what they should not."""
    message = f"store {path}: its files cannot be used ({reason}); delete it, it will be rebuilt from the changelog"
    return StoreDamagedError(message)
