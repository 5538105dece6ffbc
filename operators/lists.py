"""The lists that a prequential evaluation scores: made with the worker's own candidates and scores, before learning."""

import math

import numpy as np

from operators.arrays import MAX_CANDIDATES, Entities, Users, Work
from operators.params import SlateParams
from operators.slate import pick
from state.arrays import Floats, Int32s, Row, UInt8s
from state.kernel import inner_kernel
from state.layout import N_SLATE

LIST_X, LIST_O, LIST_E, LIST_SLATE = 0, 1, 2, 3
N_LISTS = 4
N_LIST = 10

LISTS = np.dtype(
    [
        ("n", "u1", (N_LISTS,)),
        ("rows", "<i4", (N_LISTS, N_LIST)),
        ("n_drawn", "u1"),
        ("drawn", "<i4", (N_LIST,)),
        ("n_candidates", "<u2"),
        ("true_at", "<i2"),
        ("log_total", "<f4"),
        ("scores", "<f4", (MAX_CANDIDATES,)),
    ]
)
"""What was known before one event: per list its entity rows, best first; a slate drawn as the policy would; logits of
all candidates, and the true one's number (-1: no candidate)."""


@inner_kernel(allocates=True)
def _best(entities: Entities, work: Work, n: int, scores: Floats, banned: UInt8s, out: Int32s) -> int:
    """Write the rows of the highest scores that are not banned to ``out``, ties to the smaller id; return how many."""
    candidates, headers = work.candidates, entities.headers
    m = 0
    at = np.empty(N_LIST, np.int32)
    for k in range(n):
        if banned[k] or not math.isfinite(scores[k]):
            continue
        if m == N_LIST and scores[k] < scores[at[m - 1]]:
            continue
        j = m
        while j > 0:
            other = at[j - 1]
            if scores[other] > scores[k]:
                break
            if scores[other] == scores[k]:
                older = headers[candidates[other].row].id < headers[candidates[k].row].id
                if older:
                    break
            j -= 1
        if j >= N_LIST:
            continue
        for i in range(min(m, N_LIST - 1), j, -1):
            at[i] = at[i - 1]
        at[j] = k
        m = min(m + 1, N_LIST)
    for j in range(m):
        out[j] = work.candidates[at[j]].row
    return m


@inner_kernel
def _ban(entities: Entities, work: Work, n: int, banned: UInt8s, in_context: UInt8s) -> None:
    """Mark the candidates that may not be shown, and those whose category is one of the context's."""
    candidates, available, category_of = work.candidates, entities.available, entities.category
    where_of, bits = work.category_position, work.category_bit
    for k in range(n):
        row = candidates[k].row
        banned[k] = 0 if available[row] else 1
        where = where_of[category_of[row]]
        in_context[k] = 1 if where >= 0 and bits[where] != np.uint64(0) else 0


@inner_kernel(allocates=True)
def list_candidates(
    users: Users,
    u: int,
    entities: Entities,
    work: Work,
    n: int,
    log_total: float,
    now_s: int,
    row: int,
    params: SlateParams,
    choice: Row,
    draw: Row,
    out: Row,
) -> None:
    """Fill the lists of a scored event from gathered and scored candidates.

    Parameters
    ----------
    n, log_total
        Candidates, and the log of their summed exponentiated scores.
    row
        Entity row of the event's item; it decides nothing but what is noted of it.
    params, choice
        Of the slate.
    draw
        Of the slate with exploration.
    out
        One record of dtype :data:`LISTS`.
    """
    banned, in_context = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    candidates = work.candidates
    _ban(entities, work, n, banned, in_context)
    out.n[LIST_O] = _best(entities, work, n, work.scored, banned, out.rows[LIST_O])
    banned |= in_context
    out.n[LIST_X] = _best(entities, work, n, work.scored, banned, out.rows[LIST_X])
    for k in range(n):
        if candidates[k].had:
            banned[k] = 1
    out.n[LIST_E] = _best(entities, work, n, work.scored, banned, out.rows[LIST_E])
    out.n_candidates = n
    out.log_total = log_total
    out.scores[:n] = work.scored[:n]
    at = work.position[row]
    out.true_at = at if at >= 0 else -1
    picked = np.empty(N_SLATE, np.int32)
    propensities = np.empty(N_SLATE, np.float64)
    m = pick(users, u, entities, work, n, now_s, params, choice, picked, propensities)
    out.n[LIST_SLATE] = m
    for j in range(m):
        out.rows[LIST_SLATE, j] = work.candidates[picked[j]].row
    out.n_drawn = pick(users, u, entities, work, n, now_s, params, draw, picked, propensities)
    for j in range(out.n_drawn):
        out.drawn[j] = work.candidates[picked[j]].row
