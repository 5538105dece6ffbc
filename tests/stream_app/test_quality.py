"""Prequential quality: means that follow the data, and an alarm when the loss jumps."""

from __future__ import annotations

from importlib import util
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from river import drift

from stream_app.quality import OnlineQuality, adwin

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NO_AUCS = np.zeros(0)


def test_nothing_yet_is_zero() -> None:
    """Before the first event all numbers are 0, and NaN losses change nothing."""
    quality = OnlineQuality()
    quality.update(np.array([np.nan, np.nan], np.float32), np.array([], bool), NO_AUCS)
    assert set(quality.summary().values()) == {0.0}


def test_means_follow_the_data() -> None:
    """Hit rate and loss move to what is fed."""
    quality = OnlineQuality()
    for _ in range(800):
        quality.update(np.array([2.0, np.nan], np.float32), np.array([True, False]), NO_AUCS)
    summary = quality.summary()
    assert abs(summary["hit_rate"] - 0.5) < 0.01
    assert abs(summary["log_loss"] - 2.0) < 0.01
    assert summary["n_drifts"] == 0


def test_a_jump_of_the_loss_is_a_drift() -> None:
    """An abrupt change of the loss raises an alarm."""
    quality, rng = OnlineQuality(), np.random.default_rng(0)
    for mean in (2.0, 5.0):
        for _ in range(600):
            quality.update(rng.normal(mean, 0.3, 4).astype(np.float32), np.array([True]), NO_AUCS)
    assert quality.summary()["n_drifts_log_loss"] >= 1


def test_getting_better_is_no_alarm() -> None:
    """A loss that falls while the task learns, and noise about it, raise no alarm."""
    quality, rng = OnlineQuality(), np.random.default_rng(0)
    for mean in (7.0, 6.0, 5.5):
        for _ in range(400):
            quality.update(rng.normal(mean, 2.0, 200).astype(np.float32), rng.random(200) < 0.1, NO_AUCS)
    assert quality.n_drifts == 0


def test_a_jump_after_long_learning_is_an_alarm_soon() -> None:
    """A loss that fell for 40,000 events and then jumps raises one alarm within 500, and none before."""
    quality, rng = OnlineQuality(), np.random.default_rng(0)
    fell = 4.0 + 2.0 * np.exp(-np.arange(40_000) / 10_000)
    assert not quality.update(rng.normal(fell, 2.0), np.zeros(0, bool), NO_AUCS)
    assert quality.update(rng.normal(6.5, 2.0, 500), np.zeros(0, bool), NO_AUCS)
    quality.update(rng.normal(5.0, 2.0, 5_000), np.zeros(0, bool), NO_AUCS)
    assert quality.summary()["n_drifts_log_loss"] == 1


def test_a_falling_hit_rate_is_an_alarm_of_its_own() -> None:
    """It is counted, but is no alarm of the loss."""
    quality, rng = OnlineQuality(), np.random.default_rng(0)
    alarms = [quality.update(np.zeros(0), rng.random(20_000) < rate, NO_AUCS) for rate in (0.4, 0.05)]
    assert alarms == [False, False]
    assert quality.summary()["n_drifts_hit_rate"] == 1


def test_batches_do_not_matter() -> None:
    """The same events cut into other batches give the same numbers to the last bit."""
    rng = np.random.default_rng(1)
    losses, hits = rng.normal(5.0, 1.0, 4_000), rng.random(4_000) < 0.2
    summaries = []
    for size in (7, 1_000):
        quality = OnlineQuality()
        for start in range(0, 4_000, size):
            quality.update(losses[start : start + size], hits[start : start + size], NO_AUCS)
        summaries.append(quality.summary())
    assert summaries[0] == summaries[1]


def test_the_auc_is_the_mean_of_those_that_are_known() -> None:
    """Events whose item was no candidate have none, and change nothing."""
    quality = OnlineQuality()
    assert quality.summary()["auc"] == 0.0
    aucs = np.tile(np.array([0.7, np.nan, 0.9]), 2_000)
    quality.update(np.zeros(0), np.zeros(0, bool), aucs)
    assert abs(quality.summary()["auc"] - 0.8) < 0.01


def test_the_detector_is_rivers() -> None:
    """Loaded by its path or with its package, it is the same class of River's, and finds the same change."""
    both = []
    for kind in (adwin(), drift.ADWIN):
        detector, found = kind(delta=1e-4, clock=1), []
        for n in range(400):
            detector.update(float(n > 200) + 0.01 * (n % 7))
            if detector.drift_detected:
                found.append(n)
        both.append((kind.__name__, found, detector.estimation, detector.width))
    assert both[0] == both[1]
    assert both[0][1]


def test_another_version_of_river_is_imported_as_usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the detector's module is not found, its package gives it."""
    monkeypatch.setattr(util, "find_spec", lambda _name: SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
    assert adwin.__wrapped__() is drift.ADWIN
