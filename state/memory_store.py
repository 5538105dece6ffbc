"""The local store in a dict, for tests, for an evaluation and for readers that keep nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.store import check_key, check_position

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.store import Origin


class MemoryPageStore:
    """A :class:`~state.store.Store` whose pages end with the process."""

    def __init__(self) -> None:
        self._pages: dict[bytes, bytes] = {}
        self._position: int | None = None
        self._checkpoint: bytes | None = None
        self._origin: Origin | None = None

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
        """Return the page of each key, in the order of ``keys``; None where there is none."""
        return [self._pages.get(key) for key in keys]

    def write(
        self,
        pages: Iterable[tuple[bytes, bytes | None]],
        *,
        position: int,
        checkpoint: bytes | None,
        origin: Origin | None = None,
    ) -> None:
        """Write pages, position, checkpoint and origin, all or nothing; see :meth:`state.store.PageStore.write`."""
        check_position(position)
        changes = dict(pages)
        for key in changes:
            check_key(key)
        for key, page in changes.items():
            if page is None:
                self._pages.pop(key, None)
            else:
                self._pages[key] = page
        self._position = position
        self._checkpoint = self._checkpoint if checkpoint is None else checkpoint
        self._origin = self._origin if origin is None else origin

    def close(self) -> None:
        """Do nothing: the pages stay."""
