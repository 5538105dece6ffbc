"""What happens at the limits of a user's row and of scratch space: many categories, full slots, late sessions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from operators.arrays import MAX_CATEGORY_CANDIDATES
from operators.params import MAX_CATEGORIES, MAX_ITEMS, N_SHARED_CATEGORIES
from operators.user_profile import find_slot
from state.layout import FLAG_DISLIKED, USER_ITEMS
from stream_app.records import LocalRecord
from tests.operators.world import NOW_MS, Step, World, context_rows


class WideWorld(World):
    """A shop whose every item has a category of its own, ``c0``, ``c1``, ..."""

    def __init__(self, n_items: int, *, n_components: int = 0, n_per_category: int = 1, **settings: object) -> None:
        super().__init__(0, **settings)
        vector = {"embedding": [1.0, *([0.5] * (n_components - 1))]} if n_components else {}
        entries = [
            {"item_id": f"i{k}", "category": ["shop", f"c{k // n_per_category}"], **vector} for k in range(n_items)
        ]
        self.replica.apply_catalog(
            [LocalRecord(e["item_id"].encode(), json.dumps(e).encode(), timestamp=NOW_MS) for e in entries]  # type: ignore[attr-defined]
        )

    def slot_flags(self, user: int, item: int) -> int | None:
        """Return the flags of a user's slot of an item, None if there is no such slot."""
        header = self.users.table.headers.records[self.user_row(user)]
        users = self.arrays
        page, k = find_slot(users.items, header["heads"][USER_ITEMS], header["n_items"], self.item_row(item))
        return int(users.items[page]["flags"][k]) if page > 0 else None


def test_every_category_of_the_context_is_known_as_one() -> None:
    """However many categories the user, the context's neighbours and the shop have: none of the context is shown."""
    n = 900
    world = WideWorld(n)
    crowd = [Step(1 + k // 64, (k * 7) % n, "purchase", 1.0, k // 64) for k in range(1600)]
    world.live(crowd, n_per_commit=400)
    world.live([Step(0, k, "purchase", 2.0 + k / 100, k) for k in range(MAX_CATEGORIES + 30)], n_per_commit=100)
    looked_at = list(range(600, 640))
    world.live([Step(30 + k, item, "purchase", 19.0, 9_000 + k) for k in range(20) for item in looked_at], 100)
    world.learn([Step(0, item, "view", 20.0, 10_000) for item in looked_at])
    with world.gathered(0) as found:
        assert found.n_categories == MAX_CATEGORY_CANDIDATES
        assert (found.work.category_features[: found.n_categories, 10] > 0).sum() == len(looked_at)
    (slate,) = world.slates(world.commit())
    context = {f"shop / c{item}" for item in looked_at}
    assert set(slate.context_categories) <= context
    assert not context & {item.category for item in slate.items}


def test_new_items_of_many_equally_likely_categories_find_room() -> None:
    """Nothing is known of anything: all categories tie, and no more new items are looked at than there is room for."""
    world = WideWorld(420 * 8, n_components=8, n_per_category=8)
    world.learn([Step(0, 8 * k, "purchase", 300.0, 1) for k in range(250)])
    world.learn([Step(0, 8 * 300, "view", 300.5, 2)])
    work = world.new_work()
    room = work.stale.size
    everything = np.full(room + 4096, -7, np.int32)
    with world.gathered(0, work._replace(stale=everything[:room])) as found:
        log_p = np.sort(found.work.category_log_p[: found.n_categories])
        assert (log_p == log_p[-25]).sum() * 8 > room
    assert (everything[room:] == -7).all()


def test_dislikes_stay_when_all_slots_are_taken() -> None:
    """A full user loses the weakest item, not the one that is never to be shown again."""
    world = WideWorld(MAX_ITEMS + 40)
    bought = [Step(0, k, "purchase", 1.0 + k / 10, k) for k in range(MAX_ITEMS)]
    world.live(bought, n_per_commit=128)
    world.learn([Step(0, MAX_ITEMS, "dislike", 100.0, 9000), Step(0, 300, "dislike", 100.1, 9001)])
    world.learn([Step(0, MAX_ITEMS + 1 + k, "view", 110.0 + k, 9100 + k) for k in range(30)])
    for item in (MAX_ITEMS, 300):
        flags = world.slot_flags(0, item)
        assert flags is not None
        assert flags & FLAG_DISLIKED


def test_what_is_looked_at_today_does_not_push_out_itself() -> None:
    """At the limit, two items viewed in turn are both remembered, so the second view of each is a repeat."""
    world = WideWorld(MAX_ITEMS + 2)
    world.live([Step(0, k, "purchase", 1.0 + k / 10, k) for k in range(MAX_ITEMS)], n_per_commit=128)
    for k in range(6):
        world.learn([Step(0, MAX_ITEMS + k % 2, "view", 60.0 + k / 100, 9000)])
        world.commit()
    headers = world.replica.table.headers.records
    for item in (MAX_ITEMS, MAX_ITEMS + 1):
        header = headers[world.item_row(item)]
        assert (header["n"], header["n_repeat"]) == (3, 2)


@pytest.mark.parametrize("session", [1, None])
def test_a_late_event_of_an_earlier_session_leaves_the_present_one(session: int | None) -> None:
    """It is learned, but the user is still where they are: their categories stay out of the slate."""
    world = World()
    world.live([Step(1, k, "purchase", 5.0, 7) for k in range(25)])
    world.live([Step(0, 0, "view", 10.0, 2), Step(0, 1, "view", 10.0, 2)])
    before = world.users.table.headers.records[world.user_row(0)]["serial"]
    (slate,) = world.live([Step(0, 2, "view", 1.0, session)])
    assert set(slate.context_categories) == {"shop / aisle-0", "shop / aisle-1"}
    header = world.users.table.headers.records[world.user_row(0)]
    assert (header["serial"], header["n_events"]) == (before, 3)
    (slate,) = world.live([Step(0, 3, "view", 10.001, 2)])
    assert set(slate.context_categories) == {"shop / aisle-0", "shop / aisle-1", "shop / aisle-3"}


def test_events_without_a_session_do_not_end_one() -> None:
    """Shops that name the session of purchases only: a page view between them leaves the user where they are."""
    world = World()
    world.live([Step(1, k, "purchase", 5.0, 7) for k in range(25)])
    day = 10.0
    visit = [Step(0, 0, "purchase", day, 2), Step(0, 1, "view", day, None), Step(0, 2, "purchase", day + 0.01, 2)]
    (slate,) = world.live(visit)
    assert set(slate.context_categories) == {"shop / aisle-0", "shop / aisle-1", "shop / aisle-2"}


def test_a_short_gap_ends_a_session_for_events_without_one() -> None:
    """The setting goes before the half hour."""
    world = World(session_gap_ms=600_000)
    world.learn([Step(0, item, "view", 10.0, 2) for item in range(3)])
    world.learn([Step(0, 20, "view", 10.0 + 25 / 1440, None)])
    assert context_rows(world, 0) == {world.item_row(20)}


@pytest.mark.parametrize(("hours_late", "is_late"), [(0.95, False), (1.05, True), (1.95, False), (2.05, True)])
def test_how_late_an_event_of_an_earlier_session_is(hours_late: float, *, is_late: bool) -> None:
    """An hour, or as much as clocks may be ahead, if that is more."""
    world = World(max_future_ms=7_200_000 if hours_late > 1.5 else 3_600_000)
    world.learn([Step(0, 0, "view", 10.0, 2), Step(0, 1, "view", 10.0 - hours_late / 24, 3)])
    assert context_rows(world, 0) == {world.item_row(0 if is_late else 1)}


def test_what_was_looked_at_again_is_among_the_latest() -> None:
    """After a session its items are ordered by their last events, not by their first ones."""
    world = World()
    items = [*range(14), 0, 1]
    world.learn([Step(0, item, "view", 10.0 + k / 10_000, 2) for k, item in enumerate(items)])
    world.learn([Step(0, 20, "view", 10.0 + 1 / 24, None)])
    assert context_rows(world, 0) == {world.item_row(item) for item in (*range(7, 14), 0, 1, 20)}
    world.learn([Step(0, 21, "view", 10.0 + 1 / 24, None)])
    assert context_rows(world, 0) == {world.item_row(item) for item in (*range(8, 14), 0, 1, 20, 21)}


def test_after_a_session_the_latest_items_are_the_context() -> None:
    """An hour later somebody without a session: the last ten events of a day, of the session too; after a day none."""
    for hours, wanted in ((1.0, {*range(5, 14), 20}), (25.0, {20})):
        world = World()
        world.learn([Step(0, item, "view", 10.0, 2) for item in range(14)])
        world.learn([Step(0, 20, "view", 10.0 + hours / 24, None)])
        assert context_rows(world, 0) == {world.item_row(item) for item in wanted}, hours


def test_a_new_session_may_begin_a_little_before_the_last_event() -> None:
    """Clocks of two machines differ by seconds, and events of a session may be exchanged."""
    world = World()
    world.live([Step(1, k, "purchase", 5.0, 7) for k in range(25)])
    (slate,) = world.live([Step(0, 0, "view", 10.0, 2), Step(0, 2, "view", 9.999, 3)])
    assert slate.context_categories == ["shop / aisle-2"]


def test_a_look_at_what_was_bought_long_ago_does_not_leave_it_out() -> None:
    """What counts is the purchase; a view within the span after it goes on leaving the item out."""
    for days, is_left_out in ((20.0, True), (150.0, False)):
        world = World(8, exclude_bought_days=30.0, discovery_slots=0)
        world.live([Step(1, k, "purchase", 1.0, k) for k in range(8)])
        world.live([Step(0, 2, "purchase", 1.0, 1), Step(0, 2, "view", 1.0 + days, 2)])
        (slate,) = world.live([Step(0, 0, "view", 1.0 + days, 3)])
        assert ("i2" not in {item.item_id for item in slate.items}) is is_left_out, days


def test_categories_for_everybody_have_something_to_recommend() -> None:
    """A shop that renames its categories: the old ones, which are empty now, take nobody's place."""
    n = N_SHARED_CATEGORIES + 10
    world = WideWorld(2 * n)
    world.live([Step(1 + k % 40, k % n, "purchase", 1.0 + k / n, k) for k in range(2 * n)], n_per_commit=64)
    gone = [LocalRecord(f"i{k}".encode(), None, timestamp=NOW_MS) for k in range(n)]
    world.replica.apply_catalog(gone)
    world.live([Step(50 + k % 40, n + k % n, "purchase", 9.0 + k / n, k) for k in range(2 * n)], n_per_commit=64)
    world.replica.refresh_scan()
    entities = world.replica.entities()
    alive = {int(entities.category[world.item_row(n + k)]) for k in range(n)}
    assert set(entities.shared.tolist()) <= alive
    assert len(set(entities.shared.tolist())) == N_SHARED_CATEGORIES
