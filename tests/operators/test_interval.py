"""The accumulators of an interval: room without loss, sums that are complete and go to the right shard, emptied."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.arrays import ACCUMULATOR, Accumulators, new_accumulators
from operators.factors import accumulator
from operators.interval import MAX_GRADIENT, clear, merged, summed_updates, with_room
from state.layout import KIND_CATEGORY, KIND_ITEM, N_FACTORS, N_POPULARITIES
from state.updates import ItemUpdate, decode_update, encode_update
from tests.operators.world import HISTORIES, N_AISLES, N_ITEMS, Step, World

COPIED = ("n", "n_repeat", "n_events", "popularity", "cooc_count", "log_gaps")
COPIED += ("bias", "bias_sq", "blend_bias", "blend_bias_sq")


def touched(world: World, seed: int, n: int) -> Accumulators:
    """Return accumulators with random content for ``n`` random entities of a world."""
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(world.entities.headers["id"])
    acc = new_accumulators(world.replica.n_rows, 256, 256)
    for row in rng.choice(known, min(n, known.size), replace=False).tolist():
        record = acc.records[accumulator(acc, row)]
        record["n"], record["n_events"] = rng.integers(1, 9), rng.integers(1, 9)
        record["popularity"] = rng.random(N_POPULARITIES)
        record["log_gaps"] = rng.random()
        record["bias"] = rng.normal()
        record["target"], record["target_sq"] = rng.normal(size=N_FACTORS), rng.random()
        record["context"], record["context_sq"] = rng.normal(size=N_FACTORS), rng.random()
        record["has_target"], record["has_context"] = rng.integers(0, 2), rng.integers(0, 2)
    for k in range(n):
        a, b = rng.choice(known, 2, replace=False)
        acc.pair_a[k], acc.pair_b[k], acc.pair_weight[k] = a, b, rng.random()
    acc.n_pairs[0] = n
    return acc


def field_by_id(updates: dict[int, ItemUpdate], name: str) -> dict[int, np.ndarray]:
    """Return one summed field by entity id, over all shards."""
    return {int(c["id"]): c[name] for update in updates.values() for c in update.counts}


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.integers(1, 5))
def test_updates_hold_all_sums_each_in_its_shard(seed: int, n: int, n_shards: int) -> None:
    """Every touched entity is in the update of its shard, once, with what was summed for it."""
    world = World()
    acc = touched(world, seed, n)
    updates = summed_updates(acc, world.entities, 77, n_shards)
    headers = world.entities.headers
    for shard, update in updates.items():
        ids = update.counts["id"]
        assert update.as_of_s == 77
        assert update.names == {}
        assert np.unique(ids).size == ids.size > 0
        assert set(((ids >> np.uint64(32)) % np.uint64(n_shards)).tolist()) == {shard}
        for section in (update.targets, update.contexts):
            assert (section["at"] < ids.size).all()
        again = decode_update(encode_update(update))
        assert all(np.array_equal(a, b) for a, b in zip(again[1:5], update[1:5], strict=True))
    for record in acc.records[: acc.n[0]]:
        row_id = int(headers["id"][record["row"]])
        assert all(np.array_equal(field_by_id(updates, name)[row_id], record[name]) for name in COPIED)
        kind = KIND_CATEGORY if world.entities.category_of_row[record["row"]] >= 0 else KIND_ITEM
        assert field_by_id(updates, "kind")[row_id] == kind
    n_targets = sum(update.targets.size for update in updates.values())
    assert n_targets == int(acc.records["has_target"][: acc.n[0]].sum())


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.integers(1, 5))
def test_pairs_go_both_ways(seed: int, n: int, n_shards: int) -> None:
    """Each pair is summed once per direction; the two directions weigh the same."""
    world = World()
    acc = touched(world, seed, n)
    ids = world.entities.headers["id"]
    wanted: dict[tuple[int, int], float] = {}
    for a, b, weight in zip(acc.pair_a[:n], acc.pair_b[:n], acc.pair_weight[:n], strict=True):
        for one, other in ((a, b), (b, a)):
            key = int(ids[one]), int(ids[other])
            wanted[key] = wanted.get(key, 0.0) + float(weight)
    got: dict[tuple[int, int], float] = {}
    slot = acc.slot.copy()
    for update in summed_updates(acc, world.entities, 0, n_shards).values():
        for pair in update.pairs:
            key = int(update.counts["id"][pair["a"]]), int(pair["b"])
            assert key not in got
            got[key] = float(pair["weight"])
    assert (acc.slot == slot).all()
    assert got.keys() == wanted.keys()
    assert all(np.isclose(got[key], wanted[key], rtol=1e-5) for key in got)


def test_gradients_are_clipped_to_half_precision() -> None:
    """A sum beyond what half precision holds is clipped, never infinite."""
    world = World()
    acc = new_accumulators(world.replica.n_rows, 4, 4)
    record = acc.records[accumulator(acc, world.item_row(1))]
    record["target"], record["has_target"] = 1e9, 1
    (update,) = summed_updates(acc, world.entities, 0, 1).values()
    assert (update.targets["gradient"] == np.float16(MAX_GRADIENT)).all()


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 2000), st.integers(0, 400), st.integers(0, 400))
def test_more_room_keeps_the_content(seed: int, n: int, n_rows: int, n_records: int, n_pairs: int) -> None:
    """Growing loses nothing, and there is room for what was asked."""
    acc = touched(World(), seed, n)
    content = [a.copy() for a in (acc.records[: acc.n[0]], acc.pair_a[:n], acc.pair_b[:n], acc.pair_weight[:n])]
    used = np.flatnonzero(acc.slot >= 0)
    more = with_room(acc, n_rows, n_records, n_pairs)
    assert more.slot.shape[0] >= max(n_rows, acc.slot.shape[0])
    assert more.records.shape[0] >= min(int(acc.n[0]) + n_records, n_rows)
    assert more.pair_a.shape[0] >= n + n_pairs
    kept = (more.records[: more.n[0]], more.pair_a[:n], more.pair_b[:n], more.pair_weight[:n])
    assert all(np.array_equal(a, b) for a, b in zip(kept, content, strict=True))
    assert np.array_equal(np.flatnonzero(more.slot >= 0), used)


@given(st.integers(0, 2**32 - 1), st.integers(0, 25))
def test_clearing_empties(seed: int, n: int) -> None:
    """After a clear there is nothing to send, and the next interval begins with zeros."""
    acc = touched(World(), seed, n)
    clear(acc)
    assert acc.n[0] == acc.n_pairs[0] == 0
    assert (acc.slot == -1).all()
    assert not acc.records.tobytes().strip(b"\0")


@settings(max_examples=60)
@given(HISTORIES, st.integers(1, 12))
def test_sums_are_consistent_with_the_events(history: list[Step], n_per_commit: int) -> None:
    """Over all commits, the items' counts are the events', and every accumulator is empty after each flush."""
    world = World()
    for at in range(0, len(history), n_per_commit):
        world.learn(history[at : at + n_per_commit])
        world.commit()
        assert world.users._acc.n[0] == world.users._acc.n_pairs[0] == 0
        assert (world.users._acc.slot == -1).all()
    table = world.items.table
    of_item = {f"i{k}": sum(step.item == k for step in history) for k in range(N_ITEMS)}
    for k in range(N_ITEMS):
        row = table.index.get(int(world.entities.headers[world.item_row(k)]["id"]))
        learned = int(table.headers.records[row]["n_events"]) if row > 0 else 0
        assert learned == of_item[f"i{k}"]
    assert world.items.item_events == len(history)
    assert world.items.n_items == len({step.item for step in history})
    headers = world.entities.headers
    rows = world.entities.category_rows[:N_AISLES]
    in_items = sum(int(headers["n"][world.item_row(k)]) for k in range(N_ITEMS))
    assert int(headers["n"][rows].sum()) == in_items == int(world.entities.totals[0])


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.integers(0, 25))
def test_two_batches_merged_hold_what_both_held(seed: int, n: int, m: int) -> None:
    """Every field of every entity is the sum, every pair is there, and the second batch is as it was."""
    world = World()
    one, other = touched(world, seed, n), touched(world, seed + 1, m)
    first, second = ({int(r["row"]): r.copy() for r in acc.records[: acc.n[0]]} for acc in (one, other))
    pairs = [list(zip(acc.pair_a, acc.pair_b, acc.pair_weight, strict=True))[: acc.n_pairs[0]] for acc in (one, other)]
    unchanged = other.records.tobytes()
    both = merged(one, other, world.replica.n_rows)
    assert other.records.tobytes() == unchanged
    found = {int(record["row"]): record for record in both.records[: both.n[0]]}
    assert found.keys() == first.keys() | second.keys()
    nothing = np.zeros((), ACCUMULATOR)
    for row, record in found.items():
        assert both.records[both.slot[row]]["row"] == row
        a, b = first.get(row, nothing), second.get(row, nothing)
        for name in {*record.dtype.names} - {"row", "has_target", "has_context"}:
            assert np.array_equal(record[name], a[name] + b[name]), name
        assert all(record[name] == max(a[name], b[name]) for name in ("has_target", "has_context"))
    n_pairs = int(both.n_pairs[0])
    assert list(zip(both.pair_a, both.pair_b, both.pair_weight, strict=True))[:n_pairs] == pairs[0] + pairs[1]
