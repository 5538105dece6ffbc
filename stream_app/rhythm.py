"""When a task commits: one interval after the commit before began, and not all the time. Times are arguments."""

from __future__ import annotations

from typing import Final

GATHER_SHARE: Final = 0.1
"""What comes within this share of a commit interval after the first record is committed with it."""
REST_SHARE: Final = 0.5
"""A task rests for this share of an interval after a commit, and for as long as that took, up to an interval."""


class Rhythm:
    """The commits of one task. Times are in seconds of one monotonic clock.

    Parameters
    ----------
    interval_s
        From the begin of one commit to that of the next.
    longest_s
        A stretched interval is no longer than this, nor is the interval itself.

    Attributes
    ----------
    due_s
        When the next commit is due; None while nothing has been read since the last one.
    """

    def __init__(self, interval_s: float, longest_s: float) -> None:
        self._interval_s = interval_s
        self._longest_s = longest_s
        self._begun_s = self._ended_s = self._read_s = float("-inf")
        self.due_s: float | None = None

    def note_read(self, now_s: float, stretch: int) -> None:
        """Note that something is to be committed; call it again whenever ``stretch`` may have changed.

        A task that is no longer under load sends slates at once. They begin a transaction, which must not stay open for
        as long as the load had stretched the interval: so a commit comes sooner when the load ends, and never later.
        """
        if self.due_s is None:
            self._read_s = now_s
        interval_s = min(self._interval_s * stretch, self._longest_s)
        took_s = self._ended_s - self._begun_s if self._ended_s > self._begun_s else 0.0
        rest_s = max(REST_SHARE * interval_s, min(took_s, interval_s))
        due_s = max(self._read_s + GATHER_SHARE * interval_s, self._begun_s + interval_s, self._ended_s + rest_s)
        self.due_s = due_s if self.due_s is None else min(self.due_s, due_s)

    def begin(self, now_s: float) -> None:
        """Note that a commit begins."""
        self._begun_s, self.due_s = now_s, None

    def end(self, now_s: float) -> None:
        """Note that it has ended."""
        self._ended_s = now_s
