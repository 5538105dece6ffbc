"""The accumulators of one commit interval: room for a batch, and what they sum up to, split by item shard."""

import numpy as np

from operators.arrays import ACCUMULATOR, Accumulators, Entities, new_accumulators
from state.arrays import Int32s
from state.layout import KIND_CATEGORY, KIND_ITEM
from state.updates import COUNTS, GRADIENTS, PAIRS, ItemUpdate

_COPIED = ("n", "n_repeat", "n_events", "popularity", "cooc_count", "bias", "bias_sq", "blend_bias", "blend_bias_sq")
MAX_GRADIENT = 60_000.0
"""Summed gradients are clipped to what half precision holds."""


def with_room(acc: Accumulators, n_rows: int, n_records: int, n_pairs: int) -> Accumulators:
    """Return accumulators with the same content and room for more.

    Parameters
    ----------
    acc
        The present ones.
    n_rows
        Entity rows that may be touched.
    n_records, n_pairs
        Further records and pairs that the next batch may take.
    """
    have_records, have_pairs = int(acc.n[0]), int(acc.n_pairs[0])
    need_records = min(have_records + n_records, n_rows)
    enough_records = acc.slot.shape[0] >= n_rows and acc.records.shape[0] >= need_records
    if enough_records and acc.pair_a.shape[0] >= have_pairs + n_pairs:
        return acc
    out = new_accumulators(
        max(n_rows, acc.slot.shape[0]),
        max(need_records, acc.records.shape[0]),
        max(have_pairs + n_pairs, acc.pair_a.shape[0]),
    )
    out.slot[: acc.slot.shape[0]] = acc.slot
    out.records[:have_records] = acc.records[:have_records]
    out.n[0] = have_records
    for new, old in ((out.pair_a, acc.pair_a), (out.pair_b, acc.pair_b), (out.pair_weight, acc.pair_weight)):
        new[:have_pairs] = old[:have_pairs]
    out.n_pairs[0] = have_pairs
    return out


def clear(acc: Accumulators) -> None:
    """Empty the accumulators for the next interval."""
    n = int(acc.n[0])
    acc.slot[acc.records["row"][:n]] = -1
    acc.records[:n] = np.zeros((), ACCUMULATOR)
    acc.n[0] = 0
    acc.n_pairs[0] = 0


def _directed_pairs(acc: Accumulators, n_rows: int) -> tuple[Int32s, Int32s, np.ndarray]:
    """Return both directions of all pairs with equal ones summed: rows ``a``, rows ``b``, weights."""
    n = int(acc.n_pairs[0])
    a, b, weight = acc.pair_a[:n].astype(np.int64), acc.pair_b[:n].astype(np.int64), acc.pair_weight[:n]
    both = np.concatenate([a * n_rows + b, b * n_rows + a])
    unique, where = np.unique(both, return_inverse=True)
    sums = np.bincount(where, weights=np.concatenate([weight, weight]), minlength=unique.size)
    return (unique // n_rows).astype(np.int32), (unique % n_rows).astype(np.int32), sums.astype(np.float32)


def summed_updates(acc: Accumulators, entities: Entities, as_of_s: int, n_shards: int) -> dict[int, ItemUpdate]:
    """Return one update per item shard that has something to learn; names are left empty.

    Parameters
    ----------
    acc
        What the interval's events summed up to.
    entities
        The replica the accumulators' rows belong to.
    as_of_s
        Time of the decayed sums, in seconds since 2000.
    n_shards
        Number of item shards.
    """
    n = int(acc.n[0])
    records = acc.records[:n]
    pair_a, pair_b, pair_weight = _directed_pairs(acc, acc.slot.shape[0])
    rows = np.union1d(records["row"], pair_a).astype(np.int32)
    ids = entities.headers["id"][rows]
    shards = (ids >> np.uint64(32)) % np.uint64(n_shards)
    place = np.searchsorted(rows, records["row"])
    counts = np.zeros(rows.size, COUNTS)
    counts["id"] = ids
    counts["kind"] = np.where(entities.category_of_row[rows] >= 0, KIND_CATEGORY, KIND_ITEM)
    for name in _COPIED:
        counts[name][place] = records[name]
    out = {}
    for shard in np.unique(shards).tolist():
        mine = np.flatnonzero(shards == shard)
        number = np.full(rows.size, -1, np.int64)
        number[mine] = np.arange(mine.size)
        place_a = np.searchsorted(rows, pair_a)
        here = np.flatnonzero(number[place_a] >= 0)
        pairs = np.zeros(here.size, PAIRS)
        pairs["a"] = number[place_a[here]]
        pairs["b"] = entities.headers["id"][pair_b[here]]
        pairs["weight"] = pair_weight[here]
        out[int(shard)] = ItemUpdate(
            as_of_s,
            counts[mine],
            _gradients(records, number[place], "target"),
            _gradients(records, number[place], "context"),
            pairs,
            {},
        )
    return out


def _gradients(records: np.ndarray, number: np.ndarray, name: str) -> np.ndarray:
    here = np.flatnonzero((number >= 0) & (records[f"has_{name}"] > 0))
    out = np.zeros(here.size, GRADIENTS)
    out["at"] = number[here]
    out["square"] = records[f"{name}_sq"][here]
    out["gradient"] = np.clip(records[name][here], -MAX_GRADIENT, MAX_GRADIENT)
    return out
