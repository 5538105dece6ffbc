"""Candidates that came together with what the user is at: the co-occurrence tables of the context and of recent items.

A user's thirty sources have some two thousand neighbours, which lie anywhere in memory. So the pages are listed first,
in as many rounds as a table has pages: all second pages are on their way while the first ones are listed, and the marks
of a page's neighbours while the page before it is summed up.
"""

import math

import numpy as np

from operators.arrays import Entities, Users, Work
from operators.candidates import add_candidate
from operators.numeric import choose, kth_largest
from operators.params import MAX_NEIGHBOURS
from state.arrays import Row, Rows
from state.kernel import inner_kernel
from state.layout import ENTITY_HEADER, ENTITY_NEIGHBOURS, N_SLOTS, NEIGHBOUR_PAGE
from state.prefetch import field_at, field_lines, prefetch

N_COOC = 150
"""Co-occurring items taken at the most."""
N_LATEST, FADING = 8, 0.4
"""Latest items of a user whose neighbours are summed up by themselves, too, and what part of the weight of the next
later one each has."""
_ROUNDS = MAX_NEIGHBOURS // N_SLOTS
_COUNT_AT, _HEADS_AT = field_at(ENTITY_HEADER, "cooc_count"), field_at(ENTITY_HEADER, "heads")
_NEIGHBOUR_LINES = field_lines(NEIGHBOUR_PAGE, "weights", "rows")
"""Offsets of the cache lines of a page."""


@inner_kernel
def _list_sources(users: Users, u: int, entities: Entities, work: Work, n_context: int) -> int:
    """List the rows whose neighbours count, and for how much, in ``work.cooc_sources``; return how many."""
    header, sources = users.headers[u], work.cooc_sources
    n = n_context
    for k in range(n_context):
        sources[k].row = work.context_rows[k]
        sources[k].weight = 1.0
        sources[k].latest = 0.0
    weight, latest = 0.5, 1.0
    for k in range(header.n_recent):
        row = header.recent[k]
        if row > 0 and work.position[row] != -2:  # noqa: PLR2004 - a context item counts once
            sources[n].row = row
            sources[n].weight = weight
            sources[n].latest = latest
            n += 1
        elif row > 0 and latest > 0.0:
            for s in range(n_context):
                if sources[s].row == row:
                    sources[s].latest = latest
                    break
        weight *= 0.95
        latest = latest * FADING if k + 1 < N_LATEST else 0.0
    for s in range(n):
        prefetch(entities.headers, sources[s].row, _COUNT_AT)
        prefetch(entities.headers, sources[s].row, _HEADS_AT)
    return n


@inner_kernel
def _list_pages(entities: Entities, work: Work, n_sources: int) -> int:
    """List the sources' pages of neighbours in ``work.cooc_pages``, a source's one after another; return how many."""
    headers, pages, sources, listed = entities.headers, entities.neighbours, work.cooc_sources, work.cooc_pages
    n = 0
    for s in range(n_sources):
        source = sources[s]
        entity = headers[source.row]
        source.first = n
        source.left = int(entity.n_neighbours) if entity.cooc_count > 0.0 else 0
        source.at = entity.heads[ENTITY_NEIGHBOURS]
        for line in _NEIGHBOUR_LINES:
            prefetch(pages, source.at, line)
        for k in range(n, n + (source.left + N_SLOTS - 1) // N_SLOTS):
            listed[k].source = source.row
            listed[k].per_event = source.weight / entity.cooc_count
            listed[k].per_norm = source.weight / math.sqrt(entity.cooc_count)
            listed[k].per_latest = source.latest / entity.cooc_count
            n += 1
    for round_ in range(_ROUNDS):
        for s in range(n_sources):
            source = sources[s]
            if source.left > 0:
                page = listed[source.first + round_]
                page.at = source.at
                page.n = min(source.left, N_SLOTS) if source.at > 0 else 0
                source.left -= N_SLOTS
                source.at = pages[source.at].next
                for line in _NEIGHBOUR_LINES:
                    prefetch(pages, source.at, line)
    return n


@inner_kernel
def _sum_neighbours(entities: Entities, work: Work, n_pages: int) -> int:
    """Sum what the listed pages say of their neighbours in ``work.touched``; return how many neighbours there are.

    The cosine still lacks the neighbour's own norm, which only candidates need.
    """
    pages, listed, touched = entities.neighbours, work.cooc_pages, work.touched
    category_of, position, place = entities.category, work.position, work.neighbour_position
    n = 0
    for p in range(n_pages):
        if p + 1 < n_pages:
            ahead = pages[listed[p + 1].at]
            for k in range(listed[p + 1].n):
                prefetch(position, ahead.rows[k], 0)
                prefetch(category_of, ahead.rows[k], 0)
        page = pages[listed[p].at]
        source, per_event, per_norm = listed[p].source, listed[p].per_event, listed[p].per_norm
        per_latest = listed[p].per_latest
        for k in range(listed[p].n):
            row = page.rows[k]
            j = place[row]
            if j < 0:
                if n >= touched.shape[0] or category_of[row] < 0 or position[row] < -1:
                    continue
                j = n
                n += 1
                place[row] = j
                touched[j].row = row
                touched[j].cooc = 0.0
                touched[j].cosine = 0.0
                touched[j].latest = 0.0
                touched[j].best = 0.0
                touched[j].source = 0
            found = touched[np.uintp(j)]
            share = per_event * page.weights[k]
            found.cooc += share
            found.cosine += per_norm * page.weights[k]
            found.latest += per_latest * page.weights[k]
            if share > found.best:
                found.best = share
                found.source = source
    return n


@inner_kernel
def comes_with_sources(users: Users, u: int, entities: Entities, work: Work, n_context: int, row: int) -> bool:
    """Tell whether an item is a neighbour of any of the sources: without that it does not co-occur."""
    pages, listed = entities.neighbours, work.cooc_pages
    n_pages = _list_pages(entities, work, _list_sources(users, u, entities, work, n_context))
    found = False
    for p in range(n_pages):
        page = pages[listed[p].at]
        for k in range(listed[p].n):
            found |= page.rows[k] == row
    return found


@inner_kernel
def add_cooccurring(users: Users, u: int, entities: Entities, work: Work, n: int, n_context: int) -> int:
    """Add the items that came most often with context and recent items; return how many candidates there are then.

    Parameters
    ----------
    n
        Candidates so far. Those of them that came together with the sources get their sums, too.
    n_context
        Context rows in ``work.context_rows``, marked in ``work.position``.
    """
    headers, touched, sums, place = entities.headers, work.touched, work.neighbour_cooc, work.neighbour_position
    n_touched = _sum_neighbours(
        entities, work, _list_pages(entities, work, _list_sources(users, u, entities, work, n_context))
    )
    for j in range(n_touched):
        sums[j] = touched[j].cooc
    least = kth_largest(sums[:n_touched], N_COOC)
    best = work.best
    m = choose(sums[:n_touched], least, best)
    for k in range(m):
        prefetch(headers, touched[best[k]].row, _COUNT_AT)
    for k in range(n):
        j = place[work.candidates[k].row]
        if j >= 0:
            _note(headers, touched[j], work.candidates[k])
    for k in range(m):
        row = touched[best[k]].row
        n = add_candidate(work, n, row)
        if work.position[row] >= 0:
            _note(headers, touched[best[k]], work.candidates[work.position[row]])
    for j in range(n_touched):
        place[touched[j].row] = -1
    return n


@inner_kernel
def _note(headers: Rows, found: Row, c: Row) -> None:
    c.cooc = found.cooc
    c.cooc_latest = found.latest
    c.cooc_cosine = found.cosine / math.sqrt(max(headers[found.row].cooc_count, 1e-30))
    c.source = found.source
    c.source_weight = found.best
