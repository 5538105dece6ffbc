"""Prequential quality of a running task with River: hit rate of past slates, loss of the blend, drift of that loss."""

import math
from typing import Any

import numpy as np
from river import drift, stats

SMOOTHING = 0.01
"""Weight of the newest observation in the exponential means."""


class OnlineQuality:
    """Running means of what the task predicted before it learned, and an ADWIN detector on the loss.

    References
    ----------
    .. [1] Bifet, Gavaldà (2007), SDM, "Learning from time-changing data with adaptive windowing".
    """

    def __init__(self) -> None:
        self._hits = stats.EWMean(SMOOTHING)
        self._loss = stats.EWMean(SMOOTHING)
        self._drift: Any = drift.ADWIN(delta=1e-4)
        self.n_drifts = 0

    def update(self, losses: np.ndarray, hits: np.ndarray) -> None:
        """Add a batch.

        Parameters
        ----------
        losses
            Log-losses of the blend in nats; NaN where it made no step.
        hits
            Per positive event, whether its item was on the user's last slate.
        """
        if hits.size:
            self._hits.update(float(hits.mean()))
        known = losses[np.isfinite(losses)]
        if known.size:
            mean = float(known.mean())
            self._loss.update(mean)
            self._drift.update(mean)
            self.n_drifts += int(self._drift.drift_detected)

    def summary(self) -> dict[str, float]:
        """Return hit rate, loss in nats and drift alarms so far; NaN becomes 0 before the first event."""
        hit_rate, loss = self._hits.get(), self._loss.get()
        return {
            "hit_rate": hit_rate if math.isfinite(hit_rate) else 0.0,
            "log_loss": loss if math.isfinite(loss) else 0.0,
            "n_drifts": float(self.n_drifts),
        }
