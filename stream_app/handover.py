"""Item pages that this worker commits itself reach its replica in memory; only those of others come through Kafka.

A worker that reads its own broadcast back pays for every record twice. So the tail of item-state stops reading a
partition once it has read exactly what that partition's task in the same worker has committed; from then on the task
hands over its pages after each commit. When the task closes, the tail goes on where the last pages ended.

Nothing is missed and nothing goes back: commits of a task follow each other, and whether one of them goes in memory is
decided under a lock, together with noting how far both sides are. A task that closes while its pages are on their way
only makes the tail read them once more.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.pages import Pages


class Handover:
    """Who brings a partition's pages to the replica: the tail, or the task in this worker.

    Parameters
    ----------
    apply
        Takes over pages.
    """

    def __init__(self, apply: Callable[[Pages], None]) -> None:
        self._apply = apply
        self._lock = Lock()
        self._open: set[int] = set()
        self._committed: dict[int, int] = {}
        self._read: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self._released: dict[int, int] = {}

    def opened(self, partition: int) -> None:
        """Note that this worker's task for a partition runs."""
        with self._lock:
            self._open.add(partition)

    def closed(self, partition: int) -> None:
        """Note that it no longer does: the tail must go on."""
        with self._lock:
            self._open.discard(partition)
            self._committed.pop(partition, None)
            offset = self._taken.pop(partition, None)
            if offset is not None:
                self._released[partition] = self._read[partition] = offset

    def settled(self, partition: int, offset: int) -> bool:
        """Note a commit whose last changelog record is the one before ``offset``.

        Returns
        -------
        bool
            Whether its pages go in memory: :meth:`apply` must follow before the next commit.
        """
        with self._lock:
            if partition not in self._open:
                return False
            self._committed[partition] = offset
            if partition in self._taken:
                return True
            if self._read.get(partition) == offset:
                self._taken[partition] = offset
            return False

    def apply(self, partition: int, pages: Pages, offset: int) -> None:
        """Bring the pages of a commit to the replica; called in the replica's thread."""
        self._apply(pages)
        with self._lock:
            if partition in self._taken:
                self._taken[partition] = offset

    def note_read(self, partition: int, offset: int) -> None:
        """Note that the tail has applied every record before ``offset``."""
        with self._lock:
            self._read[partition] = offset
            if partition in self._open and self._committed.get(partition) == offset:
                self._taken[partition] = offset

    @property
    def taken(self) -> frozenset[int]:
        """Partitions that the tail must not read."""
        with self._lock:
            return frozenset(self._taken)

    @property
    def positions(self) -> dict[int, int]:
        """Offset after the last record that the replica has, of the partitions that the tail must not read."""
        with self._lock:
            return dict(self._taken)

    def take_released(self) -> dict[int, int]:
        """Return the partitions that the tail must read again since the last call, and from which offset."""
        with self._lock:
            released, self._released = self._released, {}
            return released
