"""Candidates for one user: own items, co-occurring ones, popular ones, popular ones of the likeliest categories."""

import numpy as np
from numba import njit

from operators.arrays import MAX_CANDIDATES, MAX_TOUCHED_NEIGHBOURS, Entities, Users, Work
from state.arrays import Floats, Row
from state.idmap import find
from state.layout import (
    ENTITY_NEIGHBOURS,
    FLAG_DISLIKED,
    N_DELTAS,
    N_FACTORS,
    N_SLOTS,
    USER_CONTEXT,
    USER_ITEMS,
)

N_COOC = 150
"""Co-occurring items taken at the most."""
N_POPULAR = 100
"""Popular items taken at the most."""
N_BY_FACTORS = 100
"""Popular items with the highest factor scores taken at the most."""
N_FRESH = 100
"""Items that most users had for the first time lately, taken at the most."""
N_LIKELY_CATEGORIES = 25
N_PER_CATEGORY = 8
MAX_SOURCES = 48
"""Context and recent items whose neighbours are looked at."""


@njit(cache=True, nogil=True)
def context_categories(users: Users, u: int, entities: Entities, work: Work, now_s: int, gap_s: int) -> int:
    """List the dense categories of the present context in ``work.category_context``; return how many.

    The context is the session's items; without sessions, the last ten events of ``gap_s`` seconds.
    """
    header = users.headers[u]
    n = 0
    at = header.heads[USER_CONTEXT]
    left = header.n_context
    while at > 0 and left > 0:
        page = users.context[at]
        for k in range(min(N_SLOTS, left)):
            if header.session == np.uint64(0) and page.t_s[k] + gap_s < now_s:
                continue
            row = find(entities.keys, entities.rows, page.ids[k])
            category = entities.category[row] if row > 0 else -1
            if category < 0:
                continue
            known = False
            for j in range(n):
                known = known or work.category_context[j] == category
            if not known:
                work.category_context[n] = category
                n += 1
        left -= N_SLOTS
        at = page.next
    return n


@njit(cache=True, nogil=True)
def context_items(users: Users, u: int, entities: Entities, work: Work, now_s: int, gap_s: int) -> int:
    """Mark the present context's items in ``work.position`` with -2, so that recall passes them over.

    Returns
    -------
    int
        Number of the items' rows, written to ``work.context_rows`` (the latest ones, at most 48).
    """
    header = users.headers[u]
    n = 0
    at = header.heads[USER_CONTEXT]
    left = header.n_context
    while at > 0 and left > 0:
        page = users.context[at]
        for k in range(min(N_SLOTS, left)):
            if header.session == np.uint64(0) and page.t_s[k] + gap_s < now_s:
                continue
            row = find(entities.keys, entities.rows, page.ids[k])
            if row > 0:
                work.position[row] = -2
                work.context_rows[n % MAX_SOURCES] = row
                n += 1
        left -= N_SLOTS
        at = page.next
    return min(n, MAX_SOURCES)


@njit(cache=True, nogil=True)
def release_context(users: Users, u: int, entities: Entities, work: Work) -> None:
    """Take back the marks of :func:`context_items`."""
    header = users.headers[u]
    at = header.heads[USER_CONTEXT]
    left = header.n_context
    while at > 0 and left > 0:
        page = users.context[at]
        for k in range(min(N_SLOTS, left)):
            row = find(entities.keys, entities.rows, page.ids[k])
            if row > 0 and work.position[row] == -2:  # noqa: PLR2004 - the mark
                work.position[row] = -1
        left -= N_SLOTS
        at = page.next


@njit(cache=True, nogil=True)
def _add(work: Work, n: int, row: int) -> int:
    if work.position[row] != -1 or n >= MAX_CANDIDATES:
        return n
    work.position[row] = n
    c = work.candidates[n]
    c.row = row
    c.had = 0
    c.page = 0
    c.slot = 0
    c.cooc = 0.0
    c.cooc_cosine = 0.0
    c.source = 0
    c.source_weight = 0.0
    c.score = 0.0
    return n + 1


@njit(cache=True, nogil=True)
def _personal(users: Users, u: int, entities: Entities, work: Work, n: int) -> int:
    """Add the user's items; note the slots of those in the context in ``work.context_slots``."""
    header = users.headers[u]
    n_here = 0
    at = header.heads[USER_ITEMS]
    left = header.n_items
    while at > 0 and left > 0:
        page = users.items[at]
        for k in range(min(N_SLOTS, left)):
            row = find(entities.keys, entities.rows, page.ids[k])
            if row > 0 and work.position[row] == -2:  # noqa: PLR2004 - the mark of a context item
                work.context_slots[n_here, 0] = at
                work.context_slots[n_here, 1] = k
                n_here += 1
                continue
            if row <= 0 or entities.category[row] < 0:
                continue
            if page.flags[k] & FLAG_DISLIKED:
                if work.position[row] == -1:
                    work.position[row] = -3
                continue
            before = n
            n = _add(work, n, row)
            if n > before:
                work.candidates[before].had = 1
                work.candidates[before].page = at
                work.candidates[before].slot = k
        left -= N_SLOTS
        at = page.next
    work.n_context_slots[0] = n_here
    return n


@njit(cache=True, nogil=True)
def _touch_neighbours(entities: Entities, work: Work, source: int, weight: float, n: int) -> int:
    entity = entities.headers[source]
    if entity.cooc_count <= 0.0:
        return n
    at = entity.heads[ENTITY_NEIGHBOURS]
    left = entity.n_neighbours
    while at > 0 and left > 0:
        page = entities.neighbours[at]
        for k in range(min(N_SLOTS, left)):
            row = page.rows[k]
            if entities.category[row] < 0 or work.position[row] < -1:
                continue
            j = work.neighbour_position[row]
            if j < 0:
                if n >= MAX_TOUCHED_NEIGHBOURS:
                    continue
                j = n
                n += 1
                work.neighbour_position[row] = j
                work.neighbours[j] = row
                work.neighbour_cooc[j] = 0.0
                work.neighbour_cosine[j] = 0.0
                work.neighbour_best[j] = 0.0
                work.neighbour_source[j] = 0
            share = weight * page.weights[k] / entity.cooc_count
            other = max(entities.headers[row].cooc_count, 1e-30)
            work.neighbour_cooc[j] += share
            work.neighbour_cosine[j] += weight * page.weights[k] / np.sqrt(entity.cooc_count * other)
            if share > work.neighbour_best[j]:
                work.neighbour_best[j] = share
                work.neighbour_source[j] = source
        left -= N_SLOTS
        at = page.next
    return n


@njit(cache=True, nogil=True)
def _threshold(values: Floats, keep: int) -> float:
    if values.shape[0] <= keep:
        return -np.inf
    return float(np.partition(values, values.shape[0] - keep)[values.shape[0] - keep])


@njit(cache=True, nogil=True)
def _cooccurring(users: Users, u: int, entities: Entities, work: Work, n: int, n_context: int) -> int:
    header = users.headers[u]
    touched = 0
    for k in range(n_context):
        touched = _touch_neighbours(entities, work, work.context_rows[k], 1.0, touched)
    weight = 0.5
    for k in range(header.n_recent):
        row = find(entities.keys, entities.rows, header.recent[k])
        if row > 0 and work.position[row] != -2:  # noqa: PLR2004 - a context item counts once
            touched = _touch_neighbours(entities, work, row, weight, touched)
        weight *= 0.95
    least = _threshold(work.neighbour_cooc[:touched], N_COOC)
    for j in range(touched):
        row = work.neighbours[j]
        work.neighbour_position[row] = -1
        if work.neighbour_cooc[j] >= least:
            n = _add(work, n, row)
        position = work.position[row]
        if position >= 0:
            c = work.candidates[position]
            c.cooc = work.neighbour_cooc[j]
            c.cooc_cosine = work.neighbour_cosine[j]
            c.source = work.neighbour_source[j]
            c.source_weight = work.neighbour_best[j]
    return n


@njit(cache=True, nogil=True)
def _by_factors(entities: Entities, work: Work, n: int) -> int:
    """Add the popular items that the factors rate highest for the query in ``work``."""
    scores = entities.scan_factors[N_FACTORS].copy()
    for f in range(N_FACTORS):
        weight, factors = work.query[f], entities.scan_factors[f]
        for k in range(scores.shape[0]):
            scores[k] += weight * factors[k]
    least = _threshold(scores, N_BY_FACTORS)
    for k in range(scores.shape[0]):
        if scores[k] >= least and entities.category[entities.scan[k]] >= 0:
            n = _add(work, n, entities.scan[k])
    return n


@njit(cache=True, nogil=True)
def _popular(entities: Entities, work: Work, n: int, n_categories: int) -> int:
    for k in range(min(N_POPULAR, entities.n_top[0])):
        n = _add(work, n, entities.top[k])
    for k in range(min(N_FRESH, entities.n_fresh_top[0])):
        n = _add(work, n, entities.fresh_top[k])
    taken = np.zeros(n_categories, np.uint8)
    for _ in range(min(N_LIKELY_CATEGORIES, n_categories)):
        best = -1
        for k in range(n_categories):
            if not taken[k] and (best < 0 or work.category_log_p[k] > work.category_log_p[best]):
                best = k
        taken[best] = 1
        category = work.category_list[best]
        for k in range(min(N_PER_CATEGORY, entities.category_n_top[category])):
            n = _add(work, n, entities.category_top[category, k])
    return n


@njit(cache=True, nogil=True)
def recall(users: Users, u: int, entities: Entities, work: Work, n_categories: int, n_context: int) -> int:
    """List candidates in ``work.candidates``; return how many.

    Parameters
    ----------
    n_categories
        Categories listed and scored by the category model before.
    n_context
        Context rows in ``work.context_rows``, marked in ``work.position``; they are never candidates.

    Notes
    -----
    ``work.position`` maps entity rows to candidates until :func:`forget_candidates` is called. Items without a known
    category are no candidates; unavailable ones are (they are learned from) and go out when the slate is filled.
    """
    n = _personal(users, u, entities, work, 0)
    n = _cooccurring(users, u, entities, work, n, n_context)
    n = _by_factors(entities, work, n)
    return _popular(entities, work, n, n_categories)


@njit(cache=True, nogil=True)
def forget_candidates(users: Users, u: int, entities: Entities, work: Work, n: int) -> None:
    """Clear the positions that :func:`recall` set."""
    for k in range(n):
        work.position[work.candidates[k].row] = -1
    header = users.headers[u]
    at = header.heads[USER_ITEMS]
    left = header.n_items
    while at > 0 and left > 0:
        for k in range(min(N_SLOTS, left)):
            if users.items[at].flags[k] & FLAG_DISLIKED:
                row = find(entities.keys, entities.rows, users.items[at].ids[k])
                if row > 0 and work.position[row] == -3:  # noqa: PLR2004 - the mark of a disliked item
                    work.position[row] = -1
        left -= N_SLOTS
        at = users.items[at].next


@njit(cache=True, nogil=True)
def mark_sessions(users: Users, u: int, work: Work, clear: bool) -> None:
    """Count (or clear) in ``work.serial_mark`` how many of the context's items each earlier session of the user held.

    The slots of the context's items are those that :func:`recall` noted.
    """
    own = users.headers[u].serial
    for j in range(work.n_context_slots[0]):
        page = users.items[work.context_slots[j, 0]]
        k = work.context_slots[j, 1]
        serial = page.serial[k]
        for d in range(N_DELTAS + 1):
            if serial != own:
                work.serial_mark[serial] = 0 if clear else min(work.serial_mark[serial] + 1, 255)
            if d == N_DELTAS or page.deltas[k * N_DELTAS + d] in (0, 255):
                break
            serial = np.uint16((serial - page.deltas[k * N_DELTAS + d]) & 0xFFFF)


@njit(cache=True, nogil=True)
def shared_sessions(page: Row, k: int, work: Work) -> float:
    """Return how many of the context's items the slot's sessions held in the mean, as :func:`mark_sessions` counted."""
    n = 0
    hits = 0
    serial = page.serial[k]
    for d in range(N_DELTAS + 1):
        n += 1
        hits += work.serial_mark[serial]
        if d == N_DELTAS or page.deltas[k * N_DELTAS + d] in (0, 255):
            break
        serial = np.uint16((serial - page.deltas[k * N_DELTAS + d]) & 0xFFFF)
    return hits / n
