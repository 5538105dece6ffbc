"""The order of work for one event, and the loop over a batch of them."""

import math

import numpy as np

from operators.arrays import Accumulators, Entities, Users, Work
from operators.blend import learn_blend
from operators.category_model import learn_categories
from operators.context import add_context, enter_session
from operators.factors import accumulator, build_query, sgd_step
from operators.lists import list_candidates
from operators.numeric import DAY_S, counted, forward_weight, growth, splitmix, uniform
from operators.params import N_OVERALL, POPULARITY_DAYS, LearnParams, SlateParams
from operators.rank import begin, end, list_all, release, score_all
from operators.reactions import learn_reaction, reacted_place
from operators.recall import may_recall
from operators.user_profile import (
    add_category,
    add_item,
    add_recent,
    dislike_item,
    find_slot,
    is_duplicate,
)
from operators.weights import N_RING
from state.arrays import Floats, Int32s, Row, Rows, UInt8s
from state.idmap import find
from state.kernel import inner_kernel, kernel
from state.layout import N_POPULARITIES, USER_ITEMS

TYPE_PURCHASE = 5
LEARNED, DUPLICATE, LEARNED_LATE = 0, 1, 2
REPEAT_MEMORY = 0.995
"""Weight ratio of one event to the one after it in the user's repeat rate."""
RECORDS_PER_EVENT = 160
"""Accumulator records that one event touches at the most."""
PAIRS_PER_EVENT = 48
"""Pairs that one event adds at the most."""
PAGES_PER_EVENT = 2
"""Pages of one chain that one event takes at the most."""


@kernel
def learn_batch(
    events: Rows,
    as_of_s: int,
    users: Users,
    entities: Entities,
    globals_: Row,
    pool: Int32s,
    work: Work,
    acc: Accumulators,
    params: LearnParams,
    status: UInt8s,
    losses: Floats,
    aucs: Floats,
    slate: SlateParams,
    choice: Row,
    draws: Rows,
    wanted: UInt8s,
    lists: Rows,
) -> None:
    """Learn events in their order.

    Parameters
    ----------
    events
        Shape ``(n,)``, dtype :data:`operators.arrays.EVENT`.
    as_of_s
        Time that the decayed sums in ``acc`` are as of, the same for all batches of a commit interval.
    pool
        Item rows that serve as uniform negatives, may be empty.
    status
        Overwritten: learned, duplicate (nothing was changed but the window), or learned late.
    losses
        Overwritten: log-loss of blend and perceptron for the event's item before it was learned, NaN where they made no
        step.
    aucs
        Overwritten: share of the other candidates that scored below the event's item; NaN where there is no loss.
    slate, choice
        What the slates of ``lists`` may hold, and how they are drawn (dtype :data:`operators.draw.CHOICE`).
    draws
        How the drawn ones are, shape of ``wanted``.
    wanted, lists
        Where ``wanted`` is 1, ``lists`` (dtype :data:`operators.lists.LISTS`) is filled with what was known before the
        event; both are empty in a worker. Listing changes nothing that is learned.
    """
    for k in range(events.shape[0]):
        e = events[k]
        header = users.headers[e.user]
        losses[k] = aucs[k] = np.nan
        if is_duplicate(users, e.user, e.event_hash):
            status[k] = DUPLICATE
            continue
        status[k] = LEARNED_LATE if e.t_s < header.last_s else LEARNED
        record = acc.records[accumulator(acc, e.row)]
        record.n_events += 1
        if e.weight > 0.0:
            at = k if k < wanted.shape[0] and wanted[k] else -1
            losses[k], aucs[k] = _learn_interaction(
                e, as_of_s, users, entities, globals_, pool, work, acc, params, slate, choice, draws, at, lists
            )
        elif e.weight < 0.0:
            is_present = enter_session(users, e.user, e.session, e.t_s, params.session_gap_s, params.late_s)
            dislike_item(users, e.user, e.row, e.t_s)
            if is_present:
                add_context(users, e.user, e.row, e.t_s)
        header.n_events += 1
        header.last_s = max(header.last_s, e.t_s)


@inner_kernel
def _learn_interaction(
    e: Row,
    as_of_s: int,
    users: Users,
    entities: Entities,
    globals_: Row,
    pool: Int32s,
    work: Work,
    acc: Accumulators,
    params: LearnParams,
    slate: SlateParams,
    choice: Row,
    draws: Rows,
    at: int,
    lists: Rows,
) -> tuple[float, float]:
    u = e.user
    header = users.headers[u]
    is_present = enter_session(users, u, e.session, e.t_s, params.session_gap_s, params.late_s)
    now_s = int(max(header.last_s, e.t_s))
    loss_auc = _learn_ranking(
        e, now_s, users, entities, globals_, pool, work, acc, params, slate, choice, draws, at, lists
    )
    category = entities.category[e.row]
    category_row = entities.category_rows[category] if category >= 0 else -1
    _pair_up(e, header, category_row, entities, acc, params)
    log_gap = _log_gap(users, u, e.row, e.t_s)
    had = add_item(users, u, e.row, e.t_s, e.weight, e.type == TYPE_PURCHASE, slate.bought_rest_s)
    header.n_decayed = header.n_decayed * REPEAT_MEMORY + 1.0
    header.n_repeat_decayed = header.n_repeat_decayed * REPEAT_MEMORY + (1.0 if had else 0.0)
    _count(acc, e.row, e.t_s, as_of_s, e.weight, had)
    if had:
        acc.records[accumulator(acc, e.row)].log_gaps += log_gap
    if category_row > 0:
        had_category = add_category(users, u, category_row, e.t_s, e.weight)
        _count(acc, category_row, e.t_s, as_of_s, e.weight, had_category)
    add_recent(header, e.row)
    if is_present:
        add_context(users, u, e.row, e.t_s)
    for k in range(header.n_shown):
        if header.shown[k] == e.row:
            header.shown_times[k] = 0
    globals_.ring[globals_.ring_n % N_RING] = e.id
    globals_.ring_n = counted(globals_.ring_n)
    return loss_auc


@inner_kernel
def _log_gap(users: Users, u: int, item: int, t_s: int) -> float:
    """Return ``log(1 + days)`` since the user's last event with an item; 0 where there is none."""
    header = users.headers[u]
    page, k = find_slot(users.items, header.heads[USER_ITEMS], header.n_items, item)
    if page <= 0:
        return 0.0
    return math.log(1.0 + max(float(t_s) - float(users.items[page].last_s[k]), 0.0) / DAY_S)


@inner_kernel
def _learn_ranking(
    e: Row,
    now_s: int,
    users: Users,
    entities: Entities,
    globals_: Row,
    pool: Int32s,
    work: Work,
    acc: Accumulators,
    params: LearnParams,
    slate: SlateParams,
    choice: Row,
    draws: Rows,
    at: int,
    lists: Rows,
) -> tuple[float, float]:
    """One step of the category model, the blend, the factors and the reactions, from the state before the event.

    Returns log-loss and AUC of blend and perceptron, NaN where they made no step.
    """
    u = e.user
    loss, auc = math.nan, math.nan
    eager = globals_.ring_n < np.uint32(params.n_eager)
    teaches = eager or splitmix(e.event_hash) % np.uint64(params.rank_every) == np.uint64(0)
    place = reacted_place(users, u, e)
    if teaches or at >= 0 or place >= 0:
        n_categories, n_context, n_items, n_sources = begin(users, u, entities, globals_, work, now_s, params)
        n, true = 0, -1
        listed = at >= 0 or place >= 0 or may_recall(users, u, entities, work, n_items, e.row)
        if listed:
            n = list_all(users, u, entities, work, n_categories, n_items, now_s)
            true = work.position[e.row]
        if at >= 0:
            log_total = score_all(users, u, entities, globals_, work, n, n_context, now_s)
            list_candidates(users, u, entities, work, n, log_total, now_s, e.row, slate, choice, draws[at], lists[at])
        if place >= 0:
            reward = min(float(e.reward), 1.0)
            learn_reaction(
                users, u, entities, globals_, work, place, n_context, now_s, reward, params.blend_memory
            )  # fmt: skip
        if teaches and true >= 0:
            loss, auc = learn_blend(
                users, u, entities, globals_, work, acc, n, true, params.n_blend, n_context, now_s, e.weight,
                params.blend_memory,
            )  # fmt: skip
        if teaches:
            learn_categories(
                entities, globals_, work, acc, n_categories, entities.category[e.row], e.weight,
                params.blend_memory,
            )  # fmt: skip
        if listed:
            release(users, u, entities, work, n, n_categories)
        else:
            end(users, u, work, n_categories)
    else:
        n_sources = build_query(users, u, entities, work, params.recency)
    m = _draw_negatives(entities, globals_, pool, work.negatives, params.n_negatives)
    sgd_step(users, u, e.row, work.negatives, m, n_sources, e.weight, entities, work, acc, params)
    return loss, auc


@inner_kernel
def _draw_negatives(entities: Entities, globals_: Row, pool: Int32s, out: Int32s, wanted: int) -> int:
    """Write rows of negatives to ``out``, half from the recent positives, half from the pool; return how many."""
    n = 0
    in_ring = min(globals_.ring_n, N_RING)
    for k in range(min(wanted, out.shape[0])):
        globals_.draws += np.uint64(1)
        x = uniform(globals_.draws)
        row = -1
        if k % 2 == 0:
            if in_ring > 0:
                row = find(entities.keys, entities.rows, globals_.ring[int(x * in_ring)])
        elif pool.shape[0] > 0:
            row = pool[int(x * pool.shape[0])]
        if row > 0:
            out[n] = row
            n += 1
    return n


@inner_kernel
def _count(acc: Accumulators, row: int, t_s: int, as_of_s: int, weight: float, had: bool) -> None:
    record = acc.records[accumulator(acc, row)]
    record.n += 1
    record.n_repeat += 1 if had else 0
    for k in range(N_OVERALL if had else N_POPULARITIES):
        record.popularity[k] += weight * growth(float(t_s) - float(as_of_s), POPULARITY_DAYS[k])
    record.cooc_count += forward_weight(float(t_s))


@inner_kernel
def _pair_up(
    e: Row, header: Row, category_row: int, entities: Entities, acc: Accumulators, params: LearnParams
) -> None:
    """Add co-occurrence of the item, and of its category, with each of the recent positives."""
    weight = forward_weight(float(e.t_s))
    for k in range(header.n_recent):
        row = header.recent[k]
        if row > 0 and row != e.row:
            _pair(acc, e.row, row, weight)
            category = entities.category[row]
            if category >= 0 and category_row > 0 and entities.category_rows[category] != category_row:
                _pair(acc, category_row, entities.category_rows[category], weight)
        weight *= params.lag


@inner_kernel
def _pair(acc: Accumulators, a: int, b: int, weight: float) -> None:
    n = acc.n_pairs[0]
    acc.pair_a[n] = a
    acc.pair_b[n] = b
    acc.pair_weight[n] = weight
    acc.n_pairs[0] = n + 1
