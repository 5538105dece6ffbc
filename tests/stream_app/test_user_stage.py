"""Both processors and the replica in memory, without Kafka: what a commit holds, and that a crash changes nothing."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from operators.params import N_GLOBAL_TOP, N_OVERALL, POPULARITY_DAYS
from state.codec import KIND_HEADER, page_key
from state.ids import hash_category, hash_id
from state.layout import EPOCH_2000_S, USER_HEADER, disk_layout
from state.memory_store import MemoryPageStore
from stream_app.item_stage import ItemProcessor
from stream_app.records import decode_slate
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.user_stage import UserProcessor
from stream_app.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.processor import Flush

NOW_MS = 1_700_000_000_000


class Record(msgspec.Struct):
    """A record as a consumer hands it over."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    topic: str = "t"
    partition: int = 0
    timestamp: int = NOW_MS
    headers: Any = ()


class World:
    """One partition, one item shard, a replica; commits by hand, as the runtime would."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.replica = Replica(self.settings)
        self.user_store, self.item_store = MemoryPageStore(), MemoryPageStore()
        self.checkpoints: list[bytes | None] = [None, None]
        self.slates: list[bytes] = []
        self.open()

    def open(self) -> None:
        """Open both processors from their last commits, as after a crash."""
        self.users = UserProcessor(self.settings, 0, 1, 1, self.user_store, self.replica)
        self.items = ItemProcessor(self.settings, 0, 1, self.item_store)
        self.users.restore(self.checkpoints[0])
        self.items.restore(self.checkpoints[1])

    def catalogue(self, items: Iterable[str], **fields: Any) -> None:
        """Put items into the catalogue, aisle by the number in their name."""
        self.replica.apply_catalog(
            [
                Record(
                    i.encode(),
                    json.dumps({"item_id": i, "category": ["shop", f"aisle-{int(i[1:]) % 6}"], **fields}).encode(),
                )
                for i in items
            ]
        )

    def commit(self) -> Flush:
        """End the interval: flush, store, and let the item stage and the replica take over what came."""
        flush = self.users.flush(NOW_MS)
        self.user_store.write(flush.pages, position=1, checkpoint=msgspec.json.encode({"state": flush.state}))
        self.checkpoints[0] = self.user_store.checkpoint
        self.users.committed()
        self.slates += [o.value for o in flush.outputs if o.topic == self.settings.topic_recommendations and o.value]
        updates = [o for o in flush.outputs if o.topic == self.settings.topic_item_updates]
        self.items.process([Record(o.key, o.value) for o in updates], NOW_MS)
        items = self.items.flush(NOW_MS)
        self.item_store.write(items.pages, position=1, checkpoint=msgspec.json.encode({"state": items.state}))
        self.checkpoints[1] = self.item_store.checkpoint
        self.items.committed()
        self.replica.apply_items([Record(key, value) for key, value in items.pages])
        return flush

    def header(self, user: str) -> Any:
        """Return a user's committed header, or None."""
        raw = self.user_store.get_many([page_key(hash_id(user), KIND_HEADER)])[0]
        if raw is None:
            return None
        return np.frombuffer(raw, disk_layout(USER_HEADER))[0]


def event(n: int, user: str, item: str | None, kind: str = "purchase", **fields: Any) -> Record:
    """Return an event record; its time follows from ``n``."""
    value = {"event_id": f"e{n}", "type": kind, "user_id": user, "event_time_ms": NOW_MS - 10**9 + n * 60_000, **fields}
    if item is not None:
        value["item_id"] = item
    return Record(user.encode(), json.dumps(value).encode(), offset=n)


def shoppers(n: int, seed: int) -> list[Record]:
    """Return events of ten users over thirty items, in sessions of four."""
    rng = random.Random(seed)  # noqa: S311 - shoppers, not secrets
    return [
        event(
            k,
            f"u{k // 4 % 10}",
            f"i{rng.randrange(30)}",
            session_id=f"s{k // 4}",
            kind=rng.choice(["purchase", "view"]),
        )
        for k in range(n)
    ]


ITEMS = [f"i{k}" for k in range(30)]


def test_counts_and_duplicates() -> None:
    """An event id that comes again is counted as a duplicate and changes nothing else."""
    world = World()
    world.catalogue(ITEMS)
    world.users.process([event(1, "ann", "i1"), event(2, "ann", "i2"), event(1, "ann", "i1")], NOW_MS)
    flush = world.commit()
    assert flush.state["n_events"] == 2
    assert flush.state["n_duplicates"] == 1
    assert flush.state["by_type"] == {"purchase": 2}
    assert world.items.item_events == 2
    assert world.header("ann")["n_events"] == 2


def test_late_events_never_move_time_back() -> None:
    """An event older than the newest one is learned and counted as late; the user's time stays."""
    world = World()
    world.users.process([event(50, "ann", "i1")], NOW_MS)
    world.commit()
    before = world.header("ann")["last_s"]
    world.users.process([event(3, "ann", "i2")], NOW_MS)
    assert world.commit().state["n_late"] == 1
    assert world.header("ann")["last_s"] == before
    assert world.header("ann")["n_items"] == 2


@pytest.mark.parametrize("days", [1, 40, 200, 8_000])
@pytest.mark.parametrize("folded", [False, True])
def test_popularity_outlives_a_jump_in_time(days: int, *, folded: bool) -> None:
    """Events far apart within one interval leave the popularity that one interval each would, then and later."""
    start_ms = NOW_MS - 8_500 * 86_400_000
    one, each = World(), World()
    for k in range(4):
        at_ms = start_ms + days * 86_400_000 * k // 3
        records = [event(10 * k + n, f"u{n}", f"i{n % 3}", event_time_ms=at_ms + n * 60_000) for n in range(6)]
        for world in (one, each):
            world.users.process(records, NOW_MS)
        if folded:
            one.users.fold()
        each.commit()
    one.commit()
    end_ms = start_ms + days * 86_400_000 + 3_600_000
    assert popularities(one, end_ms) == pytest.approx(popularities(each, end_ms), rel=1e-3)
    assert popularities(one, end_ms).min() > 1.9
    for world in (one, each):
        world.users.process([event(90 + n, "ann", f"i{n}", event_time_ms=end_ms) for n in range(3)], NOW_MS)
        world.commit()
    assert popularities(one, end_ms) == pytest.approx(popularities(each, end_ms), rel=1e-3)
    assert popularities(one, end_ms).min() > 2.9


def popularities(world: World, now_ms: int) -> np.ndarray:
    """Return the popularities of three items that count all events, as of a time in milliseconds since 1970 UTC."""
    rows = world.replica.table.index.get_many(np.array([hash_id(f"i{n}") for n in range(3)], np.uint64))
    headers = world.replica.table.headers.records[rows]
    age_s = now_ms // 1000 - EPOCH_2000_S - headers["t_s"].astype(np.int64)[:, None]
    left = 2.0 ** (-age_s / (86_400.0 * np.array(POPULARITY_DAYS[:N_OVERALL])))
    return np.asarray(headers["popularity"][:, :N_OVERALL] * left)


def test_forget_then_come_back() -> None:
    """Forgotten and back within one interval, a user begins anew, and the old pages are tombstones."""
    world = World()
    world.users.process([event(k, "ann", f"i{k}") for k in range(20)], NOW_MS)
    world.commit()
    assert world.header("ann")["n_pages"][0] == 3
    world.users.process([event(30, "ann", None, "forget"), event(31, "ann", "i9")], NOW_MS)
    flush = world.commit()
    assert world.header("ann")["n_events"] == 1
    assert world.header("ann")["n_items"] == 1
    assert flush.state["n_users"] == 1
    assert (page_key(hash_id("ann"), 1, 1), None) in flush.pages
    world.users.process([event(40, "ann", None, "forget"), event(41, "nobody", None, "forget")], NOW_MS)
    flush = world.commit()
    assert world.header("ann") is None
    assert flush.state["n_users"] == 0
    assert flush.state["n_forgotten"] == 3  # requests, that of a user who was not known among them


@pytest.mark.parametrize("crash_at", [1, 4, 9])
def test_crash_and_recover_equals_an_uninterrupted_run(crash_at: int) -> None:
    """A processor reopened from its last commit goes on to the same pages and the same slates, byte for byte."""
    worlds = []
    for crash in (None, crash_at):
        world = World()
        world.catalogue(ITEMS)
        records = shoppers(400, 3)
        for turn in range(10):
            if turn == crash:
                world.users.process(records[turn * 40 : turn * 40 + 17], NOW_MS)  # lost with the crash
                world.open()
            world.users.process(records[turn * 40 : turn * 40 + 40], NOW_MS)
            world.commit()
        worlds.append(world)
    straight, crashed = worlds
    assert straight.user_store._pages == crashed.user_store._pages
    assert straight.item_store._pages == crashed.item_store._pages
    assert straight.slates == crashed.slates
    assert len(straight.slates) > 20


def test_eviction_changes_nothing() -> None:
    """With room for few hot rows, rows come and go through the store, and every page ends up the same."""
    stores = []
    for hot_rows in (200_000, 1_000):
        world = World(hot_rows=hot_rows)
        world.catalogue(ITEMS)
        for turn in range(6):
            first = turn % 3 * 900
            users = [event(turn * 2000 + k, f"u{first + k}", f"i{k % 30}") for k in range(900)]
            world.users.process(users, NOW_MS)
            world.commit()
        assert world.users.table.n_rows <= hot_rows
        stores.append(world.user_store._pages)
    assert stores[0] == stores[1]


def test_slates_keep_the_rules() -> None:
    """No category of the context, no unavailable or disliked item, the cap (six aisles are few), no item twice."""
    world = World(category_cap=1)
    world.catalogue(ITEMS)
    world.catalogue(["i3", "i4"], available=False)
    for turn, start in enumerate(range(0, 400, 40)):
        world.users.process(shoppers(400, 5)[start : start + 40], NOW_MS)
        world.users.process([event(1000 + turn, "u1", "i8", "dislike")], NOW_MS)
        world.commit()
    assert world.slates
    for slate in map(decode_slate, world.slates):
        ids = [item.item_id for item in slate.items]
        categories = [item.category for item in slate.items]
        assert len(set(ids)) == len(ids)
        assert max(Counter(categories).values()) <= math.ceil(20 / len(set(categories)))
        assert not set(categories) & set(slate.context_categories)
        assert not {"i3", "i4"} & set(ids)
        assert not (slate.user_id == "u1" and "i8" in ids)


def test_shown_items_rest() -> None:
    """With a limit, an item that was shown in two slates in a row without a reaction is not in the third."""
    world = World(shown_limit=2, slate_size=2, discovery_slots=0)
    world.catalogue(ITEMS)
    for start in range(0, 200, 40):
        world.users.process(shoppers(200, 8)[start : start + 40], NOW_MS)
        world.commit()
    world.slates.clear()
    for n in range(3):
        world.users.process([event(5000 + n, "u2", "i5", "view", session_id="long")], NOW_MS)
        world.commit()
    shown = [{item.item_id for item in decode_slate(raw).items} for raw in world.slates]
    assert len(shown) == 3
    assert not shown[0] & shown[1] & shown[2]


def test_bought_items_rest() -> None:
    """With a setting for it, what was bought lately is left out."""
    world = World(exclude_bought_days=30.0, discovery_slots=0)
    world.catalogue(ITEMS)
    world.users.process([event(k, "ann", f"i{k}", session_id=f"s{k}") for k in range(12)], NOW_MS)
    world.commit()
    world.users.process([event(20, "ann", "i20", session_id="new")], NOW_MS)
    world.commit()
    bought = {f"i{k}" for k in range(12)}
    newest = decode_slate(world.slates[-1]) if world.slates else None
    assert newest is None or not bought & {item.item_id for item in newest.items}


def test_replica_does_not_mind_the_order() -> None:
    """Catalogue before or after the item state: the same popular items, by id."""
    tops = []
    for late in (False, True):
        world = World()
        if not late:
            world.catalogue(ITEMS)
        for start in range(0, 200, 40):
            world.users.process(shoppers(200, 2)[start : start + 40], NOW_MS)
            world.commit()
        rebuilt = World()
        order = [lambda w=rebuilt: w.catalogue(ITEMS), lambda w=rebuilt, s=world: _replay(s, w)]
        for step in order[::-1] if late else order:
            step()
        entities = rebuilt.replica.entities()
        rows = entities.top[: entities.n_top[0]]
        tops.append(sorted(rebuilt.replica.listed[int(i)].item_id for i in entities.headers["id"][rows]))
    assert tops[0] == tops[1]
    assert 0 < len(tops[0]) <= N_GLOBAL_TOP


def _replay(source: World, target: World) -> None:
    target.replica.apply_items([Record(key, value) for key, value in source.item_store._pages.items()])


def test_catalogue_changes() -> None:
    """A removed item leaves the lists; one that moves to another aisle stands in that aisle's list only."""
    world = World()
    world.catalogue(ITEMS)
    world.users.process([event(k, f"u{k}", "i7") for k in range(5)], NOW_MS)
    world.commit()
    replica = world.replica

    def aisles_of(item: str) -> list[tuple[str, ...]]:
        e = replica.entities()
        row = replica.table.index.get(hash_id(item))
        return [
            path
            for c, path in enumerate(replica.category_paths)
            if row in e.category_top[c, : e.category_n_top[c]].tolist()
        ]

    assert aisles_of("i7") == [("shop", "aisle-1")]
    moved = json.dumps({"item_id": "i7", "category": ["shop", "new"]}).encode()
    replica.apply_catalog([Record(b"i7", moved)])
    assert aisles_of("i7") == [("shop", "new")]
    replica.apply_catalog([Record(b"i7", None)])
    assert aisles_of("i7") == []
    assert hash_id("i7") not in replica.listed


def test_category_depth() -> None:
    """A depth cuts the path: items of one department are one category."""
    world = World(category_depth=1)
    world.catalogue(ITEMS)
    assert world.replica.category_paths == [("shop",)]


def test_category_paths_do_not_collide_by_their_separator() -> None:
    """Two paths that join to the same text are two categories."""
    assert hash_category(["a/b"]) != hash_category(["a", "b"])
    assert hash_category(["a\x1fb"]) != hash_category(["a", "b"])


def test_warm_up_runs_both_processors() -> None:
    """It needs no broker, and reports how long it took."""
    assert warm_up(Settings()) >= 0.0
