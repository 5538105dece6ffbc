"""Pages that a local store has taken and not yet handed to RocksDB: of one written many times only the last goes there.

A page of an active user or of a popular item is written at nearly every commit. RocksDB would keep each of its versions
in memory until its table goes to disk, and ``rocksdict`` holds the interpreter's lock while it writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.codec import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.pages import Pages

MAX_TAKEN_BYTES = 4 << 20
"""Of pages taken since the last ones went to disk, repetitions counted: a crash costs reading so much of the changelog
again, or twice that while they are on their way."""
_ENTRY_BYTES = 128
"""What a page takes in memory besides its bytes, here and in RocksDB's table."""


class WaitingPages:
    """Pages by key, the newest of each; None where a page was removed."""

    def __init__(self) -> None:
        self._pages: dict[bytes, bytes | None] = {}
        self._n_taken = 0

    @property
    def is_full(self) -> bool:
        """Whether they should go to RocksDB, and to disk, now."""
        return self._n_taken >= MAX_TAKEN_BYTES

    def take(self, pages: Pages) -> None:
        """Add pages; each replaces an earlier one with its key."""
        for block, (keys, values) in zip(pages.blocks, pages.bytes_of_blocks(), strict=True):
            self._pages.update(zip(keys, values, strict=True))
            self._n_taken += len(keys) * (_ENTRY_BYTES + KEY_BYTES + block.values.shape[1])
        for key, page in pages.singles:
            self._pages[key] = page
            self._n_taken += _ENTRY_BYTES + len(key) + len(page or b"")

    def find(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], list[int]]:
        """Return the page of each key, None where there is none, and the indices of the keys that do not wait here."""
        waiting = self._pages
        return [waiting.get(key) for key in keys], [k for k, key in enumerate(keys) if key not in waiting]

    def sorted_items(self) -> list[tuple[bytes, bytes | None]]:
        """Return all that wait in the order of their keys, in which RocksDB takes them soonest."""
        return sorted(self._pages.items())

    def clear(self) -> None:
        """Forget them: they are in RocksDB."""
        self._pages.clear()
        self._n_taken = 0
