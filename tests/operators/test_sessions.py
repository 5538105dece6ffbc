"""Alike sessions: what the kernels note of a user's earlier sessions, against a count by hand."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
from hypothesis import given, settings

from operators.sessions import SESSIONS, forget_sessions, mark_sessions, vote
from tests.operators.world import HISTORIES, Step, World, is_clear


def shop_twice() -> World:
    """Return a world with one user: a session with items 0, 1, 2 and 5, one with 1 and 6, and a third begun with 0."""
    world = World()
    baskets = [(0, 1, 2, 5), (1, 6), (0,)]
    steps = [
        Step(0, item, "purchase", 10.0 * s + 0.01 * k, s + 1)
        for s, basket in enumerate(baskets)
        for k, item in enumerate(basket)
    ]
    world.live(steps)
    return world


def test_votes_are_those_of_the_sessions_that_held_an_item() -> None:
    """An item's vote is the sum, over its earlier sessions, of likeness times weight."""
    world = shop_twice()
    with world.gathered(0) as found:
        entities, work = found.entities, found.work
        category = {item: int(entities.category[world.item_row(item)]) for item in range(8)}
        baskets = [(0, 1, 2, 5), (1, 6)]
        likeness = [len({category[i] for i in basket} & {category[0]}) / math.sqrt(len(basket)) for basket in baskets]
        weight = [2.0 ** (-(2 - s) / SESSIONS) for s in range(2)]
        votes: dict[int, float] = defaultdict(float)
        for s, basket in enumerate(baskets):
            for item in basket:
                votes[world.item_row(item)] += likeness[s] * weight[s]
        seen = {int(c["row"]): float(c["vote"]) for c in work.candidates[: found.n] if c["had"]}
        assert set(seen) == {world.item_row(i) for i in (1, 2, 5, 6)}
        for row, value in seen.items():
            assert value == pytest.approx(votes[row], rel=1e-5)


@settings(max_examples=60)
@given(HISTORIES)
def test_marks_are_taken_back(history: list[Step]) -> None:
    """Sessions are listed once each, votes are finite and not below zero, and no mark is left."""
    world = World()
    world.live(history)
    work = world.new_work()
    for user in world.known_users():
        with world.gathered(user, work) as found:
            n = mark_sessions(found.users, found.u, found.entities, work)
            serials = work.serials[:n].tolist()
            assert len(serials) == len(set(serials))
            vote(found.users, found.u, found.entities, work)
            forget_sessions(work, n)
            held = work.candidates[: found.n]
            for name in ("vote", "likeness", "shared"):
                assert (held[name][held["had"] == 1] >= 0.0).all()
        assert is_clear(work)
