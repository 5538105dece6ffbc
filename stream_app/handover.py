"""Item pages that this worker commits itself reach its replica in memory; only those of others come through Kafka.

A worker that reads its own broadcast back pays for every record twice. So the tail of item-state stops reading a
partition as soon as it has read no less than that partition's task in the same worker had committed at some moment;
what the task has committed since then, and from then on, it hands over. A task that opens has committed all that there
is: a worker that owns a partition from its start on never reads what it writes there. When the task closes, the tail
goes on where the last pages ended.

Nothing is missed and nothing goes back: commits of a task follow each other, and whether one of them goes in memory is
decided under a lock, together with noting how far both sides are. A task that closes while its pages are on their way
only makes the tail read them once more.

A position is an offset of the log, where a commit is its records and, after them, the mark of its transaction. A tail
that has read all records of a commit may or may not have read that mark.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from state.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable

N_KEPT: Final = 4
"""Commits kept per partition that the tail still reads: with the next batch that it reads it meets one of them."""


class _Commit(NamedTuple):
    """Pages of a commit; who has read as far as ``offset``, or up to ``marked``, has all of it and nothing later."""

    offset: int
    marked: int
    pages: Pages


class Handover:
    """Who brings a partition's pages to the replica: the tail, or the task in this worker.

    Parameters
    ----------
    apply
        Takes over pages; called in the replica's thread.
    """

    def __init__(self, apply: Callable[[Pages], None]) -> None:
        self._apply = apply
        self._lock = Lock()
        self._recent: dict[int, deque[_Commit]] = {}
        self._read: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self._released: dict[int, int] = {}

    def opened(self, partition: int, end: int) -> None:
        """Note that this worker's task for a partition runs, and that its log ended at ``end`` when it began."""
        with self._lock:
            self._recent[partition] = deque([_Commit(end, end, Pages())], maxlen=N_KEPT)
            if self._read.get(partition, 0) == end:
                self._taken[partition] = end

    def closed(self, partition: int) -> None:
        """Note that it no longer does: the tail must go on."""
        with self._lock:
            self._recent.pop(partition, None)
            offset = self._taken.pop(partition, None)
            if offset is not None:
                self._released[partition] = self._read[partition] = offset

    def settled(self, partition: int, offset: int, pages: Pages) -> bool:
        """Note a commit whose last changelog record is the one before ``offset``.

        Returns
        -------
        bool
            Whether its pages go in memory: :meth:`apply` must follow before the next commit.
        """
        with self._lock:
            recent = self._recent.get(partition)
            if recent is None:
                return False
            if partition in self._taken:
                return True
            recent.append(_Commit(offset, offset + 1, pages))
            if offset <= self._read.get(partition, 0) <= offset + 1:
                self._taken[partition] = offset
            return False

    def apply(self, partition: int, pages: Pages, offset: int) -> None:
        """Bring the pages of a commit to the replica; called in the replica's thread."""
        self._apply(pages)
        with self._lock:
            if partition in self._taken:
                self._taken[partition] = max(offset, self._taken[partition])

    def meeting(self, partition: int, begin: int, end: int) -> int | None:
        """Return where the tail should stop within the records from offset ``begin`` on to the one before ``end``.

        None if there is no place among them where the task could take over.
        """
        with self._lock:
            found = [commit.offset for commit in self._recent.get(partition, ()) if begin < commit.offset <= end]
        return max(found, default=None)

    def note_read(self, partition: int, offset: int) -> None:
        """Note that the tail has applied every record before ``offset``; called in the replica's thread.

        Where the task can take over, the pages that it has committed since are applied.
        """
        with self._lock:
            self._read[partition] = offset
            recent = self._recent.get(partition, ())
            met = [commit.offset for commit in recent if commit.offset <= offset <= commit.marked]
            if not met or partition in self._taken:
                return
            self._taken[partition] = met[-1]
            later = [commit for commit in recent if commit.offset > met[-1]]
        for commit in later:
            self.apply(partition, commit.pages, commit.offset)

    @property
    def taken(self) -> frozenset[int]:
        """Partitions that the tail must not read, until it has gone back to where they were released."""
        with self._lock:
            return frozenset((*self._taken, *self._released))

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
