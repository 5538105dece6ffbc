"""From scored candidates to a slate: rules first (other categories, caps, discoveries), then a draw for each slot."""

import math

import numpy as np

from operators.arrays import Entities, Users, Work
from operators.cap import cap_in_force
from operators.draw import draw_slot, set_weights, slot_propensity, weigh_slot
from operators.numeric import splitmix
from operators.params import SlateParams
from state.arrays import Floats, Int32s, Row, Rows, UInt64s
from state.kernel import inner_kernel, kernel
from state.layout import FLAG_BOUGHT, N_SLATE

REASON_REPEAT, REASON_TOGETHER, REASON_TASTE, REASON_CATEGORY, REASON_POPULAR = 0, 1, 2, 3, 4
TOGETHER_SHARE = 0.02
"""Conditional co-occurrence above which "bought together" is the reason."""

_cap_in_force = inner_kernel(cap_in_force)


@inner_kernel
def _resting(header: Row, item: int, limit: int) -> bool:
    for k in range(header.n_shown):  # noqa: SIM110 - numba knows no generators
        if header.shown[k] == item and header.shown_times[k] >= limit:
            return True
    return False


@inner_kernel
def _eligible(
    users: Users,
    u: int,
    entities: Entities,
    work: Work,
    n: int,
    now_s: int,
    params: SlateParams,
    ids: UInt64s,
    categories: Int32s,
    out: Int32s,
) -> int:
    """Write the numbers of the candidates that may be shown to ``out``, and their ids and categories; return how many.

    One loop with no calls that hand over the big tuples: each such call would count references to all their arrays.
    """
    header = users.headers[u]
    candidates, features = work.candidates, work.category_features
    m = 0
    for k in range(n):
        c = candidates[k]
        ids[k] = entities.headers[c.row].id
        categories[k] = entities.category[c.row]
        if not entities.available[c.row]:
            continue
        where = work.category_position[categories[k]]
        if where >= 0 and features[where, 10] > 0.0:
            continue
        if c.had and params.bought_rest_s > 0:
            page = users.items[c.page]
            if page.flags[c.slot] & FLAG_BOUGHT and float(now_s) - page.last_s[c.slot] < params.bought_rest_s:
                continue
        if params.shown_limit > 0 and _resting(header, c.row, params.shown_limit):
            continue
        out[m] = k
        m += 1
    return m


@inner_kernel
def _cap(categories: Int32s, left: Int32s, n: int, size: int, category_cap: int, found: Int32s) -> int:
    """Return the cap in force for a slate drawn from ``n`` candidates; ``found`` has room for as many categories.

    Categories are counted until more of them would change nothing: where there are many, that is soon.
    """
    m = 0
    cap = category_cap
    for k in range(n):
        category = categories[left[k]]
        at = 0
        while at < m and found[at] != category:
            at += 1
        if at < m:
            continue
        found[m] = category
        m += 1
        cap = _cap_in_force(category_cap, size, m)
        if cap == category_cap:
            break
    return cap


@inner_kernel
def _new_ones(candidates: Rows, left: Int32s, n: int, out: Int32s) -> int:
    m = 0
    for k in range(n):
        if not candidates[left[k]].had:
            out[m] = left[k]
            m += 1
    return m


@inner_kernel
def _without(categories: Int32s, left: Int32s, n: int, taken: Int32s, m: int, cap: int) -> int:
    """Take the newest of ``m`` taken candidates out of those left, and its category with it when that is full."""
    newest = taken[m - 1]
    category = categories[newest]
    same = 0
    for j in range(m):
        same += 1 if categories[taken[j]] == category else 0
    kept = 0
    if cap > 0 and same >= cap:
        for k in range(n):
            if categories[left[k]] != category:
                left[kept] = left[k]
                kept += 1
        return kept
    while left[kept] != newest:
        kept += 1
    for k in range(kept, n - 1):
        left[k] = left[k + 1]
    return n - 1


@inner_kernel
def _raise_new(candidates: Rows, scores: Floats, by: float) -> None:
    """Raise the logits of the candidates that the user never had."""
    for k in range(scores.shape[0]):
        if not candidates[k].had:
            scores[k] += by


@kernel(allocates=True)
def pick(
    users: Users,
    u: int,
    entities: Entities,
    work: Work,
    n: int,
    now_s: int,
    params: SlateParams,
    choice: Row,
    out: Int32s,
    propensities: np.ndarray,
) -> int:
    """Fill ``out`` with candidate numbers, one draw per slot; return how many.

    All rules act before a draw: which candidates a slot is drawn from follows from the slots before it, so that
    ``propensities`` (shape ``(N_SLATE,)``, float64) are the exact probabilities of each slot given the ones before.

    - What may not be shown is never eligible, and neither is a category that fills its cap already. The cap in force
      follows from how many categories are eligible before the first slot (:func:`operators.cap.cap_in_force`).
    - An item that the user never had counts for ``discovery_worth`` times as likely as it is, until half of the slots
      hold such items; not so where no discoveries are wanted. (Slates of new items alone teach nothing of the others,
      and then go on that way: ``docs/quality.md``.)
    - When no more slots are left than discoveries are wanted, only items the user never had are eligible, as long as
      there are any.

    Parameters
    ----------
    n
        Candidates; their logits are in ``work.scored``.
    choice
        One record of :data:`operators.draw.CHOICE`.
    """
    left, only_new = np.empty(n, np.int32), np.empty(n, np.int32)
    ids, categories = np.empty(n, np.uint64), np.empty(n, np.int32)
    weights = np.empty(n, np.float64)
    candidates = work.candidates
    scores = work.scored[:n].copy()
    raised_by = np.float32(math.log(params.discovery_worth)) if choice.discovery_slots > 0 else np.float32(0.0)
    _raise_new(candidates, scores, raised_by)
    n_left = _eligible(users, u, entities, work, n, now_s, params, ids, categories, left)
    cap = _cap(categories, left, n_left, params.size, np.int64(choice.category_cap), only_new)
    temperature, epsilon = choice.temperature, choice.epsilon
    if temperature > 0.0:
        set_weights(scores, left, n_left, temperature, weights)
    n_new = 0
    m = 0
    while m < min(params.size, N_SLATE) and n_left > 0:
        if raised_by != 0.0 and 2 * n_new >= params.size:
            scores[:] = work.scored[:n]
            raised_by = np.float32(0.0)
            if temperature > 0.0:
                set_weights(scores, left, n_left, temperature, weights)
        source, n_source = left, n_left
        if params.size - m <= int(choice.discovery_slots) - n_new:
            n_only_new = _new_ones(candidates, left, n_left, only_new)
            if n_only_new > 0:
                source, n_source = only_new, n_only_new
        key = splitmix(choice.key + np.uint64(m))
        best, total = weigh_slot(scores, ids, source, n_source, weights, temperature)
        at = draw_slot(best, total, source, n_source, weights, temperature, epsilon, key)
        propensities[m] = slot_propensity(at, best, total, source, n_source, weights, temperature, epsilon)
        out[m] = source[at]
        n_new += 0 if candidates[out[m]].had else 1
        m += 1
        n_left = _without(categories, left, n_left, out, m, cap)
    return m


@inner_kernel
def reason(entities: Entities, work: Work, at: int) -> int:
    """Return why a candidate is there, in the order: had before, bought together, taste, category, popular."""
    c = work.candidates[at]
    if c.had:
        return REASON_REPEAT
    if c.source > 0 and c.source_weight >= TOGETHER_SHARE:
        return REASON_TOGETHER
    x = work.features[at]
    if x[6] > 1.0 or x[51] + x[52] > 1.0:
        return REASON_TASTE
    if x[11] == 0.0 or entities.serving[c.row].untried:
        return REASON_CATEGORY
    return REASON_POPULAR


@inner_kernel(allocates=True)
def remember_shown(users: Users, u: int, work: Work, picked: Int32s, m: int) -> None:
    """Write the slate to the user's row: its items and in how many slates in a row each has been."""
    header = users.headers[u]
    times = np.ones(N_SLATE, np.uint8)
    for k in range(m):
        item = work.candidates[picked[k]].row
        for j in range(header.n_shown):
            if header.shown[j] == item:
                times[k] = min(header.shown_times[j] + 1, 255)
    for k in range(m):
        header.shown[k] = work.candidates[picked[k]].row
        header.shown_times[k] = times[k]
    header.n_shown = m
