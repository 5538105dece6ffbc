"""Learning a history: duplicates change nothing, time never runs backwards, counts are exact, numbers stay finite."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.learn import PAGES_PER_EVENT, PAIRS_PER_EVENT, RECORDS_PER_EVENT
from operators.numeric import decay
from operators.params import POPULARITY_DAYS
from state.ids import hash_id
from tests.operators.world import DAY_S, HISTORIES, START_MS, STEPS, Step, World, no_nan

EPOCH_MS = 946_684_800_000


def memory_of(world: World) -> list[bytes]:
    """Return everything that learning may change, as bytes."""
    users, acc = world.users.table, world.users._acc
    slabs = (users.headers, *users.pages, world.replica.table.headers, *world.replica.table.pages)
    sums = (acc.records[: acc.n[0]], acc.pair_a[: acc.n_pairs[0]], acc.pair_weight[: acc.n_pairs[0]])
    ticks = users.headers.records["tick"].copy()
    users.headers.records["tick"] = 0  # when a row was used last is not learned
    found = [*(slab.records.tobytes() for slab in slabs), *(s.tobytes() for s in sums), world.users.globals.tobytes()]
    users.headers.records["tick"] = ticks
    return found


@settings(max_examples=80)
@given(HISTORIES, st.data())
def test_duplicates_change_nothing(history: list[Step], data: st.DataObject) -> None:
    """Any of a user's last 32 events, sent again, leaves users, items, sums and weights byte for byte as they are."""
    world = World()
    records = world.learn(history)
    newest: dict[bytes, list] = {}
    for record in records:
        newest.setdefault(record.key, []).append(record)
    again = [record for sent in newest.values() for record in sent[-32:]]
    if not again:
        return
    repeated = data.draw(st.lists(st.sampled_from(again), max_size=20))
    before, counters = memory_of(world), dict(world.users.counters)
    world.users.process(repeated, START_MS + 500 * 86_400_000)
    assert memory_of(world) == before
    counters["n_duplicates"] += len(repeated)
    assert world.users.counters == counters


@settings(max_examples=80)
@given(HISTORIES, st.integers(1, 12))
def test_times_never_move_backwards(history: list[Step], n_per_commit: int) -> None:
    """After each commit every time of every user and item is at least what it was, and never beyond the newest."""
    world = World()
    users: dict[int, int] = {}
    items = np.zeros(0, np.int64)
    latest = 0
    for at in range(0, len(history), n_per_commit):
        steps = history[at : at + n_per_commit]
        world.learn(steps)
        world.commit()
        latest = max([latest, *((START_MS + round(s.day * 86_400_000) - EPOCH_MS) // 1000 for s in steps)])
        for user in world.known_users():
            assert users.get(user, 0) <= world.now_s(user) <= latest
            users[user] = world.now_s(user)
        now = world.entities.headers["t_s"].astype(np.int64)
        assert (now[: items.size] >= items).all()
        assert (now <= latest).all()
        items = now


@settings(max_examples=80)
@given(HISTORIES, st.integers(1, 12))
def test_counts_are_exact_and_numbers_finite(history: list[Step], n_per_commit: int) -> None:
    """Events per user and per type are counted one by one; all factors, sums and decayed counts stay finite."""
    world = World()
    world.live(history, n_per_commit)
    of_user = Counter(step.user for step in history)
    headers = world.users.table.headers.records
    assert {u: int(headers[world.user_row(u)]["n_events"]) for u in world.known_users()} == dict(of_user)
    assert world.users.counters["n_events"] == len(history)
    assert world.users.counters["n_users"] == len(of_user)
    assert Counter(world.users.tally.by_type) == Counter(step.kind for step in history)
    for user in world.known_users():
        header = headers[world.user_row(user)]
        assert no_nan(header["factors"], header["factors_g"], header["n_decayed"], header["n_repeat_decayed"])
        assert 0.0 <= header["n_repeat_decayed"] <= header["n_decayed"]
    for table in (world.items.table, world.replica.table):
        records = table.headers.records
        names = ("target", "context", "bias", "blend_bias", "popularity", "cooc_count", "target_g", "context_g")
        assert no_nan(*(records[name] for name in names))
        assert (records["popularity"] >= 0).all()
        assert (records["n_repeat"] <= records["n"]).all()


@settings(max_examples=60)
@given(st.lists(STEPS, min_size=1, max_size=40), st.integers(1, 10))
def test_batches_do_not_matter_to_counts(history: list[Step], n_per_batch: int) -> None:
    """However the events of an interval are cut into batches, users' slots and items' counts are the same."""

    def run(size: int) -> tuple[list[bytes], list[int]]:
        world = World()
        for at in range(0, len(history), size):
            world.learn(history[at : at + size])
        pages = {key: page for key, page in world.commit().pages if key[8] not in (0, 200)}  # factors are in headers
        rows = [world.item_row(step.item) for step in history]
        return [pages[key] for key in sorted(pages)], world.entities.headers["n"][rows].tolist()

    assert run(n_per_batch) == run(len(history))


@settings(max_examples=60)
@given(HISTORIES)
def test_an_event_stays_within_the_room_that_is_reserved(history: list[Step]) -> None:
    """No event takes more accumulators, pairs or pages than the constants say that room is made for."""
    world = World()
    world.live(history)
    table = world.users.table
    for k in range(20):
        acc = world.users._acc
        before = int(acc.n[0]), int(acc.n_pairs[0]), [slab.n_used for slab in table.pages]
        world.learn([Step(k % 4, (3 * k) % 25, "purchase", 399.5, 77 + k // 3)])
        acc = world.users._acc
        assert acc.n[0] - before[0] <= RECORDS_PER_EVENT
        assert acc.n_pairs[0] - before[1] <= PAIRS_PER_EVENT
        assert all(slab.n_used - n <= PAGES_PER_EVENT for slab, n in zip(table.pages, before[2], strict=True))


def test_one_very_late_event_does_not_cost_the_others_their_popularity() -> None:
    """An event of a year ago, first in its interval, leaves the decayed counts of the events after it intact."""
    plain, late = World(), World()
    now_s = (START_MS - EPOCH_MS) // 1000 + 390 * DAY_S
    now = [Step(1, 3, "purchase", 390.0, 1), Step(2, 3, "purchase", 390.0, 2)]
    old = Step(0, 7, "purchase", 1.0, 0)
    plain.live([Step(3, 3, "purchase", 389.0, 3)])
    plain.learn(now)
    plain.commit()
    late.live([Step(3, 3, "purchase", 389.0, 3)])
    late.learn([old])
    late.learn(now)
    late.commit()
    found = []
    for world in (plain, late):
        header = world.entities.headers[world.item_row(3)]
        passed_s = float(now_s - int(header["t_s"]))
        found.append([float(header["popularity"][k]) * decay(passed_s, POPULARITY_DAYS[k]) for k in range(3)])
    assert np.allclose(found[0], found[1], rtol=1e-3)
    assert found[0][0] > 1.0


def test_the_count_of_taught_events_may_end() -> None:
    """After as many events as the count can hold the ring goes on in turn, and the partition is no beginner again."""
    world = World(rank_every=1_000)
    world.users.globals["ring_n"] = 2**32 - 2
    world.learn([Step(0, item, "purchase", float(item), item) for item in range(8)])
    ring = world.users.globals["ring"][0]
    assert [ring[at] for at in (126, 127, 0, 1)] == [hash_id(f"i{item}") for item in range(4)]
    assert world.users.globals["ring_n"][0] == 2**31 + 6
