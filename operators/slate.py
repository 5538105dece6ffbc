"""From scored candidates to a slate: other categories only, a cap per category, slots kept for discoveries."""

import numpy as np
from numba import njit

from operators.arrays import Entities, Users, Work
from operators.params import SlateParams
from state.arrays import Floats, Int32s
from state.layout import FLAG_BOUGHT, N_SLATE

REASON_REPEAT, REASON_TOGETHER, REASON_TASTE, REASON_CATEGORY, REASON_POPULAR = 0, 1, 2, 3, 4
TOGETHER_SHARE = 0.02
"""Conditional co-occurrence above which "bought together" is the reason."""


@njit(cache=True, nogil=True)
def _may_show(users: Users, u: int, entities: Entities, work: Work, at: int, now_s: int, params: SlateParams) -> bool:
    c = work.candidates[at]
    if not entities.available[c.row]:
        return False
    where = work.category_position[entities.category[c.row]]
    if where >= 0 and work.category_features[where, 10] > 0.0:
        return False
    if c.had and params.bought_rest_s > 0:
        page = users.items[c.page]
        if page.flags[c.slot] & FLAG_BOUGHT and float(now_s) - page.last_s[c.slot] < params.bought_rest_s:
            return False
    if params.shown_limit > 0:
        header = users.headers[u]
        for k in range(header.n_shown):
            if header.shown[k] == entities.headers[c.row].id and header.shown_times[k] >= params.shown_limit:
                return False
    return True


@njit(cache=True, nogil=True)
def pick(
    users: Users,
    u: int,
    entities: Entities,
    work: Work,
    n: int,
    now_s: int,
    params: SlateParams,
    out: Int32s,
    scores: Floats,
) -> int:
    """Fill ``out`` with candidate numbers, best first; return how many.

    The slots at the end are kept for items the user never had, unless the slots before them hold enough. Ties break by
    the smaller id. ``scores`` (per candidate) is overwritten: what may not be shown becomes ``-inf``.
    """
    for k in range(n):
        if not _may_show(users, u, entities, work, k, now_s, params):
            scores[k] = -np.inf
    n_new = 0
    m = 0
    size = min(params.size, N_SLATE)
    while m < size:
        only_new = size - m <= params.discovery_slots - n_new
        best = _best(entities, work, n, scores, out, m, only_new, params.category_cap)
        if best < 0 and only_new:
            best = _best(entities, work, n, scores, out, m, False, params.category_cap)
        if best < 0:
            break
        if not work.candidates[best].had:
            n_new += 1
        out[m] = best
        m += 1
    return m


@njit(cache=True, nogil=True)
def _best(
    entities: Entities, work: Work, n: int, scores: Floats, taken: Int32s, m: int, only_new: bool, cap: int
) -> int:
    best = -1
    for k in range(n):
        if scores[k] == -np.inf or (only_new and work.candidates[k].had):
            continue
        row = work.candidates[k].row
        if best >= 0:
            other = work.candidates[best].row
            if scores[k] < scores[best]:
                continue
            if scores[k] == scores[best] and entities.headers[row].id > entities.headers[other].id:
                continue
        free = True
        same = 0
        for j in range(m):
            if taken[j] == k:
                free = False
            elif entities.category[work.candidates[taken[j]].row] == entities.category[row]:
                same += 1
        if free and (cap == 0 or same < cap):
            best = k
    return best


@njit(cache=True, nogil=True)
def reason(work: Work, at: int) -> int:
    """Return why a candidate is there, in the order: had before, bought together, taste, category, popular."""
    c = work.candidates[at]
    if c.had:
        return REASON_REPEAT
    if c.source > 0 and c.source_weight >= TOGETHER_SHARE:
        return REASON_TOGETHER
    x = work.features[at]
    if x[6] > 1.0:
        return REASON_TASTE
    if x[11] == 0.0:
        return REASON_CATEGORY
    return REASON_POPULAR


@njit(cache=True, nogil=True)
def remember_shown(users: Users, u: int, entities: Entities, work: Work, picked: Int32s, m: int) -> None:
    """Write the slate to the user's row: its items and in how many slates in a row each has been."""
    header = users.headers[u]
    times = np.ones(N_SLATE, np.uint8)
    for k in range(m):
        item = entities.headers[work.candidates[picked[k]].row].id
        for j in range(header.n_shown):
            if header.shown[j] == item:
                times[k] = min(header.shown_times[j] + 1, 255)
    for k in range(m):
        header.shown[k] = entities.headers[work.candidates[picked[k]].row].id
        header.shown_times[k] = times[k]
    header.n_shown = m
