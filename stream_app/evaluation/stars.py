"""Predicts the stars of ratings from what the product has learned. Only evaluations do: a worker publishes no stars.

A worker learns from a rating whether the user liked the item, and forgets the number: nothing of its state is a mean of
stars. So this head keeps the ratings themselves, and reads from the product what ratings alone do not tell: which items
are alike (their learned factors), and what they have in common (category, brand, kind, tags).

The prediction is the mean so far, what the item's and the user's ratings lie above it, and a correction by a Bayesian
linear regression of River over five features:

- both of these offsets, shrunk: a few ratings say little;
- what the user's ratings of *similar* items lay above expectation, weighed by the cube of the cosine of the factors;
- what the user's ratings of items with the same attributes did;
- one.

Each number is from before the rating; the rating is learned right after its prediction.

References
----------
.. [1] Koren (2010), ACM TKDD 4(1), "Factor in the neighbors: scalable and accurate collaborative filtering".
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from river import linear_model

from state.ids import hash_id
from stream_app.records.event import FEWEST_STARS, MOST_STARS

if TYPE_CHECKING:
    from operators.arrays import Entities
    from state.arrays import Floats
    from stream_app.records import Event
    from stream_app.replica import Replica

FIRST_GUESS: Final = 3.5
"""Stars before the first rating of all."""
PRIOR: Final = 5.0
"""Ratings that an offset of 0 counts for: those of an item, of a user, of a user's attribute and of similar items."""
MOST_NEIGHBOURS: Final = 500
"""A user's latest ratings that are looked at for similar items."""
_SHARPNESS: Final = 3
"""Power of the cosine: items that are hardly alike say little, however many they are."""


@dataclass(slots=True)
class Offset:
    """What ratings lie above expectation: their sum and their number."""

    total: float = 0.0
    n: int = 0

    def add(self, stars: float) -> None:
        """Add one."""
        self.total += stars
        self.n += 1

    @property
    def shrunk(self) -> float:
        """Their mean, with :data:`PRIOR` zeros besides."""
        return self.total / (self.n + PRIOR)


@dataclass(slots=True)
class Rater:
    """A user's ratings: their offset, that of each attribute, and the latest ones by id of the item."""

    offset: Offset = field(default_factory=Offset)
    by_attribute: defaultdict[int, Offset] = field(default_factory=lambda: defaultdict(Offset))
    items: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_NEIGHBOURS))
    surprises: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_NEIGHBOURS))
    """Stars above the offsets of item and user at the time."""


class StarsHead:
    """Predicts ratings, each before it is learned.

    Parameters
    ----------
    replica
        The product's items as its users see them; nothing in it is changed.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._all = Offset()
        self._items: defaultdict[int, Offset] = defaultdict(Offset)
        self._raters: dict[str, Rater] = {}
        self._correction = linear_model.BayesianLinearRegression()

    def predict_and_learn(self, event: Event) -> float:
        """Return the stars that a rating was expected to have, 1 to 5, and learn what it had."""
        item, stars = hash_id(event.item_id or ""), event.value or FIRST_GUESS
        rater = self._raters.setdefault(event.user_id, Rater())
        mean = self._all.total / self._all.n if self._all.n else FIRST_GUESS
        of_item, of_user = self._items[item].shrunk, rater.offset.shrunk
        entities = self._replica.entities()
        row = self._replica.table.index.get(item)
        attributes = _attributes(entities, row)
        features = {
            "item": of_item,
            "user": of_user,
            "similar": self._of_similar(rater, entities, row),
            "attributes": _mean_shrunk([rater.by_attribute[a] for a in attributes if a in rater.by_attribute]),
            "one": 1.0,
        }
        expected = mean + of_item + of_user
        predicted = expected + float(self._correction.predict_one(features))
        surprise = stars - expected
        self._correction.learn_one(features, surprise)
        self._all.add(stars)
        self._items[item].add(stars - mean - of_user)
        rater.offset.add(stars - mean - of_item)
        for attribute in attributes:
            rater.by_attribute[attribute].add(surprise)
        rater.items.append(item)
        rater.surprises.append(surprise)
        return min(max(predicted, FEWEST_STARS), MOST_STARS)

    def forget(self, user_id: str) -> None:
        """Erase a user's ratings; what items got of them stays, as in the product."""
        self._raters.pop(user_id, None)

    def _of_similar(self, rater: Rater, entities: Entities, row: int) -> float:
        """Return what the user's ratings of items like this one lay above expectation, 0 where nothing is known."""
        if row < 0 or not rater.items:
            return 0.0
        rows = self._replica.table.index.get_many(np.fromiter(rater.items, np.uint64, len(rater.items)))
        known = rows >= 0
        surprises = np.fromiter(rater.surprises, np.float64, len(rater.surprises))[known]
        targets = entities.headers["target"]
        weights = np.maximum(_cosines(targets[rows[known]], targets[row]), 0.0) ** _SHARPNESS
        return float(weights @ surprises / (weights.sum() + PRIOR))


def _cosines(rows: Floats, row: Floats) -> np.ndarray:
    """Return the cosine of each row with one, float64, shape ``(n,)``."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows).astype(np.float64) * float(row @ row))
    return np.asarray((rows @ row) / np.maximum(lengths, 1e-12))


def _attributes(entities: Entities, row: int) -> list[int]:
    """Return the numbers of what an item has in common with others; the category's is below 0."""
    if row < 0:
        return []
    found = [*entities.serving["attributes"][row].tolist(), *entities.tags[row].tolist()]
    category = int(entities.category[row])
    return [*filter(None, found), *([-1 - category] if category >= 0 else [])]


def _mean_shrunk(offsets: list[Offset]) -> float:
    return sum(offset.shrunk for offset in offsets) / max(len(offsets), 1)
