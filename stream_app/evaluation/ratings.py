"""Measures of predicted ratings with River's metrics: of the stars themselves, and of liked (four and more) or not."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from river import metrics

from stream_app.evaluation.measures import mean_and_error
from stream_app.evaluation.protocol import LIKED_STARS

if TYPE_CHECKING:
    from stream_app.evaluation.measures import Int32s
    from stream_app.evaluation.tally import Floats

_THRESHOLDS: Final = 81
"""Of the ROC: steps of a twentieth of a star."""
_FEWEST, _MOST = 1.0, 5.0


class RatingMeasures:
    """Prequential measures of one model's predicted ratings."""

    def __init__(self) -> None:
        self._n = 0
        self._errors = array("d")
        self._users = array("i")
        self._user_numbers: dict[str, int] = {}
        self._stars: dict[str, Any] = {"mae": metrics.MAE(), "mse": metrics.MSE(), "rmse": metrics.RMSE()}
        self._liked: dict[str, Any] = {
            "accuracy": metrics.Accuracy(),
            "precision": metrics.Precision(),
            "recall": metrics.Recall(),
            "f1": metrics.F1(),
        }
        self._roc = metrics.ROCAUC(n_thresholds=_THRESHOLDS)
        self._n_liked = self._n_foreseen = 0

    def add(self, user_id: str, stars: float, predicted: float) -> None:
        """Add a user's rating and what was predicted before it was learned, both in stars."""
        self._n += 1
        self._errors.append(predicted - stars)
        self._users.append(self._user_numbers.setdefault(user_id, len(self._user_numbers)))
        for metric in self._stars.values():
            metric.update(stars, predicted)
        liked, foreseen = stars >= LIKED_STARS, predicted >= LIKED_STARS
        self._n_liked += liked
        self._n_foreseen += foreseen
        for metric in self._liked.values():
            metric.update(liked, foreseen)
        self._roc.update(liked, {True: (predicted - _FEWEST) / (_MOST - _FEWEST)})

    def errors(self) -> Floats:
        """Return what was predicted less the rating, in stars, per rating."""
        return np.array(self._errors, np.float64)

    def users(self) -> Int32s:
        """Return the number of each rating's user, shape of :meth:`errors`."""
        return np.array(self._users, np.int32)

    def summary(self) -> dict[str, float | None] | None:
        """Return all measures by name, the number of ratings, and standard errors over users; None before the first.

        ``mae_se`` and ``mse_se`` are None with too few users for one; ``precision``, ``recall``, ``f1`` and ``roc_auc``
        where no rating was predicted as liked, none is, neither, or not some of both kinds are.
        """
        if not self._n:
            return None
        named = {**self._stars, **self._liked, "roc_auc": self._roc}
        errors, users = self.errors(), self.users()
        undefined = {
            "precision": not self._n_foreseen,
            "recall": not self._n_liked,
            "f1": not self._n_foreseen and not self._n_liked,
            "roc_auc": self._n_liked in (0, self._n),
        }
        return {
            "n": self._n,
            **{name: None if undefined.get(name) else round(float(metric.get()), 6) for name, metric in named.items()},
            "mae_se": mean_and_error(np.abs(errors), users)["se"],
            "mse_se": mean_and_error(errors**2, users)["se"],
        }
