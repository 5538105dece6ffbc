"""Slates: distinct items of other categories than the context's, capped, available, with slots for discoveries."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.world import HISTORIES, N_ITEMS, Step, World, aisle, shoppers


def number(item_id: str) -> int:
    """Return the number in an item's name."""
    return int(item_id[1:])


@settings(max_examples=100)
@given(
    HISTORIES,
    st.integers(1, 10),
    st.integers(0, 3),
    st.integers(0, 10),
    st.sets(st.integers(0, N_ITEMS - 1)),
    st.integers(1, 12),
)
def test_slates_keep_their_promises(
    history: list[Step], size: int, cap: int, discovery: int, gone: set[int], n_per_commit: int
) -> None:
    """Whatever the settings: no duplicate, no context category, the cap, no unavailable or disliked item.

    The cap in force is at most the one that the categories on the slate would give, were there no others.
    """
    world = World(slate_size=size, category_cap=cap, discovery_slots=discovery)
    world.catalogue(gone, available=False)
    disliked: set[tuple[int, int]] = set()
    for at in range(0, len(history), n_per_commit):
        for step in history[at : at + n_per_commit]:
            disliked -= {(step.user, step.item)}  # whoever takes it up again may see it again
            if step.kind == "dislike":
                disliked.add((step.user, step.item))
        world.learn(history[at : at + n_per_commit])
        for slate in world.slates(world.commit()):
            items = [number(item.item_id) for item in slate.items]
            assert 0 < len(items) == len(set(items)) <= size
            assert not {aisle(k) for k in items} & set(slate.context_categories)
            assert [item.category for item in slate.items] == [aisle(k) for k in items]
            per_aisle = Counter(aisle(k) for k in items)
            assert cap == 0 or max(per_aisle.values()) <= max(cap, math.ceil(2 * size / len(per_aisle)))
            assert not gone & set(items)
            user = number(slate.user_id)
            certain = {item for who, item in disliked if who == user}
            assert not certain & set(items)
            assert all(0.0 <= item.score <= 1.0 and 0.0 < item.propensity <= 1.0 for item in slate.items)


def test_context_categories_are_named_and_excluded() -> None:
    """The categories of the session are the slate's context, and none of its items is of them."""
    world = World()
    world.live(shoppers(100, 8))
    (slate,) = world.live([Step(0, 1, "purchase", 399.0, 500), Step(0, 7, "view", 399.0, 500)])
    assert set(slate.context_categories) == {aisle(1), aisle(7)}


def candidates_of(world: World, user: int) -> set[int]:
    """Return the numbers of a user's candidates."""
    with world.gathered(user) as found:
        rows = set(found.work.candidates["row"][: found.n].tolist())
    return {k for k in range(N_ITEMS) if world.item_row(k) in rows}


def test_discovery_slots_hold_new_items() -> None:
    """With all slots kept for discoveries, a slate holds nothing that the user had, if there is enough that is new.

    What anybody had and this user had not, outside the context, is a candidate in so small a world; so are some items
    that nobody had yet, and they may come first.
    """
    world = World(discovery_slots=10, category_cap=0)
    had: dict[int, set[int]] = {}
    n_full = n_short = 0
    history = [Step(k % 4, (7 * k) % N_ITEMS, "purchase", float(k), k) for k in range(48)]
    for step in history:
        had.setdefault(step.user, set()).add(step.item)
        world.learn([step])
        for slate in world.slates(world.commit()):
            items = {number(item.item_id) for item in slate.items}
            own = had[number(slate.user_id)]
            assert items & own == {number(i.item_id) for i in slate.items if i.reason == "repeat"}
            new = {k for k in candidates_of(world, step.user) - own if aisle(k) not in slate.context_categories}
            tried = set().union(*had.values()) - own
            assert {k for k in tried if aisle(k) not in slate.context_categories} <= new
            if len(new) >= 10:
                assert len(items) == 10
                assert not items & own
                n_full += 1
            else:
                assert new <= items
                n_short += bool(items & own)
    assert n_full > 10
    assert n_short > 0


def test_nothing_to_recommend_is_no_slate() -> None:
    """Where everything is of the context's category, or nothing is known, no slate is published."""
    world = World(n_in_catalogue=0)
    assert world.live(shoppers(20, 9)) == []
    world.catalogue([0])
    assert all(aisle(0) not in s.context_categories for s in world.live(shoppers(20, 9)))


def test_every_reason_has_its_ground() -> None:
    """The reason "repeat" is for what the user had; "together" names another item of the catalogue."""
    world = World()
    history = shoppers(200, 10)
    had: dict[str, set[str]] = {}
    for at in range(0, len(history), 4):
        for step in history[at : at + 4]:
            had.setdefault(f"u{step.user}", set()).add(f"i{step.item}")
        world.learn(history[at : at + 4])
        for slate in world.slates(world.commit()):
            for item in slate.items:
                kind, _, source = item.reason.partition(":")
                assert kind in {"repeat", "together", "taste", "category", "popular"}
                assert (kind == "repeat") == (item.item_id in had[slate.user_id])
                if kind == "together":
                    assert 0 <= number(source) < N_ITEMS
                    assert source != item.item_id
