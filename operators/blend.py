"""The blend: one softmax over two linear models, one for items the user had and one for new ones.

Its 36 features, by number; :data:`FEATURES` names them:

==  ======================================  ==  ======================================
0   log slow count (had only)               12  category is in the context
1   log fast count (had only)               13  repeat rate of the item
2   log co-occurrence, conditional          14  repeat rate of the user
3   log co-occurrence, cosine               15  log(1 + categories in the context)
4   log popularity, 90 days                 16  log(1 + count) (had only)
5   log popularity, 3 days                  17  log(1 + days since) (had only)
6   factor score                            18  replenishment ratio r, at most 4 (had only)
7   log P(category)                         19  abs log r (had only)
8   log(1 + user's sessions with category)  20  shared sessions with the context (had only)
9   item's share of its category, user      21  1
10  item's share of its category, all       22  log popularity, 14 days
11  category is new to the user             23  had within the last day (had only)
24  log(1 + sessions since) (had only)      30  log(1 + sessions since category)
25  log share of sessions (had only)        31  log share of sessions with category
26  session ratio, at most 4 (had only)     32  lateness, see _gap_features (had only)
27  abs log session ratio (had only)        33  lateness, absolute (had only)
28  log first-time popularity, 7 days       34  lateness squared where late (had only)
29  log first-time popularity, 30 days      35  usual interval of the item, log (had only)
==  ======================================  ==  ======================================
"""

import math

import numpy as np
from numba import njit

from operators.arrays import N_BLEND, Accumulators, Entities, Users, Work
from operators.factors import accumulator, factor_score
from operators.newton import newton_learn
from operators.numeric import DAY_S, FIXED_POINT, decay, uniform
from operators.params import FAST_DAYS, P_FIRST_LONG, P_FIRST_SHORT, POPULARITY_DAYS, SLOW_DAYS
from operators.recall import shared_sessions
from state.arrays import Floats, Row
from state.layout import N_DELTAS

MAX_SAMPLE = 64
GAP_PRIOR = 3.0
USUAL_LOG_GAP = 3.0
"""``log(1 + days)`` between two of the same, before anything is known of an item: about 19 days."""
FEATURES = (
    "slow count",
    "fast count",
    "co-occurrence",
    "co-occurrence cosine",
    "popularity 90 d",
    "popularity 3 d",
    "factors",
    "P(category)",
    "sessions with category",
    "share of category, user",
    "share of category, all",
    "new category",
    "category in context",
    "repeat rate, item",
    "repeat rate, user",
    "context size",
    "count",
    "days since",
    "interval ratio",
    "interval ratio, log",
    "shared sessions",
    "one",
    "popularity 14 d",
    "had today",
    "sessions since",
    "share of sessions",
    "session ratio",
    "session ratio, log",
    "first-time popularity 7 d",
    "first-time popularity 30 d",
    "sessions since category",
    "share of sessions, category",
    "lateness",
    "lateness, absolute",
    "lateness squared",
    "usual interval, log",
)
"""Names of the features, in their order."""


@njit(cache=True, nogil=True)
def features(
    users: Users, u: int, entities: Entities, work: Work, at: int, n_context_categories: int, now_s: int
) -> None:
    """Fill ``work.features[at]`` for candidate ``at``."""
    header = users.headers[u]
    x = work.features[at]
    c = work.candidates[at]
    item = entities.headers[c.row]
    category = entities.category[c.row]
    where = work.category_position[category]
    parent = entities.headers[entities.category_rows[category]]
    passed = float(now_s) - item.t_s
    slow_all = item.popularity[2] * decay(passed, POPULARITY_DAYS[2])
    slow_category = parent.popularity[2] * decay(float(now_s) - parent.t_s, POPULARITY_DAYS[2])
    slow_own = 0.0
    for k in (0, 1, 16, 17, 18, 19, 20, 23, 24, 25, 26, 27, 32, 33, 34, 35):
        x[k] = 0.0
    if c.had:
        page = users.items[c.page]
        k = c.slot
        since = max(float(now_s) - page.last_s[k], 0.0)
        slow_own = page.slow[k] / FIXED_POINT * decay(since, SLOW_DAYS)
        x[0] = math.log(slow_own + 0.01)
        x[1] = math.log(page.fast[k] / FIXED_POINT * decay(since, FAST_DAYS) + 0.01)
        x[16] = math.log(1.0 + page.count[k])
        x[17] = math.log(1.0 + since / DAY_S)
        if page.count[k] > 1:
            gap = max((float(page.last_s[k]) - page.first_s[k]) / (page.count[k] - 1), 3600.0)
            x[18] = min(since / gap, 4.0)
            x[19] = min(abs(math.log(since / gap + 0.02)), 4.0)
        x[20] = shared_sessions(page, k, work)
        x[23] = 1.0 if since < DAY_S else 0.0
        _session_features(page, k, header.serial, x)
        _gap_features(item, x)
    x[2] = math.log(c.cooc + 1e-3)
    x[3] = math.log(c.cooc_cosine + 1e-3)
    x[4] = math.log(slow_all + 0.1)
    x[5] = math.log(item.popularity[0] * decay(passed, POPULARITY_DAYS[0]) + 0.1)
    x[6] = factor_score(entities, c.row, work)
    x[7] = work.category_log_p[where] if where >= 0 else -8.0
    x[8] = math.log(1.0 + work.category_user[where, 0]) if where >= 0 else 0.0
    x[9] = slow_own / (work.category_user[where, 1] + 0.5) if where >= 0 else 0.0
    x[10] = math.log((slow_all + 0.1) / (slow_category + 1.0))
    x[11] = 0.0 if where >= 0 and work.category_user[where, 0] > 0.0 else 1.0
    x[12] = 1.0 if where >= 0 and work.category_features[where, 10] > 0.0 else 0.0
    x[13] = item.n_repeat / (item.n + 5.0)
    x[14] = header.n_repeat_decayed / (header.n_decayed + 2.0)
    x[15] = math.log(1.0 + n_context_categories)
    x[21] = 1.0
    x[28] = math.log(item.popularity[P_FIRST_SHORT] * decay(passed, POPULARITY_DAYS[P_FIRST_SHORT]) + 0.1)
    x[29] = math.log(item.popularity[P_FIRST_LONG] * decay(passed, POPULARITY_DAYS[P_FIRST_LONG]) + 0.1)
    x[30] = work.category_features[where, 14] if where >= 0 else 0.0
    x[31] = work.category_features[where, 15] if where >= 0 else 0.0
    x[22] = math.log(item.popularity[1] * decay(passed, POPULARITY_DAYS[1]) + 0.1)


@njit(cache=True, nogil=True)
def _gap_features(item: Row, x: Floats) -> None:
    """Fill 32 to 35: the time since the user's last one, against the time that users of the item let pass.

    The item's mean of ``log(1 + days)`` is drawn towards :data:`USUAL_LOG_GAP` by :data:`GAP_PRIOR` made-up repeats.
    """
    usual = (item.log_gaps + GAP_PRIOR * USUAL_LOG_GAP) / (item.n_repeat + GAP_PRIOR)
    late = x[17] - usual
    x[32] = late
    x[33] = abs(late)
    x[34] = max(late, 0.0) ** 2
    x[35] = usual


@njit(cache=True, nogil=True)
def _session_features(page: Row, k: int, serial: int, x: Floats) -> None:
    """Fill 24 to 27: what the last eight sessions with the item say, counted in the user's sessions, not in days."""
    since = float(np.uint16(serial - page.serial[k]))
    span = 0.0
    n = 0
    for d in range(N_DELTAS):
        delta = page.deltas[k * N_DELTAS + d]
        if delta == 0:
            break
        span += delta
        n += 1
    x[24] = math.log(1.0 + since)
    x[25] = math.log((n + 1.0) / (since + span + 2.0))
    if n > 0:
        ratio = since * n / span
        x[26] = min(ratio, 4.0)
        x[27] = min(abs(math.log(ratio + 0.02)), 4.0)


@njit(cache=True, nogil=True)
def blend_score(entities: Entities, globals_: Row, work: Work, at: int) -> float:
    """Return the logit of candidate ``at``, whose features are filled."""
    return weighted_score(entities, globals_.blend, work, at)


@njit(cache=True, nogil=True)
def weighted_score(entities: Entities, weights: Floats, work: Work, at: int) -> float:
    """Return the logit of candidate ``at`` for weights of shape ``(2 * N_BLEND,)``."""
    c = work.candidates[at]
    head = 0 if c.had else N_BLEND
    score = float(entities.headers[c.row].blend_bias)
    score += entities.headers[entities.category_rows[entities.category[c.row]]].blend_bias
    for k in range(N_BLEND):
        score += weights[head + k] * work.features[at, k]
    return score


@njit(cache=True, nogil=True)
def learn_blend(
    users: Users,
    u: int,
    entities: Entities,
    globals_: Row,
    work: Work,
    acc: Accumulators,
    n: int,
    true: int,
    n_sample: int,
    n_context_categories: int,
    now_s: int,
    weight: float,
    memory: float,
) -> float:
    """Make one softmax step of the blend towards candidate ``true``.

    The denominator is estimated with ``n_sample`` candidates: the true one and an even sample of the others, whose
    terms are weighted by how many they stand for.

    Returns
    -------
    float
        Log-loss of the true candidate before the step, in nats.
    """
    picked = np.empty(MAX_SAMPLE, np.int32)
    p = np.empty(MAX_SAMPLE, np.float32)
    picked[0] = true
    m = 1
    others = n - 1
    wanted = min(n_sample - 1, others)
    start = uniform(globals_.draws)
    globals_.draws += np.uint64(1)
    for k in range(wanted):
        at = int((k + start) * others / wanted)
        picked[m] = at if at < true else at + 1
        m += 1
    lift = math.log(max(others, 1) / max(wanted, 1))
    highest = -1e30
    for k in range(m):
        features(users, u, entities, work, picked[k], n_context_categories, now_s)
        p[k] = blend_score(entities, globals_, work, picked[k]) + (lift if k > 0 else 0.0)
        highest = max(highest, p[k])
    total = 0.0
    for k in range(m):
        p[k] = math.exp(p[k] - highest)
        total += p[k]
    if not math.isfinite(total):
        return math.nan
    _blend_step(entities, globals_, work, acc, picked, p, m, total, weight, memory)
    return -math.log(max(p[0] / total, 1e-12))


@njit(cache=True, nogil=True)
def _blend_step(
    entities: Entities,
    globals_: Row,
    work: Work,
    acc: Accumulators,
    picked: np.ndarray,
    p: Floats,
    m: int,
    total: float,
    weight: float,
    memory: float,
) -> None:
    gradient = np.zeros(2 * N_BLEND, np.float32)
    for k in range(m):
        g = weight * (p[k] / total - (1.0 if k == 0 else 0.0))
        c = work.candidates[picked[k]]
        head = 0 if c.had else N_BLEND
        for f in range(N_BLEND):
            gradient[head + f] += g * work.features[picked[k], f]
    drawn = _draw(p, m, total, uniform(globals_.draws))
    if drawn != 0:
        _learn_biases(entities, work, acc, picked[0], -weight)
        _learn_biases(entities, work, acc, picked[drawn], weight)
    newton_learn(globals_.blend, globals_.blend_gram, globals_.blend_pending, gradient, weight, memory)


@njit(cache=True, nogil=True)
def _draw(p: Floats, m: int, total: float, x: float) -> int:
    """Return a number below ``m`` drawn with the probabilities ``p / total``; ``x`` is uniform in [0, 1)."""
    left = x * total
    for k in range(m):
        left -= p[k]
        if left < 0.0:
            return k
    return m - 1


@njit(cache=True, nogil=True)
def _learn_biases(entities: Entities, work: Work, acc: Accumulators, at: int, g: float) -> None:
    """Add ``g`` to the bias gradients of a candidate's item and category.

    The true candidate's bias rises, and that of one candidate drawn with the model's own probability falls: the same
    in the mean as the whole softmax gradient, at two records an event.
    """
    row = work.candidates[at].row
    _bias(acc, row, g)
    _bias(acc, entities.category_rows[entities.category[row]], g)


@njit(cache=True, nogil=True)
def _bias(acc: Accumulators, row: int, g: float) -> None:
    record = acc.records[accumulator(acc, row)]
    record.blend_bias += g
    record.blend_bias_sq += g * g
