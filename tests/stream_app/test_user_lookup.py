"""Looking a user up: the slate that would be published, from committed state, and nothing changes by asking."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream_app.inspect import item_report
from stream_app.user_lookup import describe_user, fresh_slate, knows_user
from stream_app.web.items import ReplicaNames, describe_item
from tests.stream_app.test_user_stage import ITEMS, NOW_MS, World, event, shoppers


@pytest.fixture
def world() -> World:
    """Return a shop that has learned four hundred events and committed them."""
    world = World()
    world.catalogue(ITEMS)
    for at in range(0, 400, 40):
        world.users.process(shoppers(400, 3)[at : at + 40], NOW_MS)
        world.commit()
    return world


def stored(world: World) -> dict[bytes, bytes]:
    """Return all committed pages."""
    return dict(world.user_store._pages)


def test_a_slate_on_request_is_the_one_that_would_be_published(world: World) -> None:
    """An event that teaches nothing of the user's own moves the slate no further than the items did."""
    last = msgspec.json.decode(world.slates[-1])
    user = last["user_id"]
    first, second = fresh_slate(world.users, user, NOW_MS), fresh_slate(world.users, user, NOW_MS)
    assert first is not None
    assert first == second
    assert first.source == "computed"
    assert first.slate_id is None
    assert first.event_time_ms == last["event_time_ms"] // 1000 * 1000
    assert first.context_categories == last["context_categories"]
    assert not {item.category for item in first.items} & set(first.context_categories)
    assert {item.item_id for item in first.items} & {item["item_id"] for item in last["items"]}


def test_asking_changes_nothing(world: World) -> None:
    """With and without lookups in between, the same events lead to the same bytes."""
    twin = World()
    twin.catalogue(ITEMS)
    for at in range(0, 400, 40):
        twin.users.process(shoppers(400, 3)[at : at + 40], NOW_MS)
        twin.commit()
    more = [event(1000 + k, f"u{k % 10}", f"i{k % 30}") for k in range(60)]
    for each in (world, twin):
        for at in range(0, 60, 20):
            each.users.process(more[at : at + 20], NOW_MS)
            if each is world:
                for user in (f"u{k}" for k in range(10)):
                    assert fresh_slate(world.users, user, NOW_MS) is not None
                    assert describe_user(world.users, user) is not None
            each.commit()
    assert stored(world) == stored(twin)
    assert world.slates == twin.slates


def test_only_what_is_committed_is_told(world: World) -> None:
    """A user of an interval that is not committed is not known yet, and one that was forgotten no more."""
    world.users.process([event(2000, "new", "i1")], NOW_MS)
    assert not knows_user(world.users, "new")
    assert fresh_slate(world.users, "new", NOW_MS) is None
    world.commit()
    assert knows_user(world.users, "new")
    assert world.users.newest.get("new") == world.slates[-1]
    world.users.process([event(2001, "new", None, "forget")], NOW_MS)
    assert world.users.newest.get("new") is not None
    world.commit()
    assert describe_user(world.users, "new") is None
    assert world.users.newest.get("new") is None


def test_a_user_is_described_with_names(world: World) -> None:
    """Items with counts and ids, categories with paths, and the last slate."""
    found: dict[str, Any] | None = describe_user(world.users, "u3")
    assert found is not None
    assert found["n_events"] == 40
    assert sum(item["count"] for item in found["items"]) == 40
    assert all(item["item_id"].startswith("i") for item in found["items"])
    assert all(category["category"][0] == "shop" for category in found["categories"])
    assert found["last_slate"]


def test_an_item_is_described_from_the_replica(world: World) -> None:
    """The same report as from the topics, with its category; what nobody knows is None."""
    found = describe_item(world.replica, "i7")
    assert found is not None
    row = world.replica.table.index.get(int(world.replica.table.headers.records["id"].max()))
    assert row >= 0
    assert found["category"] == ["shop", "aisle-1"]
    assert found["is_available"]
    assert found["neighbours"][0]["item_id"].startswith("i")
    assert found["n_events"] > 0
    assert describe_item(world.replica, "nothing") is None
    assert ReplicaNames(world.replica).category(1) == ()
    assert item_report("i7", world.items.table, 1, ReplicaNames(world.replica), 0)["item_id"] == "i7"


def test_what_was_popular_is_as_of_the_newest_event_of_all_items(world: World) -> None:
    """Events of other items make an item's own ones older; this machine's clock does not."""
    before = describe_item(world.replica, "i7")
    world.users.process([event(0, "late", "i1", event_time_ms=NOW_MS)], NOW_MS)
    world.commit()
    after, newest = (describe_item(world.replica, item) for item in ("i7", "i1"))
    assert before is not None
    assert after is not None
    assert newest is not None
    assert before["as_of_ms"] < after["as_of_ms"] == newest["as_of_ms"]
    assert 0 <= NOW_MS - after["as_of_ms"] < 1_000
    passed_days = (after["as_of_ms"] - before["as_of_ms"]) / 86_400_000
    for days in (3, 14, 90):
        left = before["popularity"][f"{days}d"] * 0.5 ** (passed_days / days)
        assert after["popularity"][f"{days}d"] == pytest.approx(left, abs=2e-3)


def test_a_trend_is_told_where_it_is_clear(world: World) -> None:
    """Events that come now after a long silence are one; a single one is not, and neither is one of long ago."""
    for n in range(12):
        world.users.process([event(n, f"n{n}", "i8", event_time_ms=NOW_MS - n)], NOW_MS)
    world.users.process([event(0, "o", "i9", event_time_ms=NOW_MS - 180 * 86_400_000)], NOW_MS)
    world.users.process([event(0, "p", "i10", event_time_ms=NOW_MS)], NOW_MS)
    world.commit()
    trends = {}
    for item in ("i8", "i9", "i10"):
        found = describe_item(world.replica, item)
        assert found is not None
        trends[item] = found["trend"]
    assert trends == {"i8": "rising", "i9": None, "i10": None}
