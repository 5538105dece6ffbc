"""A shop whose users change over night: an alarm is raised, and learning faster foresees them better."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream_app.evaluation.replay import ReplayModel
from stream_app.evaluation.source import read_catalog, read_events
from stream_app.settings import Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, with_sizes
from stream_app.synthetic.simulation import DAY_MS, START_MS

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.records import Event

NOW_MS = 1_900_000_000_000
BATCH = 500


class Shop:
    """Events of a shop in which all users change on one day."""

    def __init__(self, folder: Path) -> None:
        params = with_sizes(KINDS["groceries"], seed=1, n_users=200, n_items=400, n_categories=24, days=90)
        summary = write_synthetic(folder, replace(params, drift_users=1.0))
        self.settings = Settings()
        self.catalog = read_catalog(summary.catalog_path, self.settings)
        log = read_events(summary.events_path, self.settings, now_ms=NOW_MS)
        self.events: list[Event] = [event for batch in log.batches(BATCH) for event in batch]
        drift_ms = START_MS + (params.drift_day or 0) * DAY_MS
        self.drift_at = sum(event.event_time_ms < drift_ms for event in self.events)

    def learn(self, n_events: int, *, perceptron: bool = True) -> tuple[list[int], float]:
        """Replay all events; return where alarms were raised, and the mean log-loss after the drift.

        Without the perceptron, what it says counts for nothing: what an alarm moves is then all that foresees.
        """
        settings = self.settings.model_copy(update={"relearn_events": n_events})
        model = ReplayModel(settings, self.catalog.records, replica_lag=BATCH)
        users = model._users
        alarms: list[int] = []
        losses: list[float] = []
        for start in range(0, len(self.events), BATCH):
            events = self.events[start : start + BATCH]
            n_before = users.quality.n_drifts
            scored = np.arange(start, start + len(events)) >= self.drift_at
            if not perceptron:
                users.globals["network_gate"][0] = (0.0, 1e9)
            answers = model.score_and_learn(events, start, scored)
            losses += [answer.loss for answer in answers.scored if answer.loss is not None]
            alarms += [start] * (users.quality.n_drifts - n_before)
        return alarms, float(np.mean(losses))


@pytest.mark.slow
def test_an_alarm_helps_after_a_drift(tmp_path: Path) -> None:
    """There is an alarm soon after the day and none before; with what it does the loss is lower than without.

    The perceptron follows a drift by itself, by more than an alarm is worth, so that less is left for an alarm.
    """
    shop = Shop(tmp_path)
    losses = {}
    for perceptron in (False, True):
        alarms, loss = shop.learn(5_000, perceptron=perceptron)
        assert alarms
        assert shop.drift_at - BATCH < alarms[0] < shop.drift_at + 3_000
        losses[perceptron] = loss, shop.learn(0, perceptron=perceptron)[1]
    (blend, blend_without), (both, both_without) = losses[False], losses[True]
    assert blend < blend_without - 0.05
    assert both < both_without
    assert both_without < blend - 0.02
