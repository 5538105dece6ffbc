"""A user task under load: it commits less often and chooses from less, but learns everything, and returns by itself."""

from __future__ import annotations

from operators.load import MAX_LEVEL, STRETCH
from tests.stream_app.test_user_stage import ITEMS, NOW_MS, World, event, shoppers

SECOND_MS = 1_000


def test_a_backlog_stretches_the_interval_and_calm_ends_it() -> None:
    """The stretch grows with a backlog that lasts, stays while it lasts, and is gone after calm, with no restart."""
    world = World()
    world.catalogue(ITEMS)
    records = shoppers(60, 0)
    seen = []
    for k in range(40):
        n_waiting = 10_000 if k < 10 else 0
        world.users.process(records[k : k + 1], NOW_MS + k * SECOND_MS, n_waiting)
        seen.append(world.users.stretch)
    assert max(seen) == STRETCH[MAX_LEVEL]
    assert seen[9] == STRETCH[MAX_LEVEL]
    assert seen[-1] == 1


def test_learning_is_the_same_under_load() -> None:
    """The same events in the same commits teach items the same and count the same, on every level."""
    worlds = [World(), World()]
    for world, n_waiting in zip(worlds, (0, 10_000), strict=True):
        world.catalogue(ITEMS)
        for k, at in enumerate(range(0, 400, 40)):
            world.users.process(shoppers(400, 1)[at : at + 40], NOW_MS + k * SECOND_MS, n_waiting)
            world.commit()
    calm, loaded = worlds
    assert (calm.users.load.level, loaded.users.load.level) == (0, MAX_LEVEL)
    assert calm.users.counters == loaded.users.counters
    assert calm.items.item_events == loaded.items.item_events == 400
    items = [{key: value for key, value in world.items.table.changed(world.items.table.index.get_many(
        world.items.table.ids())) if key[8] == 0} for world in worlds]  # fmt: skip
    assert items[0] == items[1]


def test_slates_go_ahead_of_the_commit_unless_the_task_is_under_load() -> None:
    """A task that has caught up hands over one slate per user touched since the last ones; a loaded one waits."""
    world = World()
    world.catalogue(ITEMS)
    world.users.process(shoppers(400, 1), NOW_MS)
    world.commit()
    world.users.process([event(500, "ann", "i1"), event(501, "bob", "i2")], NOW_MS)
    first = world.users.prompt(NOW_MS)
    world.users.process([event(502, "ann", "i3")], NOW_MS)
    second = world.users.prompt(NOW_MS)
    assert [output.key for output in first] == [b"ann", b"bob"]
    assert [output.key for output in second] == [b"ann"]
    assert world.users.prompt(NOW_MS) == []
    before = len(world.slates)
    flush = world.commit()
    assert len(world.slates) == before
    assert world.header("ann")["n_exposures"] == 2
    assert flush.state["n_slates"] == before + 3
    for k in range(3):
        world.users.process([event(510 + k, "ann", "i4")], NOW_MS + k * SECOND_MS, n_waiting=100_000)
    assert world.users.load.level == MAX_LEVEL
    assert world.users.prompt(NOW_MS) == []
    world.commit()
    assert len(world.slates) == before + 1


def test_calm_without_events_ends_the_load() -> None:
    """A task that has nothing to read any more returns to normal while it waits, not with the next event."""
    world = World()
    world.catalogue(ITEMS)
    for k in range(3):
        world.users.process([event(k, "ann", "i4")], NOW_MS + k * SECOND_MS, n_waiting=100_000)
    assert world.users.load.level == MAX_LEVEL
    world.commit()
    for k in range(3, 12):
        world.users.process((), NOW_MS + k * SECOND_MS)
    assert world.users.load.level == 0
    assert world.commit().outputs == []
