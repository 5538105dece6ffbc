"""Ranking: scores are a softmax over the candidates, slates a function of the state, and nothing is left behind."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from operators.rank import score_all
from tests.operators.world import HISTORIES, Step, World, is_clear, shoppers


@settings(max_examples=80)
@given(HISTORIES)
def test_scores_are_logits_of_a_softmax(history: list[Step]) -> None:
    """The probabilities of all candidates are in [0, 1] and sum to 1."""
    world = World()
    world.live(history)
    for user in world.known_users():
        with world.gathered(user) as found:
            log_total = score_all(
                found.users, found.u, found.entities, found.globals_, found.work, found.n, found.n_context, found.now_s
            )
            p = np.exp(found.work.scored[: found.n].astype(np.float64) - log_total)
            assert ((p >= 0.0) & (p <= 1.0 + 1e-5)).all()
            if found.n:
                assert np.isclose(p.sum(), 1.0, atol=1e-3)


@settings(max_examples=80)
@given(HISTORIES)
def test_filling_slates_leaves_no_mark(history: list[Step]) -> None:
    """After every commit the processor's scratch space is clear."""
    world = World()
    for step in history:
        world.learn([step])
        world.commit()
        assert is_clear(world.users._work)


def test_the_same_events_make_the_same_slates() -> None:
    """Two worlds with the same history publish the same slates, scores and reasons included."""
    first, second = (World().live(shoppers(120, 6)) for _ in range(2))
    assert first == second
    assert first


def test_scores_fall_within_a_slate_without_kept_slots() -> None:
    """Without slots kept for discoveries, the best comes first."""
    for slate in World(discovery_slots=0).live(shoppers(160, 7)):
        scores = [item.score for item in slate.items]
        assert scores == sorted(scores, reverse=True)
