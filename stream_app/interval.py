"""What a user task has gathered since its last commit: whom events touched, rejects, erased pages, names of items."""

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from stream_app.record_size import content_bytes

if TYPE_CHECKING:
    from state.arrays import Int32s
    from stream_app.processor import Output
    from stream_app.records import Event


class Interval:
    """One commit interval.

    Attributes
    ----------
    touched
        User rows with an event, in the order in which they were first touched.
    latest
        Newest event that taught something, and its offset, by user row; ordered by offset. These are due a slate.
    rejects, n_reject_bytes
        Records for the topic of rejects, and how many bytes they have.
    gone
        Keys of pages that were erased.
    names
        Strings behind the ids of items that have no name yet.
    as_of_s
        Time that decayed sums are as of, in seconds since 2000; 0 before the first event. Far newer events move it.
    """

    def __init__(self) -> None:
        self.touched: dict[int, None] = {}
        self.latest: dict[int, tuple[Event, int]] = {}
        self.rejects: list[Output] = []
        self.n_reject_bytes = 0
        self.gone: set[bytes] = set()
        self.names: dict[int, str] = {}
        self.as_of_s = 0

    def note(self, users: "Int32s", taught: np.ndarray, run: "Sequence[tuple[Event, int]]") -> None:
        """Note events.

        Parameters
        ----------
        users
            User row of each, shape ``(n,)``.
        taught
            Positions of those that taught something, rising.
        run
            The events themselves and their offsets.
        """
        self.touched.update(dict.fromkeys(users.tolist()))
        newest = dict(zip(users[taught].tolist(), taught.tolist(), strict=True))
        for row, k in sorted(newest.items(), key=itemgetter(1)):
            self.latest.pop(row, None)
            self.latest[row] = run[k]

    def reject(self, output: "Output") -> None:
        """Note a record for the topic of rejects."""
        self.rejects.append(output)
        self.n_reject_bytes += content_bytes(output.key, output.value, output.headers)

    def take_latest(self) -> "dict[int, tuple[Event, int]]":
        """Return the newest events of the users who are to get a slate, and begin anew."""
        taken, self.latest = self.latest, {}
        return taken

    def erase(self, row: int, keys: Sequence[bytes]) -> None:
        """Note that a user is gone, and which pages went."""
        self.gone.update(keys)
        self.touched.pop(row, None)
        self.latest.pop(row, None)

    def without_gone(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> list[bytes | None]:
        """Return what the store holds under keys, without the pages that this interval erased."""
        if not self.gone:
            return list(values)
        return [None if key in self.gone else value for key, value in zip(keys, values, strict=True)]
