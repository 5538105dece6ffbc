"""Accumulators of a batch or a commit interval: room for more, and what they sum up to, split by item shard."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators.arrays import ACCUMULATOR, Accumulators, Entities, new_accumulators
from operators.factors import accumulator
from state.arrays import Floats, Int32s, Row, Rows
from state.ids import item_shard
from state.kernel import inner_kernel, kernel
from state.layout import KIND_CATEGORY, KIND_ITEM, N_FACTORS, N_POPULARITIES
from state.prefetch import prefetch
from state.updates import COUNTS, GRADIENTS, PAIRS, ItemUpdate

_WIDE_GRADIENTS = np.dtype([("at", "<u4"), ("square", "<f4"), ("gradient", "<f4", (N_FACTORS,))])
_SECTIONS = (COUNTS, _WIDE_GRADIENTS, _WIDE_GRADIENTS, PAIRS)
COUNTED, TARGET, CONTEXT, PAIRED = range(4)
_AHEAD = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)
MAX_GRADIENT = 60_000.0
"""Summed gradients are clipped to what half precision holds."""
_shard = inner_kernel(item_shard)


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


def merged(acc: Accumulators, batch: Accumulators, n_rows: int) -> Accumulators:
    """Return accumulators with what both summed up to; both are as of the same time.

    Parameters
    ----------
    acc
        Not to be used any more: the result may share its arrays.
    n_rows
        Entity rows that may be touched.
    """
    out = with_room(acc, n_rows, int(batch.n[0]), int(batch.n_pairs[0]))
    begin, end = int(out.n_pairs[0]), int(out.n_pairs[0] + batch.n_pairs[0])
    for into, more in ((out.pair_a, batch.pair_a), (out.pair_b, batch.pair_b), (out.pair_weight, batch.pair_weight)):
        into[begin:end] = more[: end - begin]
    out.n_pairs[0] = end
    _add_records(out, batch)
    return out


@kernel
def _add_records(acc: Accumulators, batch: Accumulators) -> None:
    for k in range(batch.n[0]):
        more = batch.records[k]
        record = acc.records[accumulator(acc, more.row)]
        for f in range(N_FACTORS):
            record.target[f] += more.target[f]
            record.context[f] += more.context[f]
        record.target_sq += more.target_sq
        record.context_sq += more.context_sq
        record.has_target |= more.has_target
        record.has_context |= more.has_context
        record.n += more.n
        record.n_repeat += more.n_repeat
        record.n_events += more.n_events
        for p in range(N_POPULARITIES):
            record.popularity[p] += more.popularity[p]
        record.cooc_count += more.cooc_count
        record.log_gaps += more.log_gaps
        record.bias += more.bias
        record.bias_sq += more.bias_sq
        record.blend_bias += more.blend_bias
        record.blend_bias_sq += more.blend_bias_sq


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
def _number_rows(records: Rows, n: int, pair_a: Int32s, slot: Int32s, rows: Int32s) -> int:
    """Give numbers to the rows of records, in their order, then to those of pairs without one; return how many.

    ``rows`` maps numbers to rows, ``slot`` rows to numbers: it has the records' already, and gets the others'.
    """
    for k in range(n):
        rows[k] = records[k].row
    m = n
    for k in range(pair_a.shape[0]):
        if slot[pair_a[k]] < 0:
            slot[pair_a[k]] = m
            rows[m] = pair_a[k]
            m += 1
    return m


@kernel
def _find_shards(
    headers: Rows, records: Rows, n: int, rows: Int32s, slot: Int32s, pair_a: Int32s, shards: Int32s, ends: Int32s
) -> None:
    """Write the shard of each numbered row to ``shards``, and to ``ends`` where each shard's part of a section ends.

    ``ends`` has shape ``(n_shards + 1, 4)`` and is all 0 before: counts, targets, contexts and pairs. Shard ``s`` has
    what lies from ``ends[s]`` to ``ends[s + 1]``.
    """
    n_shards = np.uint64(ends.shape[0] - 1)
    for k in range(rows.shape[0]):
        shards[k] = _shard(headers[rows[k]].id, n_shards)
        of = ends[shards[k] + 1]
        of[COUNTED] += 1
        if k < n:
            of[TARGET] += records[k].has_target > 0
            of[CONTEXT] += records[k].has_context > 0
    for k in range(pair_a.shape[0]):
        ends[shards[slot[pair_a[k]]] + 1, PAIRED] += 1
    for s in range(1, ends.shape[0]):
        for section in range(ends.shape[1]):
            ends[s, section] += ends[s - 1, section]


class _Sections(NamedTuple):
    """The sections of all updates, one shard's after the other; gradients still in single precision."""

    counts: Rows
    targets: Rows
    contexts: Rows
    pairs: Rows


@kernel
def _fill_sections(
    entities: Entities,
    acc: Accumulators,
    rows: Int32s,
    pair_a: Int32s,
    pair_b: Int32s,
    pair_weight: Floats,
    shards: Int32s,
    ends: Int32s,
    at: Int32s,
    place: Int32s,
    out: _Sections,
) -> None:
    """Fill the sections; ``slot`` forgets the numbers of rows without a record again.

    ``at`` is a copy of ``ends``, ``place`` gets each row's position within its shard.
    """
    headers, records, slot, n = entities.headers, acc.records, acc.slot, acc.n[0]
    for k in range(rows.shape[0]):
        mine, row = at[shards[k]], rows[k]
        place[k] = mine[COUNTED] - ends[shards[k], COUNTED]
        count = out.counts[mine[COUNTED]]
        mine[COUNTED] += 1
        count.id = headers[row].id
        count.kind = KIND_CATEGORY if entities.category_of_row[row] >= 0 else KIND_ITEM
        if k >= n:
            continue
        record = records[k]
        _copy_counts(record, count)
        if record.has_target:
            _put_gradient(out.targets[mine[TARGET]], place[k], record.target_sq, record.target)
            mine[TARGET] += 1
        if record.has_context:
            _put_gradient(out.contexts[mine[CONTEXT]], place[k], record.context_sq, record.context)
            mine[CONTEXT] += 1
    for k in range(pair_a.shape[0]):
        number = slot[pair_a[k]]
        mine = at[shards[number]]
        pair = out.pairs[mine[PAIRED]]
        mine[PAIRED] += 1
        pair.a, pair.b, pair.weight = place[number], headers[pair_b[k]].id, pair_weight[k]
    for k in range(n, rows.shape[0]):
        slot[rows[k]] = -1


@inner_kernel
def _copy_counts(record: Row, count: Row) -> None:
    count.n, count.n_repeat, count.n_events = record.n, record.n_repeat, record.n_events
    for p in range(N_POPULARITIES):
        count.popularity[p] = record.popularity[p]
    count.cooc_count, count.log_gaps = record.cooc_count, record.log_gaps
    count.bias, count.bias_sq = record.bias, record.bias_sq
    count.blend_bias, count.blend_bias_sq = record.blend_bias, record.blend_bias_sq


@inner_kernel
def _put_gradient(found: Row, at: int, square: float, gradient: Floats) -> None:
    found.at, found.square = at, square
    for f in range(N_FACTORS):
        found.gradient[f] = _clipped(gradient[f])


@inner_kernel
def _clipped(gradient: float) -> float:
    """Return it within half precision; NaN stays what it is."""
    if abs(gradient) <= MAX_GRADIENT or math.isnan(gradient):
        return gradient
    return math.copysign(MAX_GRADIENT, gradient)


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
    pair_a, pair_b, pair_weight = _directed_pairs(acc)
    rows = np.empty(n + pair_a.size, np.int32)
    rows = rows[: _number_rows(acc.records, n, pair_a, acc.slot, rows)]
    shards, place = np.empty(rows.size, np.int32), np.empty(rows.size, np.int32)
    ends = np.zeros((n_shards + 1, len(_SECTIONS)), np.int32)
    _find_shards(entities.headers, acc.records, n, rows, acc.slot, pair_a, shards, ends)
    sizes = ends[-1].tolist()
    sections = _Sections(*(np.zeros(size, dtype) for size, dtype in zip(sizes, _SECTIONS, strict=True)))
    _fill_sections(entities, acc, rows, pair_a, pair_b, pair_weight, shards, ends, ends.copy(), place, sections)
    halved = (
        sections.counts, sections.targets.astype(GRADIENTS), sections.contexts.astype(GRADIENTS), sections.pairs,
    )  # fmt: skip
    out = {}
    for shard, (begin, end) in enumerate(pairwise(ends.tolist())):
        if end[COUNTED] > begin[COUNTED]:
            counts, targets, contexts, pairs = (all_[b:e] for all_, b, e in zip(halved, begin, end, strict=True))
            out[shard] = ItemUpdate(as_of_s, counts, targets, contexts, pairs, {})
    return out
