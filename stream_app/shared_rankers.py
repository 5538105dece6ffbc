"""What the partitions of one worker learn of ranking, brought together: each takes the mean of all after its commits.

A partition's rankers (:data:`operators.arrays.GLOBALS`) learn from its own users. That is a part of the events, and
less the more partitions there are. Weights that learned from different events are worth most as their mean [1]_: each
partition goes on from there with its own events. What an event moves is then a share of a longer step, made where
fewer events are known, so that all together learn about as one that sees everything.

Only what was committed is shared. So a mean holds nothing that would be learned again after a crash, and what a
partition took becomes part of its own state with its next commit.

References
----------
.. [1] McMahan et al. (2017), AISTATS, "Communication-efficient learning of deep networks from decentralized data".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np

from operators.arrays import GLOBALS

if TYPE_CHECKING:
    from state.arrays import Rows

LEAST_EVENTS: Final = 64
"""Positive events that a partition learns between two exchanges, at the least: fewer move too little."""
MOST_EXPERIENCE: Final = 200_000
"""Positive events after which more of them make a partition's word no weightier; the blend's window of forgetting."""
_OWN: Final = ("ring", "ring_n", "draws")
"""Fields that say what a partition has seen: no weights. Pending gradients of its next step are its own, too."""
SHARED: Final = tuple(name for name in GLOBALS.names or () if name not in _OWN and not name.endswith("_pending"))


@dataclass(frozen=True, slots=True)
class _Told:
    """What a partition had learned at a commit."""

    weights: Rows
    n_new: int
    """Positive events since the commit before."""

    @property
    def experience(self) -> int:
        return min(int(self.weights["ring_n"][0]), MOST_EXPERIENCE)


@dataclass(slots=True)
class _Member:
    """A partition as the others know it, and what it knows of them."""

    told: _Told
    taken: dict[int, tuple[_Told, int]] = field(default_factory=dict)
    """By partition: what was taken last, and how often."""


class SharedRankers:
    """The rankers of the partitions that a worker has, as of their last commits; safe to use from several threads."""

    def __init__(self) -> None:
        self._members: dict[int, _Member] = {}
        self._lock = Lock()

    def exchange(self, partition: int, weights: Rows) -> None:
        """Tell what a partition has committed, and give it the weighted mean of all.

        A partition counts by the events it has learned since it told the last time, times those that it ever learned:
        one that has just begun takes over what the others know and changes nothing of it. Who has told nothing new
        counts half as much each time, so that a partition without traffic holds nobody back.

        Parameters
        ----------
        partition
            Its number.
        weights
            What it has learned, shape ``(1,)``, dtype :data:`operators.arrays.GLOBALS`; :data:`SHARED` is overwritten
            if there is anybody else, and it has learned :data:`LEAST_EVENTS` since the last time.
        """
        n = int(weights["ring_n"][0])
        with self._lock:
            member = self._members.get(partition)
            n_new = _n_new(n, member)
            if n_new < LEAST_EVENTS:
                return
            told = _Told(weights.copy(), n_new)
            if member is None:
                member = self._members[partition] = _Member(told)
            member.told = told
            counted = [(told, float(told.n_new) * told.experience)]
            for number, other in self._members.items():
                if number != partition:
                    before, times = member.taken.get(number, (None, 0))
                    times = times + 1 if before is other.told else 0
                    member.taken[number] = other.told, times
                    counted.append((other.told, other.told.n_new * other.told.experience * 0.5**times))
        _take_mean(weights, counted)

    def leave(self, partition: int) -> None:
        """Forget a partition that the worker has no longer."""
        with self._lock:
            self._members.pop(partition, None)
            for member in self._members.values():
                member.taken.pop(partition, None)


def _n_new(n: int, member: _Member | None) -> int:
    """Return how many events are new; of a partition that has told nothing yet, or begins anew, few count as new."""
    n_before = int(member.told.weights["ring_n"][0]) if member is not None else None
    return min(n, LEAST_EVENTS) if n_before is None or n < n_before else n - n_before


def _take_mean(weights: Rows, counted: list[tuple[_Told, float]]) -> None:
    total = sum(share for _, share in counted)
    shares = [(told, share / total) for told, share in counted if share > 0.0]
    if len(shares) < 2:  # noqa: PLR2004  # alone: nothing changes, not even a digit
        return
    for name in SHARED:
        mean = sum(np.float64(share) * told.weights[name] for told, share in shares)
        weights[name] = np.rint(mean) if weights[name].dtype.kind == "u" else mean
