"""What the partitions of one worker learn of ranking, brought together: each takes the mean of all after its commits.

A partition's rankers (:data:`operators.weights.GLOBALS`) learn from its own users. That is a part of the events, and
less the more partitions there are. Weights that learned from different events are worth most as their mean [1]_: each
partition goes on from there with its own events. What an event moves is then a share of a longer step, made where
fewer events are known, so that all together learn about as one that sees everything. The Newton matrices, which say how
long a step is, stay what each partition has: an alarm of its drift detector makes its own steps longer, and no others.

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

from operators.params import LearnParams
from operators.weights import GLOBALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.arrays import Floats, Rows

LEAST_EVENTS, PER_MEMBER = 64, 16
"""Positive events that a partition learns between two exchanges at the least, and for each member.

An exchange takes time for each member, so that what exchanges take of an event's time does not hang on their number.
"""
MOST_EXPERIENCE: Final = int(LearnParams().blend_memory)
"""Positive events after which more of them make a partition's word no weightier; the blend's window of forgetting."""
BEGINNER: Final = 0.1
"""A partition that knows less than this share of what another one knows takes over how sure that one is, too."""
RANKING: Final = (
    "blend", "category", "network", "network_sq", "network_out", "network_out_sq", "network_category",
    "network_category_sq", "mean_network", "mean_network_out",
)  # fmt: skip
"""Weights that every positive event may teach."""
SHARED: Final = {"ranking": RANKING, "reaction": ("reaction",), "discovery": ("discovery",)}
"""Fields of which the mean is taken, by what they are learned from: events; reactions to slates; first times."""
_OWN: Final = ("ring", "ring_n", "draws")
_TAKEN_OVER: Final = tuple(name for name in GLOBALS.names or () if name not in _OWN and not name.endswith("_pending"))
"""What a beginner takes over: all but what a partition has seen, and the gradients of a step that is still to come."""


class _Told:
    """What a partition had learned at a commit.

    Parameters
    ----------
    weights
        A copy.
    n_new
        Positive events since it told the last time.
    """

    def __init__(self, weights: Rows, n_new: int) -> None:
        self.weights, self.n_new = weights, n_new
        self.n = int(weights["ring_n"][0])
        self.flat = {model: _flat(weights, names) for model, names in SHARED.items()}
        self.is_finite = all(bool(np.isfinite(numbers).all()) for numbers in self.flat.values())
        self.experience = min(self.n, MOST_EXPERIENCE)
        self.known = {
            "ranking": float(self.experience),
            "reaction": _information(weights["reaction_gram"][0]),
            "discovery": _information(weights["discovery_gram"][0]),
        }


@dataclass(slots=True)
class _Member:
    """A partition as the others know it, and what it has taken of them."""

    told: _Told
    taken: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By partition: how many events it had learned when it told what was taken last, and how often that was taken."""


class SharedRankers:
    """The rankers of the partitions that a worker has, as of their last commits; safe to use from several threads."""

    def __init__(self) -> None:
        self._members: dict[int, _Member] = {}
        self._lock = Lock()

    def exchange(self, partition: int, weights: Rows) -> None:
        """Tell what a partition has committed, and give it the weighted mean of all.

        A partition counts by the events it has learned since it told the last time, times what it knows: positive
        events in all, or the information of what reactions and first times taught. One that has just begun takes over
        what the others know and changes nothing of it. Who has told nothing new counts half as much each time, so that
        a partition without traffic holds nobody back.

        Parameters
        ----------
        partition
            Its number.
        weights
            What it has learned, shape ``(1,)``, dtype :data:`operators.weights.GLOBALS`; overwritten if there is
            anybody else, and it has learned enough since the last time (:data:`LEAST_EVENTS`). Weights that are not
            finite are not told.
        """
        n = int(weights["ring_n"][0])
        with self._lock:
            member = self._members.get(partition)
            n_members = len(self._members) + (member is None)
            n_new, least = _n_new(n, member, n_members)
            if n_new < least:
                return
            told = _Told(weights.copy(), n_new)
            if not told.is_finite:
                return
            if member is None:
                member = self._members[partition] = _Member(told)
            member.told = told
            all_told = [(told, 0)]
            for number, other in self._members.items():
                if number != partition:
                    all_told.append((other.told, _times_taken(member, number, other.told)))
        _take_over(weights, told, [one for one, _ in all_told])
        for model, names in SHARED.items():
            counted = [(one, one.n_new * one.known[model] * 0.5**times) for one, times in all_told]
            _take_mean(weights, model, names, told, counted)

    def leave(self, partition: int) -> None:
        """Forget a partition that the worker has no longer."""
        with self._lock:
            self._members.pop(partition, None)
            for member in self._members.values():
                member.taken.pop(partition, None)


def _information(gram: Floats) -> float:
    """Return the sum of the diagonal of a lower triangle that is stored row by row."""
    n = int(np.sqrt(2 * gram.size))
    k = np.arange(n)
    return float(gram[k * (k + 3) // 2].sum())


def _flat(weights: Rows, names: Iterable[str]) -> Floats:
    """Return the numbers of some fields, one field after another."""
    return np.concatenate([weights[name].ravel() for name in names])


def _n_new(n: int, member: _Member | None, n_members: int) -> tuple[int, int]:
    """Return how many events are new, and how many there must be; few count if nothing was told, or it begins anew."""
    n_before = member.told.n if member is not None else None
    if n_before is None or n < n_before:
        return min(n, LEAST_EVENTS), LEAST_EVENTS
    return n - n_before, max(LEAST_EVENTS, PER_MEMBER * n_members)


def _times_taken(member: _Member, partition: int, told: _Told) -> int:
    """Return how often a member has taken what a partition tells, and note that it takes it once more."""
    n, times = member.taken.get(partition, (-1, 0))
    times = times + 1 if n == told.n else 0
    member.taken[partition] = told.n, times
    return times


def _take_over(weights: Rows, told: _Told, everybody: Iterable[_Told]) -> None:
    """Give a beginner what the most experienced one knows, with its matrices: else its steps would be too long."""
    most = max(everybody, key=lambda one: one.experience)
    if told.experience < BEGINNER * most.experience:
        for name in _TAKEN_OVER:
            weights[name] = most.weights[name]


def _take_mean(weights: Rows, model: str, names: Iterable[str], own: _Told, counted: list[tuple[_Told, float]]) -> None:
    shares = [(told, share) for told, share in counted if share > 0.0]
    if all(told is own for told, _ in shares):  # nothing changes, not even a digit
        return
    total = sum(share for _, share in shares)
    mean = np.zeros_like(own.flat[model])
    for told, share in shares:
        mean += np.float32(share / total) * told.flat[model]
    start = 0
    for name in names:
        end = start + weights[name].size
        weights[name] = mean[start:end].reshape(weights[name].shape)
        start = end
