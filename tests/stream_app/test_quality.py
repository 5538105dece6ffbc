"""Prequential quality: means that follow the data, and an alarm when the loss jumps."""

from __future__ import annotations

import numpy as np

from stream_app.quality import OnlineQuality


def test_nothing_yet_is_zero() -> None:
    """Before the first event all numbers are 0, and NaN losses change nothing."""
    quality = OnlineQuality()
    quality.update(np.array([np.nan, np.nan], np.float32), np.array([], bool))
    assert quality.summary() == {"hit_rate": 0.0, "log_loss": 0.0, "n_drifts": 0.0}


def test_means_follow_the_data() -> None:
    """Hit rate and loss move to what is fed."""
    quality = OnlineQuality()
    for _ in range(800):
        quality.update(np.array([2.0, np.nan], np.float32), np.array([True, False]))
    summary = quality.summary()
    assert abs(summary["hit_rate"] - 0.5) < 0.01
    assert abs(summary["log_loss"] - 2.0) < 0.01
    assert summary["n_drifts"] == 0


def test_a_jump_of_the_loss_is_a_drift() -> None:
    """An abrupt change of the loss raises an alarm."""
    quality, rng = OnlineQuality(), np.random.default_rng(0)
    for mean in (2.0, 5.0):
        for _ in range(600):
            quality.update(rng.normal(mean, 0.3, 4).astype(np.float32), np.array([True]))
    assert quality.summary()["n_drifts"] >= 1
