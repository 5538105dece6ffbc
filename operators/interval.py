"""The accumulators of one commit interval: room for a batch, and what they sum up to, split by item shard."""

import numpy as np

from operators.arrays import ACCUMULATOR, Accumulators, Entities, new_accumulators
from state.arrays import Floats, Int32s, Rows
from state.kernel import inner_kernel, kernel
from state.layout import KIND_CATEGORY, KIND_ITEM
from state.prefetch import prefetch
from state.updates import COUNTS, GRADIENTS, PAIRS, ItemUpdate

_COPIED = (
    "n",
    "n_repeat",
    "n_events",
    "popularity",
    "cooc_count",
    "log_gaps",
    "bias",
    "bias_sq",
    "blend_bias",
    "blend_bias_sq",
)
_AHEAD = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)
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


@kernel
def _sum_pairs(
    a: Int32s, b: Int32s, weight: Floats, n: int, slots: Int32s, out_a: Int32s, out_b: Int32s, out_weight: Floats
) -> int:
    """Write all pairs to ``out``, equal ones summed, as they first came, then all of them the other way round.

    Returns
    -------
    int
        How many that are: twice the number of different pairs.

    Notes
    -----
    ``slots`` is the scratch of a hash table: a power of two of entries, at least ``2 n`` of them, all -1. Those of the
    pairs some places ahead are asked for.
    """
    m = 0
    mask = np.uint64(slots.shape[0] - 1)
    for k in range(n):
        if k + _AHEAD < n:
            prefetch(slots, _slot(a[k + _AHEAD], b[k + _AHEAD], mask), 0)
        at = _slot(a[k], b[k], mask)
        while slots[at] >= 0 and not _is_pair(out_a[slots[at]], out_b[slots[at]], a[k], b[k]):
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            slots[at] = m
            out_a[m], out_b[m], out_weight[m] = a[k], b[k], 0.0
            m += 1
        out_weight[slots[at]] += weight[k]
    for k in range(m):
        out_a[m + k], out_b[m + k], out_weight[m + k] = out_b[k], out_a[k], out_weight[k]
    return 2 * m


@inner_kernel
def _slot(a: int, b: int, mask: np.uint64) -> np.uint64:
    """Return where the search for a pair begins, whichever way round it is."""
    key = (np.uint64(min(a, b)) << np.uint64(32)) | np.uint64(max(a, b))
    return ((key * _MIX) >> np.uint64(20)) & mask


@inner_kernel
def _is_pair(a: int, b: int, one: int, other: int) -> bool:
    return (a == one and b == other) or (a == other and b == one)


def _directed_pairs(acc: Accumulators) -> tuple[Int32s, Int32s, Floats]:
    """Return both directions of all pairs with equal ones summed: rows ``a``, rows ``b``, weights."""
    n = int(acc.n_pairs[0])
    slots = np.full(1 << max(2 * n, 2).bit_length(), -1, np.int32)
    a, b, weight = np.empty(2 * n, np.int32), np.empty(2 * n, np.int32), np.empty(2 * n, np.float32)
    m = _sum_pairs(acc.pair_a, acc.pair_b, acc.pair_weight, n, slots, a, b, weight)
    return a[:m], b[:m], weight[:m]


@kernel
def _number_rows(records: Rows, n: int, pair_a: Int32s, place: Int32s, rows: Int32s) -> int:
    """Give numbers to the rows of records, in their order, then those of pairs without one; return how many there are.

    ``place`` maps rows to numbers (all -1 before), ``rows`` numbers to rows.
    """
    for k in range(n):
        rows[k] = records[k].row
        place[records[k].row] = k
    m = n
    for k in range(pair_a.shape[0]):
        if place[pair_a[k]] < 0:
            place[pair_a[k]] = m
            rows[m] = pair_a[k]
            m += 1
    return m


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
    pair_a, pair_b, pair_weight = _directed_pairs(acc)
    place, rows = np.full(acc.slot.shape[0], -1, np.int32), np.empty(n + pair_a.size, np.int32)
    rows = rows[: _number_rows(records, n, pair_a, place, rows)]
    counts = np.zeros(rows.size, COUNTS)
    counts["id"] = entities.headers["id"][rows]
    counts["kind"] = np.where(entities.category_of_row[rows] >= 0, KIND_CATEGORY, KIND_ITEM)
    for name in _COPIED:
        counts[name][:n] = records[name]
    shards = (counts["id"] >> np.uint64(32)) % np.uint64(n_shards)
    number = np.empty(rows.size, np.int32)
    pairs = np.empty(pair_a.size, PAIRS)
    pairs["b"], pairs["weight"] = entities.headers["id"][pair_b], pair_weight
    place_a = place[pair_a]
    shard_a = shards[place_a]
    out = {}
    for shard in np.unique(shards).tolist():
        mine = np.flatnonzero(shards == shard)
        number[mine] = np.arange(mine.size)
        here = np.flatnonzero(shard_a == shard)
        own = pairs[here]
        own["a"] = number[place_a[here]]
        inner = mine[: np.searchsorted(mine, n)]  # those that have a record
        targets, contexts = (_gradients(records, inner, number, name) for name in ("target", "context"))
        out[int(shard)] = ItemUpdate(as_of_s, counts[mine], targets, contexts, own, {})
    return out


def _gradients(records: Rows, mine: np.ndarray, number: Int32s, name: str) -> Rows:
    here = mine[records[f"has_{name}"][mine] > 0]
    out = np.zeros(here.size, GRADIENTS)
    out["at"] = number[here]
    out["square"] = records[f"{name}_sq"][here]
    out["gradient"] = np.clip(records[name][here], -MAX_GRADIENT, MAX_GRADIENT)
    return out
