"""Item updates cut into records: within their size, and to an item task the same as one, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.ids import item_shard
from state.layout import KIND_CATEGORY, KIND_ITEM, N_FACTORS, N_POPULARITIES
from state.memory_store import MemoryPageStore
from state.updates import COUNTS, GRADIENTS, PAIRS, ItemUpdate, encode_update
from stream_app.item_stage import ItemProcessor
from stream_app.settings import Settings
from stream_app.update_records import UPDATE_BYTES, split_update, with_names
from tests.stream_app.test_user_stage import NOW_MS, Record

IDS = np.random.default_rng(5).integers(1, 2**63, 4_000).astype(np.uint64)
SMALL_BYTES = 700
"""Room for one entity without pairs, a name and some pairs."""


def an_update(rng: np.random.Generator, n: int, n_pairs: int, as_of_s: int, *, n_hub: int = 0) -> ItemUpdate:
    """Return a random update of ``n`` entities; the second one has ``n_hub`` further pairs."""
    ids = rng.choice(IDS, n, replace=False)
    counts = np.zeros(n, COUNTS)
    counts["id"], counts["kind"] = ids, rng.choice((KIND_ITEM, KIND_CATEGORY), n)
    for name in ("n", "n_repeat", "n_events"):
        counts[name] = rng.integers(0, 9, n)
    counts["popularity"] = rng.random((n, N_POPULARITIES))
    for name in ("cooc_count", "log_gaps", "bias", "bias_sq", "blend_bias", "blend_bias_sq"):
        counts[name] = rng.random(n)
    sections = []
    for _ in range(2):
        at = np.flatnonzero(rng.random(n) < 0.7)
        gradients = np.zeros(at.size, GRADIENTS)
        gradients["at"], gradients["square"] = at, rng.random(at.size)
        gradients["gradient"] = rng.normal(size=(at.size, N_FACTORS))
        sections.append(gradients)
    pairs = np.zeros(n_pairs + n_hub if n else 0, PAIRS)
    if pairs.size:
        pairs["a"] = np.concatenate([rng.integers(0, n, n_pairs), np.full(n_hub, min(1, n - 1))])
        pairs["b"], pairs["weight"] = rng.choice(IDS, pairs.size), rng.random(pairs.size)
        rng.shuffle(pairs)
    named = [*ids[: n // 2].tolist(), *rng.choice(IDS, 3).tolist()]
    return ItemUpdate(as_of_s, counts, sections[0], sections[1], pairs, {k: f"item-{k}-é" for k in named})


def pages_after(updates: list[list[ItemUpdate]]) -> tuple[list[dict[bytes, bytes | None]], dict[str, int]]:
    """Return the pages that an item task writes for each interval, and what it has counted."""
    store = MemoryPageStore()
    items = ItemProcessor(Settings(), 0, 1, store)
    items.restore(None)
    written = []
    flush = None
    for interval in updates:
        items.process([Record(None, encode_update(update)) for update in interval], NOW_MS)
        flush = items.flush(NOW_MS)
        store.write(flush.pages, position=1, checkpoint=b'{"state":{}}')
        items.committed()
        written.append(dict(flush.pages))
    return written, flush.state if flush else {}


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 400), st.integers(0, 400))
def test_parts_teach_what_the_whole_teaches(seed: int, n: int, n_pairs: int, n_hub: int) -> None:
    """Pages and counters are the same to the byte, also for a late interval, and no part is too large."""
    rng = np.random.default_rng(seed)
    whole = [an_update(rng, n, n_pairs, as_of_s, n_hub=n_hub) for as_of_s in (700_000_000, 700_400_000, 700_100_000)]
    parts = [split_update(update, SMALL_BYTES) for update in whole]
    assert all(len(encode_update(part)) <= SMALL_BYTES for interval in parts for part in interval)
    assert pages_after(parts) == pages_after([[update] for update in whole])


def test_an_item_task_may_commit_between_parts() -> None:
    """Where each part is committed by itself the store ends up the same."""
    rng = np.random.default_rng(2)
    update = an_update(rng, 50, 300, 700_000_000, n_hub=300)
    stored = []
    for intervals in ([[update]], [[part] for part in split_update(update, SMALL_BYTES)]):
        found: dict[bytes, bytes | None] = {}
        for pages in pages_after(intervals)[0]:
            found |= pages
        stored.append(found)
    assert stored[0] == stored[1]


def test_each_entity_stands_in_one_part() -> None:
    """Only an entity whose pairs alone fill a part comes again, and then counts nothing."""
    rng = np.random.default_rng(4)
    update = an_update(rng, 50, 300, 7, n_hub=300)
    parts = split_update(update, SMALL_BYTES)
    counted = [int(c["id"]) for part in parts for c in part.counts if c["popularity"].any()]
    assert sorted(counted) == sorted(update.counts["id"].tolist())
    hub = int(update.counts["id"][1])
    n_parts_of = {i: sum(i in part.counts["id"].tolist() for part in parts) for i in update.counts["id"].tolist()}
    assert {i for i, n_parts in n_parts_of.items() if n_parts > 1} == {hub}
    assert sum(part.pairs.size for part in parts) == update.pairs.size


def test_a_small_update_stays_one() -> None:
    """Up to the bound nothing is copied; an update of megabytes is cut into parts of nearly the bound."""
    rng = np.random.default_rng(1)
    small = an_update(rng, 20, 50, 7)
    (only,) = split_update(small)
    assert only is small
    large = an_update(rng, 4_000, 150_000, 7)
    sizes = [len(encode_update(part)) for part in split_update(large)]
    assert sum(sizes) > 2_000_000
    assert max(sizes) <= UPDATE_BYTES
    assert min(sizes[:-2]) > UPDATE_BYTES * 0.95


@pytest.mark.parametrize("n_shards", [1, 3])
def test_names_go_to_their_shards(n_shards: int) -> None:
    """Each name goes with the update of its id's shard; where that has nothing to say it is left out."""
    rng = np.random.default_rng(3)
    names = {int(i): f"i{i}" for i in IDS[:40]}
    updates = {shard: an_update(rng, 3, 0, 7)._replace(names={}) for shard in range(max(1, n_shards - 1))}
    named = with_names(updates, names, n_shards)
    assert named.keys() == updates.keys()
    for shard, update in named.items():
        mine = {i for i in names if int(item_shard(np.uint64(i), np.uint64(n_shards))) == shard}
        assert update.names == {i: names[i] for i in mine}
