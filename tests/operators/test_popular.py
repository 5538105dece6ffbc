"""The most popular items against a plain sort of all of them, while popularity, category and stock change."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.params import N_CATEGORY_NEW, NEW_EVENTS, P_FIRST_LONG, P_LONG, P_MIDDLE
from operators.popular import list_new, popularity_key, update_top, withdraw_from_category
from state.layout import KIND_CATEGORY
from tests.operators.world import DAY_S, N_AISLES, N_ITEMS, World

CHANGES = st.lists(
    st.tuples(st.integers(0, N_ITEMS - 1), st.floats(0.0, 50.0), st.integers(0, 400), st.booleans()), max_size=60
)


def lists_of(world: World) -> tuple[list[int], dict[int, list[int]]]:
    """Return the rows of the list over all, and of each category's."""
    e = world.entities
    return (
        e.top[: e.n_top[0]].tolist(),
        {c: e.category_top[c, : e.category_n_top[c]].tolist() for c in range(int(e.n_categories[0]))},
    )


@settings(max_examples=80)
@given(CHANGES)
def test_lists_are_the_most_popular(changes: list[tuple[int, float, int, bool]]) -> None:
    """Each list holds distinct, available items with events, best first, the same as a sort of all of them."""
    world = World()
    e = world.entities
    for item, popularity, day, available in changes:
        row = world.item_row(item)
        e.headers[row]["popularity"] = popularity
        e.headers[row]["t_s"] = max(day * DAY_S, int(e.headers[row]["t_s"]))
        e.headers[row]["n"] += 1
        e.available[row] = available
        update_top(e, np.array([row], np.int32))
    overall, by_category = lists_of(world)
    shown = [r for r in map(world.item_row, range(N_ITEMS)) if e.available[r] and e.headers[r]["n"] > 0]
    assert sorted(overall) == sorted(shown)
    keys = [np.float32(popularity_key(e, row, P_MIDDLE)) for row in overall]
    assert keys == sorted(keys, reverse=True)
    for category, rows in by_category.items():
        assert sorted(rows) == sorted(row for row in shown if e.category[row] == category)
        keys = [np.float32(popularity_key(e, row, P_FIRST_LONG)) for row in rows]
        assert keys == sorted(keys, reverse=True)


def test_a_full_list_keeps_the_best() -> None:
    """When more items are known than a list holds, the least popular ones are not on it."""
    n = 400
    world = World(n)
    e = world.entities
    rows = np.array([world.item_row(k) for k in range(n)], np.int32)
    order = np.random.default_rng(1).permutation(n)
    e.headers["popularity"][rows] = (1.0 + order)[:, None]
    e.headers["n"][rows] = 1
    update_top(e, rows)
    overall, by_category = lists_of(world)
    best = rows[np.argsort(-order)].tolist()
    assert overall == best[: len(overall)]
    assert len(overall) == e.top.shape[0]
    for category, listed in by_category.items():
        assert listed == [row for row in best if e.category[row] == category][: len(listed)]
        assert len(listed) == e.category_top.shape[1]


def test_categories_and_changed_items_do_not_stay() -> None:
    """A category is never listed; an item that changes its category leaves the old list, and moves into the new one."""
    world = World()
    e = world.entities
    row = world.item_row(1)
    e.headers[row]["n"] = 3
    e.headers[row]["popularity"] = 2.0
    update_top(e, np.array([row], np.int32))
    assert e.headers[e.category_rows[0]]["kind"] == KIND_CATEGORY
    update_top(e, e.category_rows[:N_AISLES].copy())
    assert lists_of(world)[0] == [row]
    old = int(e.category[row])
    withdraw_from_category(e, row, old)
    assert lists_of(world)[0] == []
    e.category[row] = (old + 1) % N_AISLES
    update_top(e, np.array([row], np.int32))
    overall, by_category = lists_of(world)
    assert overall == [row]
    assert by_category[old] == []
    assert by_category[(old + 1) % N_AISLES] == [row]


def test_keys_compare_popularities_of_different_times() -> None:
    """An item with twice the popularity, as of one half-life earlier, is as popular."""
    world = World()
    e = world.entities
    a, b = world.item_row(1), world.item_row(2)
    e.headers[a]["popularity"], e.headers[a]["t_s"] = 8.0, 0
    e.headers[b]["popularity"], e.headers[b]["t_s"] = 4.0, 90 * DAY_S
    assert np.isclose(popularity_key(e, a, P_LONG), popularity_key(e, b, P_LONG), atol=1e-6)


def test_the_newest_of_a_category() -> None:
    """The list of new items is the newest of those with few events that are available, newest first."""
    n = 400
    world = World(n)
    e = world.entities
    rows = np.array([world.item_row(k) for k in range(n)], np.int32)
    rng = np.random.default_rng(2)
    listed_s = (rng.permutation(n) + 1).astype(np.uint32)
    e.headers["n"][rows] = rng.integers(0, 2 * NEW_EVENTS, n)
    e.available[rows] = rng.random(n) < 0.7
    e.newest["n"] = 0
    list_new(e, rows, listed_s)
    update_top(e, rows)
    newest = rows[np.argsort(-listed_s.astype(np.int64))]
    for category in range(N_AISLES):
        wanted = [r for r in newest if e.category[r] == category and e.available[r] and e.headers[r]["n"] < NEW_EVENTS]
        assert e.newest[category]["rows"][: e.newest[category]["n"]].tolist() == wanted[:N_CATEGORY_NEW]
    first, second, third = e.newest[0]["rows"][:3].tolist()
    withdraw_from_category(e, first, 0)
    e.available[second] = False
    e.headers["n"][third] = NEW_EVENTS
    update_top(e, np.array([second, third], np.int32))
    assert not {first, second, third} & set(e.newest[0]["rows"][: e.newest[0]["n"]].tolist())
