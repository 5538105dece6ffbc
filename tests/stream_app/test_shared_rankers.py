"""Partitions of one worker take the mean of what their rankers have learned, once it is committed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from operators.weights import GLOBALS, new_globals
from state.arrays import Rows
from stream_app.shared_rankers import LEAST_EVENTS, MOST_EXPERIENCE, PER_MEMBER, SHARED, SharedRankers

FIELDS = [name for names in SHARED.values() for name in names]
ENOUGH = 2 * LEAST_EVENTS
"""Positive events between two exchanges that are enough for up to eight partitions."""


def learned(seed: int, n_events: int = 10_000) -> Rows:
    """Return some numbers in every field, after so many positive events."""
    out, rng = new_globals(), np.random.default_rng(seed)
    for name in GLOBALS.names or ():
        shape, dtype = out[name].shape, out[name].dtype
        out[name] = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(1, 1 << 20, shape)
        if name.endswith("_gram"):
            out[name] = 1.0  # as sure as all others
    out["ring_n"] = n_events
    return out


def after(weights: Rows, n_events: int = ENOUGH) -> Rows:
    """Return the same weights after so many more positive events."""
    out = weights.copy()
    out["ring_n"] += n_events
    return out


def test_alone_nothing_changes() -> None:
    """A worker with one partition learns what an evaluation learns, to the last bit."""
    rankers, mine = SharedRankers(), learned(1)
    for _ in range(3):
        mine = after(mine)
        before = mine.tobytes()
        rankers.exchange(0, mine)
        assert mine.tobytes() == before


def test_equals_take_the_mean_and_keep_what_is_their_own() -> None:
    """Weights of all models are shared; matrices, recent positives, draws and pending gradients are not."""
    rankers, first, second = SharedRankers(), learned(1), learned(2)
    rankers.exchange(0, first.copy())
    mine = second.copy()
    rankers.exchange(1, mine)
    for name in GLOBALS.names or ():
        if name in FIELDS:
            assert np.allclose(mine[name], (first[name].astype(np.float64) + second[name]) / 2, rtol=1e-6), name
        else:
            assert (mine[name] == second[name]).all(), name
    own = {"ring", "ring_n", "draws", "network_n", "network_gate"}
    assert set(FIELDS) == {n for n in GLOBALS.names or () if n not in own and not n.endswith(("_gram", "_pending"))}


def test_an_alarm_of_one_is_its_own() -> None:
    """Where one partition forgets most of its matrices, so that its steps are longer, they stay so."""
    rankers, mine = SharedRankers(), learned(1)
    rankers.exchange(0, learned(2))
    mine["blend_gram"] *= 0.1
    rankers.exchange(1, mine)
    assert (mine["blend_gram"] == np.float32(0.1)).all()


def test_who_saw_no_reactions_says_nothing_of_them() -> None:
    """What reactions taught is the mean of those alone that have learned from some."""
    rankers, first, second = SharedRankers(), learned(1), learned(2)
    second["reaction"] = second["reaction_gram"] = 0.0
    rankers.exchange(0, first.copy())
    rankers.exchange(1, second)
    assert np.allclose(second["reaction"], first["reaction"], rtol=1e-6)
    assert np.allclose(second["blend"], (first["blend"] + learned(2)["blend"]) / 2, atol=1e-6)
    third = learned(3)
    rankers.exchange(2, third)
    assert np.allclose(third["reaction"], (first["reaction"] + learned(3)["reaction"]) / 2, atol=1e-6)


def test_who_learned_more_counts_more() -> None:
    """Of two that have learned for long, one with three times as many new events has three quarters of the mean."""
    rankers, n = SharedRankers(), MOST_EXPERIENCE
    first, second = learned(1, n), learned(2, n)
    rankers.exchange(0, first.copy())
    rankers.exchange(1, second.copy())
    rankers.exchange(0, after(first, 3 * ENOUGH))
    mine = after(second)
    rankers.exchange(1, mine)
    assert np.allclose(mine["blend"], 0.75 * first["blend"] + 0.25 * second["blend"], atol=1e-6)


def test_a_beginner_takes_over_and_disturbs_nobody() -> None:
    """A partition that has just begun gets what the others know; they keep it."""
    rankers, old, new = SharedRankers(), learned(1, MOST_EXPERIENCE), learned(2, ENOUGH)
    new["blend_gram"] = 0.5
    rankers.exchange(0, old.copy())
    beginner = new.copy()
    rankers.exchange(1, beginner)
    assert np.abs(beginner["blend"] - old["blend"]).max() < 5e-3
    assert (beginner["blend_gram"] == old["blend_gram"]).all(), "else its first steps would be too long"
    assert beginner["network_n"] == old["network_n"]
    assert beginner["ring_n"] == ENOUGH
    mine = after(old)
    rankers.exchange(0, mine)
    assert np.abs(mine["blend"] - old["blend"]).max() < 1e-2


def test_who_has_no_traffic_holds_nobody_back() -> None:
    """What is told once and not again counts half as much each time, so that the others can learn on."""
    rankers, idle = SharedRankers(), learned(1, MOST_EXPERIENCE)
    rankers.exchange(0, idle.copy())
    mine = learned(2, MOST_EXPERIENCE)
    gaps = []
    for _ in range(14):
        mine = after(mine)
        mine["blend"] = 5.0
        rankers.exchange(1, mine)
        gaps.append(float(np.abs(mine["blend"] - 5.0).max()))
    assert gaps[0] > 1.0
    assert all(later < before for before, later in pairwise(gaps[1:]))
    assert gaps[-1] < 1e-2


def test_few_events_are_not_told() -> None:
    """Below the least number of new events nothing is told and nothing changes."""
    rankers = SharedRankers()
    rankers.exchange(0, learned(1, MOST_EXPERIENCE))
    few = learned(2, LEAST_EVENTS - 1)
    before = few.tobytes()
    rankers.exchange(1, few)
    assert few.tobytes() == before
    rankers.exchange(0, learned(4, MOST_EXPERIENCE + LEAST_EVENTS - 1))
    mine = learned(3, MOST_EXPERIENCE)
    rankers.exchange(2, mine)
    assert np.allclose(mine["blend"], (learned(1)["blend"] + learned(3)["blend"]) / 2, atol=1e-2)


@pytest.mark.parametrize("events", [ENOUGH, 10 * ENOUGH])
def test_who_left_is_forgotten(events: int) -> None:
    """A partition that another worker has now says nothing any more, and may come back, with fewer events even."""
    rankers, gone, mine = SharedRankers(), learned(1), learned(2)
    rankers.exchange(0, gone.copy())
    rankers.leave(0)
    rankers.leave(7)
    before = mine.tobytes()
    rankers.exchange(1, mine)
    assert mine.tobytes() == before
    back = learned(3, events)
    rankers.exchange(0, back)
    assert not np.array_equal(back["blend"], learned(3)["blend"])


def test_a_state_that_begins_anew_is_told_again() -> None:
    """A partition whose state was rebuilt from nothing counts by what it has learned since."""
    rankers = SharedRankers()
    rankers.exchange(0, learned(1))
    rankers.exchange(0, learned(2, LEAST_EVENTS))
    mine = learned(3, 4 * LEAST_EVENTS)
    rankers.exchange(1, mine)
    share = 1 / (1 + 4)  # a quarter of the experience, and as few new events
    assert np.allclose(mine["blend"], share * learned(2)["blend"] + (1 - share) * learned(3)["blend"], atol=1e-6)


def test_what_is_not_finite_stays_where_it_is() -> None:
    """Weights that have gone wrong are not told, and those of the others are as they were."""
    rankers, mine, broken = SharedRankers(), learned(1), learned(2)
    broken["network"][0, 0, 0] = np.nan
    rankers.exchange(0, broken)
    before = mine.tobytes()
    rankers.exchange(1, mine)
    assert mine.tobytes() == before


def test_many_partitions_exchange_less_often() -> None:
    """What exchanges take of an event's time does not hang on how many partitions there are."""
    rankers, n = SharedRankers(), 10
    for k in range(n):
        rankers.exchange(k, learned(k))
    for n_events, changes in ((PER_MEMBER * n - 1, False), (PER_MEMBER * n, True)):
        mine = after(learned(0), n_events)
        before = mine.tobytes()
        rankers.exchange(0, mine)
        assert (mine.tobytes() != before) == changes
