"""A tiny world for tests of the kernels: a replica, a user and an item processor in memory, and a way into each step.

Everything that depends on the kernels' signatures is here, so that the tests themselves speak of invariants only.
"""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import strategies as st

from operators.arrays import new_work
from operators.rank import gather, release
from state.ids import hash_id
from state.layout import EPOCH_2000_S, N_CONTEXT_SLOTS
from state.memory_store import MemoryPageStore
from stream_app.item_stage import ItemProcessor
from stream_app.records import LocalRecord, decode_slate
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.user_stage import UserProcessor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from operators.arrays import Entities, Users, Work
    from stream_app.processor import Flush
    from stream_app.records import Slate

NOW_MS = 1_700_000_000_000
START_MS = NOW_MS - 400 * 86_400_000
N_AISLES = 5
N_ITEMS = 25
N_USERS = 4
DAY_S = 86_400


class Step(NamedTuple):
    """One event of a made-up history: who, what, how, and when (days after the start)."""

    user: int
    item: int
    kind: str
    day: float
    session: int | None


KINDS = ("view", "click", "cart", "purchase", "purchase", "favorite", "rating", "dislike", "impression")

STEPS = st.builds(
    Step,
    st.integers(0, N_USERS - 1),
    st.integers(0, N_ITEMS - 1),
    st.sampled_from(KINDS),
    st.floats(0.0, 399.0),
    st.none() | st.integers(0, 6),
)
HISTORIES = st.lists(STEPS, max_size=60)
"""Any history: times in no order, items known to the catalogue or not, all kinds of events."""


def aisle(item: int) -> str:
    """Return the category of an item, as slates name it."""
    return f"shop / aisle-{item % N_AISLES}"


def shoppers(n: int, seed: int) -> list[Step]:
    """Return ``n`` steps in order of time, in sessions of four, of users with favourite aisles."""
    rng = random.Random(seed)  # noqa: S311 - shoppers, not secrets
    steps = []
    for k in range(n):
        user = k // 4 % N_USERS
        item = (user + rng.randrange(3)) % N_AISLES + N_AISLES * rng.randrange(N_ITEMS // N_AISLES)
        steps.append(Step(user, item, rng.choice(("purchase", "purchase", "view", "cart")), k / 4, k // 4))
    return steps


class World:
    """One partition, one item shard, one replica; commits by hand, as the runtime would make them."""

    def __init__(self, n_in_catalogue: int = N_ITEMS, **settings: Any) -> None:
        self.settings = Settings(**{"policy": "greedy", **settings})
        self.replica = Replica(self.settings)
        self.store, self.item_store = MemoryPageStore(), MemoryPageStore()
        self.users = UserProcessor(self.settings, 0, 1, 1, self.store, self.replica)
        self.items = ItemProcessor(self.settings, 0, 1, self.item_store)
        self.users.restore(None)
        self.items.restore(None)
        self.n_sent = 0
        self.catalogue(range(n_in_catalogue))

    def catalogue(self, items: Iterable[int], *, listed_s: int | None = None, **fields: Any) -> None:
        """Put items into the catalogue, now or at a time in seconds since 2000."""
        at_ms = NOW_MS if listed_s is None else 1000 * (listed_s + EPOCH_2000_S)
        entries = [{"item_id": f"i{k}", "category": aisle(k).split(" / "), **fields} for k in items]
        self.replica.apply_catalog(
            [LocalRecord(e["item_id"].encode(), json.dumps(e).encode(), timestamp=at_ms) for e in entries]
        )

    def record(self, step: Step, event_id: str | None = None) -> LocalRecord:
        """Return the event record of a step, with an id of its own unless one is given."""
        self.n_sent += 1
        event: dict[str, Any] = {
            "event_id": event_id or f"e{self.n_sent}",
            "type": step.kind,
            "user_id": f"u{step.user}",
            "item_id": f"i{step.item}",
            "event_time_ms": START_MS + round(step.day * 86_400_000),
        }
        if step.kind == "rating":
            event["value"] = 1 + self.n_sent % 5
        if step.session is not None:
            event["session_id"] = f"s{step.session}"
        return LocalRecord(b"u%d" % step.user, json.dumps(event).encode(), offset=self.n_sent)

    def learn(self, steps: Iterable[Step]) -> list[LocalRecord]:
        """Have the user stage learn steps, in one batch, without a commit; return the records."""
        records = [self.record(step) for step in steps]
        self.users.process(records, NOW_MS)
        return records

    def commit(self) -> Flush:
        """End the interval: the item stage and the replica take over what came."""
        flush = self.users.flush(NOW_MS)
        self.store.write(flush.pages, position=1, checkpoint=msgspec.json.encode({"state": flush.state}))
        self.users.committed()
        updates = [o for o in flush.outputs if o.topic == self.settings.topic_item_updates]
        self.items.process([LocalRecord(o.key, o.value) for o in updates], NOW_MS)
        items = self.items.flush(NOW_MS)
        self.item_store.write(items.pages, position=1, checkpoint=msgspec.json.encode({"state": items.state}))
        self.items.committed()
        self.replica.apply_items([LocalRecord(key, value) for key, value in items.pages])
        return flush

    def live(self, steps: Sequence[Step], n_per_commit: int = 8) -> list[Slate]:
        """Learn steps with a commit after every few of them; return the slates."""
        slates: list[Slate] = []
        for at in range(0, len(steps), n_per_commit):
            self.learn(steps[at : at + n_per_commit])
            slates += self.slates(self.commit())
        return slates

    def slates(self, flush: Flush) -> list[Slate]:
        """Return the slates of a flush."""
        topic = self.settings.topic_recommendations
        return [decode_slate(o.value) for o in flush.outputs if o.topic == topic and o.value is not None]

    @property
    def entities(self) -> Entities:
        """The replica's arrays."""
        return self.replica.entities()

    @property
    def arrays(self) -> Users:
        """The user table's arrays, with room for what any one test adds."""
        self.users.table.reserve_pages(256)
        return self.users._users()

    def user_row(self, user: int) -> int:
        """Return a user's row, -1 if there is none."""
        return self.users.table.index.get(hash_id(f"u{user}"))

    def item_row(self, item: int) -> int:
        """Return an item's row in the replica, -1 if there is none."""
        return self.replica.table.index.get(hash_id(f"i{item}"))

    def known_users(self) -> list[int]:
        """Return the users that have a row."""
        return [user for user in range(N_USERS) if self.user_row(user) > 0]

    def now_s(self, user: int) -> int:
        """Return the time of a user's newest event, in seconds since 2000."""
        return int(self.users.table.headers.records[self.user_row(user)]["last_s"])

    def new_work(self) -> Work:
        """Return fresh scratch space that fits the world."""
        return new_work(self.replica.n_rows, self.replica.n_categories)

    @contextmanager
    def gathered(self, user: int, work: Work | None = None) -> Iterator[Gathered]:
        """Gather a user's candidates, and clear the marks at the end."""
        work = work if work is not None else self.new_work()
        u, entities, users = self.user_row(user), self.entities, self.arrays
        now_s, globals_ = self.now_s(user), self.users.globals[0]
        counts = gather(users, u, entities, globals_, work, now_s, self.users._learn)
        yield Gathered(u, users, entities, globals_, work, now_s, *(int(n) for n in counts))
        release(users, u, entities, work, int(counts[0]), int(counts[1]))


class Gathered(NamedTuple):
    """What :func:`operators.rank.gather` has left behind for one user."""

    u: int
    users: Users
    entities: Entities
    globals_: Any
    work: Work
    now_s: int
    n: int
    n_categories: int
    n_context: int
    n_sources: int

    @property
    def rows(self) -> list[int]:
        """Entity rows of the candidates."""
        return [int(row) for row in self.work.candidates["row"][: self.n]]


def is_clear(work: Work) -> bool:
    """Tell whether no mark is left in scratch space."""
    marks = (work.position, work.neighbour_position, work.category_position)
    sums = (work.serial_size, work.serial_hits, work.serial_mask, work.attribute_counts)
    return all(bool((mark == -1).all()) for mark in marks) and not any(s.any() for s in sums)


def context_rows(world: World, user: int) -> set[int]:
    """Return the entity rows of a user's present context, from the pages, by the documented rule."""
    table = world.users.table
    header = table.headers.records[world.user_row(user)]
    found: set[int] = set()
    at, left = int(header["heads"][2]), int(header["n_context"])
    while at > 0 and left > 0:
        page = table.pages[2].records[at]
        for k in range(min(N_CONTEXT_SLOTS, left)):
            old = int(page["t_s"][k]) + world.settings.session_gap_ms // 1000 < world.now_s(user)
            if header["session"] != 0 or not old:
                found.add(int(page["entity"][k]))
        left -= N_CONTEXT_SLOTS
        at = int(page["next"])
    return found


def no_nan(*arrays: np.ndarray) -> bool:
    """Tell whether all numbers are finite."""
    return all(bool(np.isfinite(array).all()) for array in arrays)
