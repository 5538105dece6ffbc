"""The blend: finite features for every candidate, losses that are log-losses, steps that teach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.blend import BEGINNER_EVENTS, MAX_SAMPLE, _sample, score_features
from operators.features import fill_features
from operators.newton import EVERY, EVERY_LATER
from operators.weights import ACTIVE
from tests.operators.world import HISTORIES, Step, World, no_nan, shoppers

if TYPE_CHECKING:
    import pytest


@settings(max_examples=80)
@given(HISTORIES)
def test_features_and_scores_are_finite(history: list[Step]) -> None:
    """Whatever came in whatever order of time, every candidate's features and score are finite numbers."""
    world = World()
    world.live(history)
    work = world.new_work()
    for user in world.known_users():
        with world.gathered(user, work) as found:
            every = work.every[: found.n]
            fill_features(found.users, found.u, found.entities, work, every, found.n_context, found.now_s)
            score_features(found.entities, found.globals_["blend"], work, every, work.scored)
            assert no_nan(work.features[: found.n], work.scored[: found.n])


@settings(max_examples=80)
@given(HISTORIES)
def test_features_read_only(history: list[Step]) -> None:
    """Computing features changes neither the user nor an entity, and gives the same numbers again."""
    world = World()
    world.live(history)
    for user in world.known_users():
        with world.gathered(user) as found:
            rows, entities = found.users.headers.tobytes(), found.entities.headers.tobytes()
            twice = []
            for _ in range(2):
                every = found.work.every[: found.n]
                fill_features(found.users, found.u, found.entities, found.work, every, found.n_context, found.now_s)
                twice.append(found.work.features[: found.n].tobytes())
            assert twice[0] == twice[1]
            assert found.users.headers.tobytes() == rows
            assert found.entities.headers.tobytes() == entities


def test_steps_of_the_blend_are_rarer_once_it_has_learned_for_some_time() -> None:
    """A beginner makes one every 16 events, and so follows soon; later they come every 64."""
    for n_before, every in ((0, EVERY), (BEGINNER_EVENTS, EVERY_LATER)):
        world = World()
        world.live(shoppers(200, 4), 50)
        world.users.globals["ring_n"] = n_before
        world.users.globals["blend_pending"] = 0.0
        pending, moved = [], []
        for step in shoppers(400, 5)[200:]:
            before = world.users.globals["blend"].copy()
            world.live([step])
            pending.append(int(world.users.globals["blend_pending"][0, -1]))
            moved.append((world.users.globals["blend"] != before).any())
        assert max(pending) == every - 1
        assert all(n == 0 for n, does in zip(pending, moved, strict=True) if does)
        assert any(moved)


def test_learning_finds_what_a_user_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a world where everybody repeats, the loss of the blend falls by two fifths; weights stay finite."""
    world = World()
    history = [Step(k // 2 % 4, 5 * (k % 2) + k // 2 % 4, "purchase", k / 2, k // 2) for k in range(400)]
    losses: list[float] = []
    note = world.users.quality.update

    def update(found: np.ndarray, *others: np.ndarray) -> bool:
        losses.extend(found[np.isfinite(found)].tolist())
        return note(found, *others)

    monkeypatch.setattr(world.users.quality, "update", update)
    world.live(history, 10)
    assert min(losses) >= 0.0
    assert np.mean(losses[-100:]) < 0.6 * np.mean(losses[:100])  # with weights that stay as they were: 0.8
    assert 0.5 < world.users.quality.summary()["auc"] <= 1.0
    assert no_nan(world.users.globals["blend"], world.users.globals["blend_gram"])


def test_weights_survive_any_shoppers() -> None:
    """After a thousand events of random shoppers all weights and information matrices are finite."""
    world = World()
    world.live(shoppers(1_000, 4), 50)
    learned = world.users.globals
    assert no_nan(learned["blend"], learned["blend_gram"], learned["category"], learned["category_gram"])
    diagonal = [i * (i + 3) // 2 for i in range(ACTIVE.size)]
    assert (learned["blend_gram"][0][diagonal] >= 0).all()
    assert np.abs(learned["blend"]).max() < 1e3


@settings(max_examples=40)
@given(HISTORIES, st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 100))
def test_the_sample_is_distinct_and_stands_for_all(history: list[Step], start: float, wanted: int) -> None:
    """The true candidate comes first, none comes twice, and a drawn one stands for at least itself."""
    world = World()
    world.live(history)
    picked, inverse = np.empty(MAX_SAMPLE, np.int32), np.empty(MAX_SAMPLE, np.float32)
    for user in world.known_users():
        with world.gathered(user) as found:
            if found.n == 0:
                continue
            m = _sample(found.entities, found.work, found.n, 0, wanted, start, picked, inverse)
            assert picked[0] == 0
            assert len(set(picked[:m].tolist())) == m <= wanted + 1
            assert set(picked[:m].tolist()) <= set(range(found.n))
            assert inverse[0] == 1.0
            assert (inverse[:m] >= 1.0).all()


def test_every_candidate_is_drawn_as_often_as_it_should() -> None:
    """Over evenly spaced starts, the weights with which each candidate is drawn average one.

    A systematic sample draws a candidate for an interval of starts, whose ends the grid misses by one start at most.
    """
    world = World()
    world.live(shoppers(400, 3), 50)
    picked, inverse = np.empty(MAX_SAMPLE, np.int32), np.empty(MAX_SAMPLE, np.float32)
    starts = np.arange(2_000) / 2_000
    n_tested = 0
    for user in world.known_users():
        with world.gathered(user) as found:
            if found.n < 4:
                continue
            sums, weight = np.zeros(found.n), np.zeros(found.n)
            for start in starts:
                m = _sample(found.entities, found.work, found.n, 0, 3, start, picked, inverse)
                sums[picked[1:m]] += inverse[1:m]
                weight[picked[1:m]] = inverse[1:m]
            assert (weight[1:] >= 1.0).all()  # every one but the true candidate was drawn at some start
            assert (np.abs(sums[1:] / starts.size - 1.0) <= 2.0 * weight[1:] / starts.size).all()
            n_tested += 1
    assert n_tested > 2
