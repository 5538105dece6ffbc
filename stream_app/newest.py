"""The newest committed slates of a user task, kept ready for HTTP lookups."""

from __future__ import annotations


class NewestSlates:
    """The slates that were published last, by user id, at most so many.

    :meth:`stage` and :meth:`commit` are called by the task's thread, :meth:`get` by any: it does no more than look
    into one dictionary. What is staged shows when its transaction is committed, and is dropped with the processor when
    it is not.

    Parameters
    ----------
    capacity
        Slates kept; those that were published longest ago go first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._slates: dict[str, bytes] = {}
        self._staged: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._slates)

    def get(self, user_id: str) -> bytes | None:
        """Return a user's newest committed slate, byte for byte as published, or None if it is not kept."""
        return self._slates.get(user_id)

    def stage(self, user_id: str, slate: bytes | None) -> None:
        """Put down a user's slate of the present interval; None erases the user."""
        self._staged[user_id] = slate

    def commit(self) -> None:
        """Make what was staged the newest."""
        for user_id, slate in self._staged.items():
            self._slates.pop(user_id, None)
            if slate is not None:
                self._slates[user_id] = slate
        self._staged.clear()
        while len(self._slates) > self._capacity:
            del self._slates[next(iter(self._slates))]
