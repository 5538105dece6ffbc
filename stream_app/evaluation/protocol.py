"""What a model under evaluation is asked for, and what it answers: the one interface of the product and the baselines.

The evaluation itself keeps what truth is (context, what a user had, which categories): a model only hands over lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from stream_app.records import Event

LISTS: Final = ("x", "o", "e", "slate")
"""X: no item of a category in the context. O: no item of the context. E: like X, never had. Slate: as published."""
LIST_SIZE: Final = 10
"""Items of a list at the most."""
LIKED_STARS: Final = 4.0
"""A rating of so many stars or more is a positive."""
POSITIVE_TYPES: Final = frozenset({"purchase", "cart", "favorite"})
"""Event types that are positives whatever their value."""

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """The answer to one scored event, made before the event was learned.

    Attributes
    ----------
    index
        Position of the event in the file, 0-based, rejected records not counted.
    lists
        Item ids per name of :data:`LISTS`, best first, at most :data:`LIST_SIZE` each, no item twice.
    loss
        Log-loss of the event's item among the candidates, in nats; None where it was no candidate.
    scores
        Probabilities of the candidates, shape ``(n,)``, summing to one; None if the model has no probabilities.
    true_at
        Position of the event's item in ``scores``; None where it was no candidate.
    drawn
        The slate with exploration: drawn as the policy does before it knows any reward; None without a policy.
    """

    index: int
    lists: dict[str, list[str]]
    loss: float | None = None
    scores: Floats | None = None
    true_at: int | None = None
    drawn: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Rated:
    """The prediction of one rating, made before the rating was learned.

    Attributes
    ----------
    index
        Position of the event in the file, as in :class:`Scored`.
    stars
        Predicted rating, 1 to 5.
    """

    index: int
    stars: float


@dataclass(slots=True)
class Answers:
    """What a model says of a batch.

    Attributes
    ----------
    scored
        One for each event that was to be scored, in the order of the file.
    rated
        One for each rating, if the model predicts ratings at all; in the order of the file.
    """

    scored: list[Scored] = field(default_factory=list)
    rated: list[Rated] = field(default_factory=list)


class Model(Protocol):
    """A model that is tested, then taught, event by event."""

    name: str
    """Name in tables and of ``--model``."""

    def score_and_learn(self, events: Sequence[Event], first_index: int, scored: Bools) -> Answers:
        """Answer for the events that are to be scored, and learn all of them.

        Parameters
        ----------
        events
            A batch in the order of the file. ``forget`` is among them: it erases the user.
        first_index
            Position of the first of them in the file.
        scored
            Shape ``(len(events),)``: true where lists are wanted, made from what was known BEFORE that event.
        """

    def weights(self) -> dict[str, dict[str, float]]:
        """Return what the model's features weigh now, by head and name of the feature; empty if it has none."""


def is_positive(event: Event) -> bool:
    """Tell whether an event is one that a list should have foreseen."""
    if event.type == "rating":
        return event.value is not None and event.value >= LIKED_STARS
    return event.type in POSITIVE_TYPES
