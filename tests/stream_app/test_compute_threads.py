"""Tasks of one worker in several threads over one replica: nothing is lost, and changes wait for kernels."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from operators.learn import RECORDS_PER_EVENT, learn_batch
from operators.serving import HOUR_S
from state.ids import hash_id
from state.memory_store import MemoryPageStore
from stream_app import user_stage
from stream_app.item_stage import ItemProcessor
from stream_app.learned_pages import LAYOUTS, globals_of
from stream_app.pools import Run, pooled_runs
from stream_app.records import decode_slate
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.shared_rankers import SharedRankers
from stream_app.user_stage import UserProcessor
from tests.operators.world import is_clear
from tests.stream_app import harness
from tests.stream_app.test_user_stage import NOW_MS, Record, World, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.arrays import Rows
    from stream_app.processor import Flush, Output

N_ROUNDS, N_EVENTS, N_NEW = 40, 120, 60
THREADS = 3


def batch(thread: int, round_: int) -> list[Record]:
    """Return purchases of a thread's users; each round there are items that nobody had before."""
    rng = random.Random(f"{thread} {round_}")  # noqa: S311 - shoppers, not secrets
    first = round_ * N_EVENTS
    return [
        event(
            (first + k) * THREADS + thread,
            f"u{thread}-{rng.randrange(25)}",
            f"i{rng.randrange((round_ + 1) * N_NEW)}",
            session_id=f"s{round_}-{k // 5}",
        )
        for k in range(N_EVENTS)
    ]


class Crew:
    """A user task in each thread, one item task and one replica, which the first thread changes."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.replica = Replica(self.settings)
        self.items = ItemProcessor(self.settings, 0, 1, MemoryPageStore())
        self.items.restore(None)
        rankers = SharedRankers()
        self.users = [
            UserProcessor(self.settings, k, THREADS, 1, MemoryPageStore(), self.replica, reader=k, rankers=rankers)
            for k in range(THREADS)
        ]
        for users in self.users:
            users.restore(None)
        self.threads = [ThreadPoolExecutor(1) for _ in range(THREADS)]
        self.slates: list[bytes] = []

    def catalogue(self, round_: int) -> None:
        """List the items that are new in a round, in categories of which some are new, too."""
        World.catalogue(self, [f"i{k}" for k in range(round_ * N_NEW, (round_ + 1) * N_NEW)])  # type: ignore[arg-type]

    def run(self, k: int, round_: int) -> list[Output]:
        """Take a batch of a thread through its task; return what the item stage must have."""
        users = self.users[k]
        users.process(batch(k, round_), NOW_MS)
        flush: Flush = users.flush(NOW_MS)
        users.committed()
        self.slates += [o.value for o in flush.outputs if o.topic == self.settings.topic_recommendations and o.value]
        return [o for o in flush.outputs if o.topic == self.settings.topic_item_updates]

    def teach(self, updates: list[Output]) -> None:
        """Take updates through the item stage to the replica."""
        self.items.process([Record(o.key, o.value) for o in updates], NOW_MS)
        pages = self.items.flush(NOW_MS).pages
        self.items.committed()
        self.replica.apply_pages(pages)


def test_what_one_learned_the_next_one_knows() -> None:
    """A task that commits after others goes on from what they learned of ranking, and its own state has it then."""
    crew = Crew()
    crew.catalogue(0)
    for k in range(THREADS - 1):
        crew.teach(crew.run(k, 0))
    first, _, last = crew.users
    assert first.globals["blend"].any()
    last.process(batch(THREADS - 1, 0), NOW_MS)
    last.flush(NOW_MS)
    own = last.globals["blend"].copy()
    last.committed()
    blend = last.globals["blend"]
    assert 0.0 < np.linalg.norm(blend - first.globals["blend"]) < np.linalg.norm(own - first.globals["blend"])
    pages = dict(last.flush(NOW_MS).pages)
    kept = globals_of(*(pages.get(key) for key in LAYOUTS))  # type: ignore[arg-type]
    assert (kept["blend"] == blend).all()


def test_nothing_is_lost_between_threads() -> None:
    """Three tasks learn side by side while items, categories and neighbours come and change: every event is counted."""
    crew = Crew()
    waiting: list[Future[None]] = []
    for round_ in range(N_ROUNDS):
        crew.threads[0].submit(crew.catalogue, round_).result()
        runs = [crew.threads[k].submit(crew.run, k, round_) for k in range(THREADS)]
        waiting += [crew.threads[0].submit(crew.teach, run.result()) for run in runs]
    for each in waiting:
        each.result()
    for thread in crew.threads:
        thread.shutdown()
    sent = [r for k in range(THREADS) for round_ in range(N_ROUNDS) for r in batch(k, round_)]
    headers = crew.replica.table.headers.records
    assert crew.replica.n_rows > 1_024, "the arrays have grown meanwhile"
    assert crew.items.item_events == len(sent)
    assert headers["n"][headers["kind"] == 0].sum() == len(sent)
    assert [users.counters["n_events"] for users in crew.users] == [N_ROUNDS * N_EVENTS] * THREADS
    assert all(np.isfinite(headers[name]).all() for name in ("target", "context", "popularity"))
    for users in crew.users:
        assert is_clear(users._work)
        assert users._work.position.shape[0] == crew.replica.n_rows
    for slate in map(decode_slate, crew.slates):
        assert len({item.item_id for item in slate.items}) == len(slate.items)
        assert not {item.category for item in slate.items} & set(slate.context_categories)


def test_rows_of_another_thread_get_room_in_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that come while a batch is learned may be touched by the rest of it: the sums have a record for each."""
    world = World()
    world.catalogue([f"i{k}" for k in range(900)])
    rooms: list[int] = []

    def learn(events: Rows, *args: Any) -> None:
        acc = args[6]
        need = min(int(acc.n[0]) + RECORDS_PER_EVENT * events.size, world.replica.n_rows)
        rooms.append(acc.records.shape[0] - need)
        assert acc.slot.shape[0] >= world.replica.n_rows
        learn_batch(events, *args)

    def runs(*args: Any) -> Iterator[Run]:
        for run in pooled_runs(*args):
            yield run
            world.catalogue([f"i{1_000 * len(rooms) + k}" for k in range(900)])

    monkeypatch.setattr(user_stage, "pooled_runs", runs)
    monkeypatch.setattr(user_stage, "learn_batch", learn)
    world.users.process([event(k, f"u{k % 20}", f"i{k}") for k in range(2_400)], NOW_MS)
    assert len(rooms) > 3
    assert min(rooms) >= 0, "no record is missing"
    assert world.replica.n_rows > 4_000


def test_changes_wait_for_those_who_read() -> None:
    """A catalogue record is applied when the last reader is done, and one that comes then waits for it."""
    world = World()
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def read() -> None:
        with world.replica.reading():
            inside.set()
            go_on.wait()
            order.append("read")

    def change() -> None:
        world.catalogue(["i1"])
        order.append("changed")

    threads = [threading.Thread(target=target) for target in (read, change)]
    threads[0].start()
    inside.wait()
    threads[1].start()
    harness.wait_for(lambda: world.replica._lock.has_pending_writers, "the change to wait")
    go_on.set()
    for thread in threads:
        thread.join()
    assert order == ["read", "changed"]


def test_who_reads_may_not_change() -> None:
    """A new item within a reading block is an error, not a wait without end."""
    world = World()
    with world.replica.reading(), pytest.raises(RuntimeError, match="not allowed"):
        world.replica.ensure(np.array([hash_id("i1")], np.uint64))


def test_each_thread_has_serving_lines_for_its_own_hours() -> None:
    """What one thread fills for its users' hour is not what another one reads."""
    world = World()
    world.catalogue(["i1", "i2"])
    world.replica.admit(1)
    late = UserProcessor(world.settings, 1, 2, 1, MemoryPageStore(), world.replica, reader=1)
    late.restore(None)
    day = 86_400 // HOUR_S
    world.users.process([event(k, "ann", f"i{1 + k % 2}") for k in range(6)], NOW_MS)
    late.process([event(k, "bob", f"i{1 + k % 2}") for k in range(60 * day, 60 * day + 6)], NOW_MS)
    row = world.replica.table.index.get(hash_id("i1"))
    first, second = (int(world.replica.entities(k).serving["hour"][row]) for k in range(2))
    assert second - first == day
    assert world.replica.entities(0).serving["attributes"][row].tolist() == (
        world.replica.entities(1).serving["attributes"][row].tolist()
    )
    world.catalogue(["i1"], brand="acme")
    lines = [world.replica.entities(k).serving["attributes"][row].tolist() for k in range(2)]
    assert lines[0] == lines[1]
