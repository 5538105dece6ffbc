r"""The local store of one task: pages, changelog position and checkpoint, moved together in one atomic write.

The store is a cache of a task's changelog. It holds every page under the same key and with the same bytes as the
changelog, and three keys of its own. No page key is equal to one of them: a page key has 11 bytes, of which the ninth
tells the kind of page, and no kind is that of ``\x00checkpoint`` there:

=================  ===============================================================================
key                value
=================  ===============================================================================
``\x00position``   ``format_version u8 | position i64``, little endian; position -1 is none
``\x00checkpoint`` the newest checkpoint record of the changelog, byte for byte
``\x00origin``     ``version u8 | as_of_ms i64``, little endian, then the changelog's topic id in ASCII; a store of
                  an older version of crossaisle has none
=================  ===============================================================================

Losing a store costs time only: it is rebuilt from the changelog. So what is written waits in memory
(:mod:`state.waiting`) until it is worth a write to RocksDB, and RocksDB keeps no log of its own: after a crash the
store is what it was when it last went to disk, pages, position and checkpoint together, and the changelog from that
position on is replayed. A store that was closed lacks nothing. What has waited for an hour goes to disk as well: the
changelog does not tell for ever what was removed (:attr:`Origin.as_of_ms`).
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from rocksdict import WriteBatch

from state.pages import Pages
from state.rocks import (
    StoreDamagedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
    damaged,
    open_rocks,
    unusable,
)
from state.waiting import WaitingPages

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from rocksdict import Rdict

__all__ = [
    "STORE_FORMAT_VERSION",
    "Origin",
    "PageStore",
    "Store",
    "StoreDamagedError",
    "StoreError",
    "StoreFormatError",
    "StoreFullError",
    "StoreLockedError",
]

STORE_FORMAT_VERSION = 1

_POSITION_KEY = b"\x00position"
_CHECKPOINT_KEY = b"\x00checkpoint"
_ORIGIN_KEY = b"\x00origin"
_OWN_KEYS = (_POSITION_KEY, _CHECKPOINT_KEY, _ORIGIN_KEY)
_POSITION = struct.Struct("<Bq")
_NO_POSITION = -1
_ORIGIN = struct.Struct("<Bq")
_ORIGIN_VERSION = 1
_WAIT_AT_MOST_MS = 3_600_000


class Origin(NamedTuple):
    """Which changelog a store was filled from, and how new its pages are."""

    topic_id: str | None
    """The broker's id of the changelog, None where it tells none."""
    as_of_ms: int
    """The store lacks nothing of what had been committed by then, in milliseconds since 1970.

    What was removed later is still told by the changelog, until its tombstones are as old as ``delete.retention.ms``.
    """


class Store(Protocol):
    """What a task and its processor need of a store, on disk or in memory."""

    @property
    def position(self) -> int | None:
        """Next changelog offset to read, or None if nothing has been written yet."""

    @property
    def checkpoint(self) -> bytes | None:
        """Newest checkpoint record, byte for byte, or None if there is none yet."""

    @property
    def origin(self) -> Origin | None:
        """What it was filled from, None where that was never noted."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the page of each key, in the order of ``keys``; None where there is none."""

    def write(
        self,
        pages: Iterable[tuple[bytes, bytes | None]],
        *,
        position: int,
        checkpoint: bytes | None,
        origin: Origin | None = None,
    ) -> None:
        """Write pages, position, checkpoint and origin, all or nothing."""

    def close(self) -> None:
        """Release the files. Closing twice is allowed."""


class PageStore:
    """Pages of one task on disk (RocksDB, raw bytes).

    Parameters
    ----------
    path
        Directory of the store; made if it does not exist.

    Raises
    ------
    StoreLockedError
        Another process has the store open.
    StoreFullError, StoreDamagedError
        The files cannot be made, or not be read.
    StoreFormatError
        The store was written in another format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = WaitingPages()
        self._is_behind = False
        self._behind_since_ms: int | None = None
        self._db: Rdict | None = open_rocks(path)
        try:
            self._position, self._checkpoint, self._origin = self._load()
        except StoreError:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """Directory of the store."""
        return self._path

    @property
    def position(self) -> int | None:
        """Next changelog offset to read, or None if nothing has been written yet."""
        return self._position

    @property
    def checkpoint(self) -> bytes | None:
        """Newest checkpoint record, byte for byte, or None if there is none yet."""
        return self._checkpoint

    @property
    def origin(self) -> Origin | None:
        """What it was filled from, None where that was never noted."""
        return self._origin

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the page of each key.

        Parameters
        ----------
        keys
            Page keys; a key may occur more than once.

        Returns
        -------
        list
            One entry per key, in the order of ``keys``; None where there is no such page.

        Raises
        ------
        StoreDamagedError
            A page cannot be read.
        """
        if not keys:
            return []
        db = self._opened()
        pages, absent = self._waiting.find(keys)
        if absent:
            try:
                stored = cast("list[bytes | None]", db.get([keys[k] for k in absent]))
            except Exception as error:
                raise unusable(self._path, error) from error
            for k, page in zip(absent, stored, strict=True):
                pages[k] = page
        return pages

    def batches(self, n: int) -> Generator[dict[bytes, bytes]]:
        """Yield all pages, in the order of their keys, ``n`` at a time.

        The files stay open, and locked, until the generator is exhausted or closed.

        Raises
        ------
        StoreDamagedError
            A page cannot be read.
        """
        self._write_out()
        cursor = self._opened().iter()
        cursor.seek_to_first()
        valid, key, value, step = cursor.valid, cursor.key, cursor.value, cursor.next
        pages: dict[bytes, bytes] = {}
        while valid():
            pages[key()] = value()
            step()
            if len(pages) == n:
                yield _without_own(pages)
                pages = {}
        try:
            cursor.status()
        except Exception as error:
            raise unusable(self._path, error) from error
        yield _without_own(pages)

    def write(
        self,
        pages: Iterable[tuple[bytes, bytes | None]],
        *,
        position: int,
        checkpoint: bytes | None,
        origin: Origin | None = None,
    ) -> None:
        """Take pages, position, checkpoint and origin, all or nothing; they go to disk when enough has come together.

        After a crash there is all of it or nothing, and all that was written before if it is there.

        Parameters
        ----------
        pages
            Key and bytes of each changed page; None as bytes removes the page. The last of several entries with
            the same key counts.
        position
            Next changelog offset to read.
        checkpoint
            Checkpoint record that belongs to the pages; None keeps the one that is there.
        origin
            What the store is filled from, and as of when; None keeps what is there.

        Raises
        ------
        ValueError
            A key is one of the store's own, or the position is negative. Nothing has been written.
        StoreFullError, StoreDamagedError
            The files cannot be written; whether the pages are there is known when the store is opened again.
        """
        check_position(position)
        self._opened()
        pages = pages if isinstance(pages, Pages) else Pages(pages)
        for key, _ in pages.singles:
            check_key(key)
        self._waiting.take(pages)
        self._position = position
        self._checkpoint = self._checkpoint if checkpoint is None else checkpoint
        self._is_behind = True
        waited_ms = 0
        if origin is not None:
            self._origin = origin
            if self._behind_since_ms is None:
                self._behind_since_ms = origin.as_of_ms
            waited_ms = origin.as_of_ms - self._behind_since_ms
        if self._waiting.is_full or waited_ms >= _WAIT_AT_MOST_MS:
            self._write_out()

    def _write_out(self) -> None:
        """Give RocksDB what waits, in one batch, and have it put on disk."""
        if not self._is_behind:
            return
        db, batch = self._opened(), WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, page in self._waiting.sorted_items():
            if page is None:
                delete(key)
            else:
                put(key, page)
        put(_POSITION_KEY, _POSITION.pack(STORE_FORMAT_VERSION, cast("int", self._position)))
        if self._checkpoint is not None:
            put(_CHECKPOINT_KEY, self._checkpoint)
        if self._origin is not None:
            put(_ORIGIN_KEY, _ORIGIN.pack(_ORIGIN_VERSION, self._origin.as_of_ms) + _text(self._origin.topic_id))
        try:
            db.write(batch)
            db.flush(wait=False)
        except Exception as error:
            raise unusable(self._path, error) from error
        self._waiting.clear()
        self._is_behind = False
        self._behind_since_ms = None

    def close(self) -> None:
        """Release the files, also where they can no longer be written: it is a cache. Closing twice is allowed."""
        if self._db is not None:
            with contextlib.suppress(StoreError):
                self._write_out()
            with contextlib.suppress(Exception):
                self._db.close()
            self._db = None

    @staticmethod
    def destroy(path: Path) -> None:
        """Delete the store in ``path``, damaged or not; nothing happens if there is none."""
        if path.exists():
            shutil.rmtree(path)

    def _opened(self) -> Rdict:
        if self._db is None:
            message = f"store {self._path}: it is closed; open it again before using it"
            raise StoreError(message)
        return self._db

    def _load(self) -> tuple[int | None, bytes | None, Origin | None]:
        db = self._opened()
        head, checkpoint, origin = self.get_many(_OWN_KEYS)
        if head is None:
            if db.latest_sequence_number() > 0:
                raise damaged(self._path, "it has pages but no position")
            try:
                db.put(_POSITION_KEY, _POSITION.pack(STORE_FORMAT_VERSION, _NO_POSITION))
            except Exception as error:
                raise unusable(self._path, error) from error
            return None, None, None
        if head[:1] != bytes([STORE_FORMAT_VERSION]):
            message = (
                f"store {self._path}: it was written in format {head[0] if head else None}, this version of crossaisle "
                f"reads format {STORE_FORMAT_VERSION}; delete the directory, it will be rebuilt from the changelog"
            )
            raise StoreFormatError(message)
        if len(head) != _POSITION.size:
            raise damaged(self._path, f"its position has {len(head)} bytes, not {_POSITION.size}")
        _version, position = _POSITION.unpack(head)
        return (None if position == _NO_POSITION else position), checkpoint, _origin_of(origin)


def _text(topic_id: str | None) -> bytes:
    return (topic_id or "").encode("ascii")


def _origin_of(raw: bytes | None) -> Origin | None:
    """Return what a store noted of its origin; None where it is not to be read, as if there were none."""
    if raw is None or len(raw) < _ORIGIN.size or raw[0] != _ORIGIN_VERSION:
        return None
    _version, as_of_ms = _ORIGIN.unpack_from(raw)
    return Origin(raw[_ORIGIN.size :].decode("ascii", "replace") or None, as_of_ms)


def _without_own(entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
    for key in _OWN_KEYS:
        entries.pop(key, None)
    return entries


def check_key(key: bytes) -> None:
    """Refuse a key of the store's own as that of a page."""
    if key in _OWN_KEYS:
        message = f"page key must not be one of the store's own, got {key!r}"
        raise ValueError(message)


def check_position(position: int) -> None:
    """Refuse a negative position."""
    if position < 0:
        message = f"position must be a changelog offset of at least 0, got {position}"
        raise ValueError(message)
