"""Measures of predicted ratings with River's metrics: of the stars themselves, and of liked (four and more) or not."""

from __future__ import annotations

from typing import Any, Final

from river import metrics

from stream_app.evaluation.protocol import LIKED_STARS

_THRESHOLDS: Final = 81
"""Of the ROC: steps of a twentieth of a star."""
_FEWEST, _MOST = 1.0, 5.0


class RatingMeasures:
    """Prequential measures of one model's predicted ratings."""

    def __init__(self) -> None:
        self._n = 0
        self._stars: dict[str, Any] = {"mae": metrics.MAE(), "mse": metrics.MSE(), "rmse": metrics.RMSE()}
        self._liked: dict[str, Any] = {
            "accuracy": metrics.Accuracy(),
            "precision": metrics.Precision(),
            "recall": metrics.Recall(),
            "f1": metrics.F1(),
        }
        self._roc = metrics.ROCAUC(n_thresholds=_THRESHOLDS)

    def add(self, stars: float, predicted: float) -> None:
        """Add a rating and what was predicted before it was learned, both in stars."""
        self._n += 1
        for metric in self._stars.values():
            metric.update(stars, predicted)
        liked = stars >= LIKED_STARS
        for metric in self._liked.values():
            metric.update(liked, predicted >= LIKED_STARS)
        self._roc.update(liked, {True: (predicted - _FEWEST) / (_MOST - _FEWEST)})

    def summary(self) -> dict[str, float] | None:
        """Return all measures by name, and the number of ratings; None before the first."""
        if not self._n:
            return None
        named = {**self._stars, **self._liked, "roc_auc": self._roc}
        return {"n": self._n, **{name: round(float(metric.get()), 6) for name, metric in named.items()}}
