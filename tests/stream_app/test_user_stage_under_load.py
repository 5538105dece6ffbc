"""A user task under load: it commits less often and chooses from less, but learns everything, and returns by itself."""

from __future__ import annotations

import numpy as np

from operators.ahead import DOUBTFUL
from operators.load import MAX_LEVEL, STRETCH
from state.ids import hash_id
from state.updates import decode_update
from tests.stream_app.test_user_stage import ITEMS, NOW_MS, Record, World, event, shoppers

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


def learned_of(world: World, item: str) -> tuple[int, int]:
    """Return how many purchases the replica's row of an item has, and whether it is ahead; its category has as many."""
    row = int(world.replica.ensure(np.array([hash_id(item)], np.uint64))[0])
    entities = world.replica.entities()
    found = [entities.headers[k] for k in (row, entities.category_rows[entities.category[row]])]
    assert found[0]["n"] == found[1]["n"]
    assert found[0]["ahead"] == found[1]["ahead"]
    return int(found[0]["n"]), int(found[0]["ahead"])


def under_load(world: World, records: list[Record]) -> None:
    """Let a task learn records as if very many waited."""
    for k, record in enumerate(records):
        world.users.process([record], NOW_MS + k * SECOND_MS, n_waiting=100_000)
    assert world.users.load.level == MAX_LEVEL


def test_lists_follow_before_the_commit_under_load() -> None:
    """The replica has what was learned while nothing is committed, and after the commit the committed pages."""
    world = World()
    world.catalogue(ITEMS)
    under_load(world, [event(k, "ann", "i4") for k in range(6)])
    n_seen, ahead = learned_of(world, "i4")
    assert n_seen >= 4  # the first came before there was any load
    assert ahead
    world.commit()
    assert learned_of(world, "i4") == (6, 0)
    assert world.items.item_events == 6


def test_pages_of_earlier_commits_do_not_take_back_what_was_learned_since() -> None:
    """An update that comes back while the task has gone on is older than the replica's row; the last one is not."""
    world = World()
    world.catalogue(ITEMS)
    under_load(world, [event(k, "ann", "i4") for k in range(6)])
    first = world.users.take_updates()
    under_load(world, [event(k, "bob", "i4") for k in range(6, 9)])
    second = world.users.take_updates()
    for updates, wanted in ((first, (9, 1)), (second, (9, 0))):
        world.items.process([Record(o.key, o.value) for o in updates], NOW_MS)
        world.replica.apply_pages(world.items.flush(NOW_MS).pages)
        world.items.committed()
        assert learned_of(world, "i4") == wanted


def test_what_was_dropped_leaves_the_replica() -> None:
    """A task that fails and opens again learns its events again, also under load; its next pages put the row right."""
    world = World()
    world.catalogue(ITEMS)
    records = [event(k, "ann", "i4") for k in range(6)]
    under_load(world, records)
    world.open()
    under_load(world, records)
    n_seen, ahead = learned_of(world, "i4")
    assert n_seen > 6
    assert ahead == DOUBTFUL
    world.commit()
    assert learned_of(world, "i4") == (6, 0)
    assert world.items.item_events == 6


def test_sums_of_many_batches_teach_items_as_one_batch_does() -> None:
    """The item stage gets one update per commit, with the sums over all batches, to rounding."""
    worlds = [World(), World()]
    for world in worlds:
        world.catalogue(ITEMS)
        world.users.process(shoppers(400, 1), NOW_MS)
        world.commit()
    batches = [event(1_000 + k, f"u{k % 5}", f"i{k % 7}") for k in range(40)]
    whole, cut = worlds
    for part in (batches[:1], batches[1:]):  # an interval's sums are as of its first batch
        whole.users.process(part, NOW_MS)
    for record in batches:
        cut.users.process([record], NOW_MS)
        cut.users.fold()
    one, other = (decode_update(world.users.take_updates()[0].value or b"") for world in worlds)
    assert np.array_equal(np.sort(one.counts["id"]), np.sort(other.counts["id"]))
    a, b = (update.counts[np.argsort(update.counts["id"])] for update in (one, other))
    for name in ("n", "n_repeat", "n_events"):
        assert np.array_equal(a[name], b[name])
    assert np.allclose(a["popularity"], b["popularity"], rtol=1e-4)
    assert np.isclose(one.pairs["weight"].sum(), other.pairs["weight"].sum(), rtol=1e-4)
