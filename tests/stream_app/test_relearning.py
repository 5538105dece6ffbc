"""What a drift alarm does: it begins with a block of offsets, ends after so many events, and survives a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from operators.params import LearnParams
from operators.weights import new_globals
from stream_app.pools import BLOCK
from stream_app.relearning import DEFAULTS, MATRICES, Relearning, RelearnParams
from tests.stream_app.test_user_stage import NOW_MS, World, event, shoppers

if TYPE_CHECKING:
    from state.arrays import Rows

PARAMS = RelearnParams(n_events=100)
CALM = LearnParams()


@pytest.fixture
def weights() -> Rows:
    """Return what a partition has learned, with matrices of ones."""
    out = new_globals()
    for name in MATRICES:
        out[name] = 1.0
    return out


def alarmed(weights: Rows) -> Relearning:
    """Return a task's relearning whose alarm was raised in block 0 and took effect in block 1."""
    relearning = Relearning(CALM, PARAMS)
    relearning.enter(0, weights[0])
    relearning.note(BLOCK, alarm=True)
    relearning.enter(1, weights[0])
    return relearning


def test_without_an_alarm_nothing_changes(weights: Rows) -> None:
    """Events teach as ever, and the matrices stay."""
    relearning = Relearning(CALM, PARAMS)
    for block in range(5):
        assert relearning.enter(block, weights[0]).rank_every == CALM.rank_every
        relearning.note(BLOCK, alarm=False)
    assert relearning.n_left == 0
    assert all((weights[name] == 1.0).all() for name in MATRICES)


def test_with_no_events_an_alarm_does_nothing(weights: Rows) -> None:
    """It can be switched off: nothing shrinks."""
    relearning = Relearning(CALM, RelearnParams(n_events=0))
    relearning.note(BLOCK, alarm=True)
    assert relearning.enter(1, weights[0]) == CALM
    assert (weights["blend_gram"] == 1.0).all()


def test_an_alarm_takes_effect_with_the_next_block(weights: Rows) -> None:
    """The rest of its own block is learned as before, however often that is entered; the next one faster."""
    relearning = Relearning(CALM, PARAMS)
    relearning.enter(0, weights[0])
    relearning.note(5, alarm=True)
    assert relearning.enter(0, weights[0]).rank_every == CALM.rank_every
    relearning.note(5, alarm=False)
    fast = relearning.enter(1, weights[0])
    assert fast.rank_every == PARAMS.rank_every
    assert relearning.n_left == PARAMS.n_events


def test_the_matrices_shrink_once(weights: Rows) -> None:
    """However often a block is entered, an alarm shrinks them one time."""
    relearning = alarmed(weights)
    relearning.enter(1, weights[0])
    relearning.enter(2, weights[0])
    for name in MATRICES:
        assert weights[name] == pytest.approx(np.full_like(weights[name], PARAMS.kept))


def test_it_ends_after_so_many_events(weights: Rows) -> None:
    """It ends with the block in which the last of them came, and events that teach nothing do not count."""
    relearning = alarmed(weights)
    assert relearning.enter(1, weights[0]).rank_every != CALM.rank_every
    relearning.note(60, alarm=False)
    assert relearning.enter(2, weights[0]).rank_every != CALM.rank_every
    relearning.note(0, alarm=False)
    assert relearning.enter(3, weights[0]).rank_every != CALM.rank_every
    assert relearning.n_left == 40
    relearning.note(60, alarm=False)
    assert relearning.n_left == 0
    assert relearning.enter(3, weights[0]).rank_every != CALM.rank_every
    assert relearning.enter(4, weights[0]).rank_every == CALM.rank_every


def test_its_state_goes_on(weights: Rows) -> None:
    """One that is restored in the middle of a block says the same from there on; without a state it is calm."""
    relearning = alarmed(weights)
    relearning.note(60, alarm=True)
    restored = Relearning(CALM, PARAMS)
    restored.restore(relearning.state())
    assert restored.state() == relearning.state()
    other = weights.copy()
    for block in (1, 2, 2, 3, 4):
        assert restored.enter(block, other[0]) == relearning.enter(block, weights[0])
        restored.note(50, alarm=False)
        relearning.note(50, alarm=False)
    assert restored.state() == relearning.state()
    assert weights.tobytes() == other.tobytes()
    empty = Relearning(CALM, PARAMS)
    empty.restore(None)
    assert empty.enter(7, weights[0]).rank_every == CALM.rank_every


def test_an_alarm_outlives_a_crash() -> None:
    """A processor opened from the last commit learns fast for as many events as the one before it would have."""
    world = World()
    world.catalogue(f"i{k}" for k in range(30))
    records = shoppers(1_600, 1)
    world.users.process(records[:400], NOW_MS)
    world.users.relearning.note(0, alarm=True)
    world.commit()
    world.open()
    world.users.process(records[400:800], NOW_MS)
    left = world.users.relearning.n_left
    assert 0 < left < DEFAULTS.n_events
    world.commit()
    world.users.process(records[800:900], NOW_MS)
    world.open()
    assert world.users.relearning.n_left == left
    world.users.process(records[800:900], NOW_MS)
    after = world.users.relearning.n_left
    assert after < left
    world.users.process(records[800:900], NOW_MS)
    assert world.users.relearning.n_left == after


def test_batches_do_not_matter() -> None:
    """With an alarm in the middle, events cut into other batches leave the same weights to the last bit."""
    found = []
    for size in (7, 400):
        world = World()
        world.catalogue(f"i{k}" for k in range(30))
        records = shoppers(1_600, 1)
        for start in range(0, 1_600, 400):
            if start == 800:
                world.users.relearning.note(0, alarm=True)
            for at in range(start, start + 400, size):
                world.users.process(records[at : min(at + size, start + 400)], NOW_MS)
        assert 0 < world.users.relearning.n_left < DEFAULTS.n_events
        found.append((world.users.globals.tobytes(), world.users.relearning.state()))
    assert found[0] == found[1]


def test_an_alarm_is_told() -> None:
    """One log line names the partition, what raised alarms, and what log-loss and hit rate are."""
    world = World()
    world.catalogue(f"i{k}" for k in range(30))
    world.users.process([event(0, "ann", "i1")], NOW_MS)
    rng = np.random.default_rng(0)
    for mean in (2.0, 5.0):
        world.users.quality.update(rng.normal(mean, 0.3, 3_000), np.zeros(0, bool), np.zeros(0))
    with capture_logs() as lines:
        world.users.process([event(1, "ann", "i2")], NOW_MS)
        world.users.process([event(2, "ann", "i3")], NOW_MS)
    [line] = [line for line in lines if line["event"] == "drift_alarm"]
    assert line["partition"] == 0
    assert (line["n_log_loss"], line["n_hit_rate"]) == (1, 0)
    assert 2.0 < line["log_loss"] < 5.0
