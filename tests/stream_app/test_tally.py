"""Counts of a user task survive a restart."""

from __future__ import annotations

import json

import numpy as np

from stream_app.columns import TYPES
from stream_app.tally import COUNTERS, Tally


def test_counts_survive_a_checkpoint() -> None:
    """What was counted goes through JSON and comes back, and counting goes on from there."""
    tally = Tally()
    tally.note_events(np.array([0, 0, 5], np.uint8), n_duplicates=2, n_late=1)
    tally.note_reject("not_json")
    restored = Tally()
    restored.restore(json.loads(json.dumps(tally.state())))
    for one in (tally, restored):
        one.note_events(np.array([5], np.uint8), n_duplicates=0, n_late=0)
        one.note_reject("not_json")
    assert restored.state() == tally.state()
    assert restored.counters["n_events"] == 4
    assert restored.counters["n_duplicates"] == 2
    assert restored.counters["n_late"] == 1
    assert restored.by_type == {TYPES[0]: 2, TYPES[5]: 2}
    assert restored.rejects_by_code == {"not_json": 2}
    assert restored.counters["n_rejected"] == 2


def test_a_new_task_has_counted_nothing() -> None:
    """Without a checkpoint every counter is there, and 0."""
    tally = Tally()
    tally.restore({})
    assert tally.counters == dict.fromkeys(COUNTERS, 0)
    assert tally.by_type == tally.rejects_by_code == {}
