"""Pools of uniform negatives: how a batch is cut does not matter."""

from __future__ import annotations

import numpy as np

from state.layout import ENTITY_HEADER, KIND_ITEM
from stream_app.pools import BLOCK, pooled_runs
from stream_app.settings import MAX_SEED


def known(n: int) -> np.ndarray:
    """Return headers of entities that are items with events."""
    headers = np.zeros(n, ENTITY_HEADER)
    headers["n"], headers["kind"] = 1, KIND_ITEM
    return headers


def test_a_run_per_block_of_offsets() -> None:
    """Runs cover the batch in order, and none reaches over the end of a block."""
    offsets = np.arange(400, 1_600, dtype=np.uint64)
    runs = list(pooled_runs(offsets, known(50), 0, 0))
    assert [run.block for run in runs] == [0, 1, 2, 3]
    assert np.concatenate([offsets[run.part] for run in runs]).tolist() == offsets.tolist()
    assert all((offsets[run.part] // BLOCK == run.block).all() for run in runs)


def test_the_cut_does_not_matter() -> None:
    """The two parts of a block that a batch ends in have one pool; another seed or partition has another."""
    [whole] = pooled_runs(np.arange(10, dtype=np.uint64), known(50), 3, 1)
    [later] = pooled_runs(np.arange(7, 10, dtype=np.uint64), known(50), 3, 1)
    assert whole.pool.tolist() == later.pool.tolist()
    for seed, partition in ((4, 1), (3, 2)):
        [other] = pooled_runs(np.arange(10, dtype=np.uint64), known(50), seed, partition)
        assert whole.pool.tolist() != other.pool.tolist()


def test_the_largest_seed_has_pools() -> None:
    """What a seed and a partition make together may be more than 64 bits hold."""
    offsets = np.arange(10, dtype=np.uint64)
    [large], [largest] = (list(pooled_runs(offsets, known(50), seed, 1)) for seed in (20261130055841, MAX_SEED))
    assert large.pool.tolist() != largest.pool.tolist()


def test_a_pool_holds_items_that_were_seen() -> None:
    """Categories and items without an event are no negatives."""
    headers = known(4)
    headers["kind"][1], headers["n"][2] = KIND_ITEM + 1, 0
    [run] = pooled_runs(np.arange(5, dtype=np.uint64), headers, 0, 0)
    assert set(run.pool.tolist()) == {3}
