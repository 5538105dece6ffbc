"""River's matrix factorizations: they learn stars, or where there are none, positives as 1 and random items as 0."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from river import optim, reco

from stream_app.evaluation.baselines.popularity import CountedOrder
from stream_app.evaluation.protocol import is_positive
from stream_app.records.event import FEWEST_STARS, MOST_STARS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.evaluation.history import Before, UserHistory
    from stream_app.records import Event

N_FACTORS: Final = 32
FUNK_RATE: Final = 0.01
N_POPULAR: Final = 200
"""Most popular items among the candidates; the others are all items of the user."""
N_NEGATIVES: Final = 2
"""Random items learned as 0 for each positive without stars."""

_RIVER_SEEDS: Final = 0xFFFFFFFF
"""River's initializers take seeds of 32 bits: larger ones are cut."""


class RiverFactors:
    """Ranks candidates by a model of ``river.reco``.

    Parameters
    ----------
    model
        A model with ``learn_one(user, item, y)`` and ``predict_one(user, item)``.
    seed
        Of the negatives.
    """

    def __init__(self, model: Any, seed: int) -> None:
        self._model = model
        self._random = random.Random(seed)  # noqa: S311 - negatives, no secrets
        self._popular = CountedOrder()
        self._known: list[int] = []
        self._seen: set[int] = set()

    def rank(self, user_id: str, user: UserHistory, before: Before, time_ms: int) -> Iterator[int]:
        """Yield the user's items and the popular ones by predicted value; of equals the smaller number leads."""
        del before, time_ms
        candidates = {item for item, _ in zip(self._popular, range(N_POPULAR), strict=False)} | user.items
        items = sorted(candidates & self._seen)
        if items and user_id not in self._model.u_latents:  # River would draw factors here, and others from then on
            yield from (item for item in self._popular if item in self._seen)
        elif items:
            scores = self._scores(user_id, items)
            yield from (items[k] for k in np.argsort(-scores, kind="stable").tolist())

    def _scores(self, user_id: str, items: list[int]) -> np.ndarray:
        """Return what River's ``predict_one`` would of items that it has learned, less what is the same for all."""
        model = self._model
        scores: np.ndarray = np.array([model.i_latents[item] for item in items]) @ model.u_latents[user_id]
        biases = getattr(model, "i_biases", None)
        return scores if biases is None else scores + np.array([biases[item] for item in items])

    def learn(self, event: Event, item: int, user: UserHistory) -> None:
        """Learn a rating as its stars, any other positive as 1 with random items as 0."""
        del user
        if item not in self._seen:
            self._seen.add(item)
            self._known.append(item)
        if is_positive(event):
            self._popular.add(item)
        if event.type == "rating":
            self._model.learn_one(event.user_id, item, event.value)
        elif is_positive(event):
            self._model.learn_one(event.user_id, item, 1.0)
            for _ in range(N_NEGATIVES):
                self._model.learn_one(event.user_id, self._random.choice(self._known), 0.0)

    def forget(self, user_id: str) -> None:
        """Erase a user's bias and factors."""
        for rows in (getattr(self._model, "u_biases", {}), self._model.u_latents):
            rows.pop(user_id, None)

    def stars(self, event: Event, item: int) -> float:
        """Predict the value of a rating, kept within the scale."""
        stars = float(self._model.predict_one(event.user_id, item))
        return min(max(stars, FEWEST_STARS), MOST_STARS)


def biased_mf(seed: int) -> RiverFactors:
    """Return River's BiasedMF with its own rates and 32 factors."""
    return RiverFactors(reco.BiasedMF(n_factors=N_FACTORS, seed=seed & _RIVER_SEEDS), seed)


def funk_mf(seed: int) -> RiverFactors:
    """Return River's FunkMF with 32 factors, and a tenth of its own rate, at which it diverges on stars."""
    model = reco.FunkMF(n_factors=N_FACTORS, optimizer=optim.SGD(FUNK_RATE), seed=seed & _RIVER_SEEDS)
    return RiverFactors(model, seed)
