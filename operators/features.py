"""The features of the blend: what is known of a user and an item before an event, as numbers.

By number; :data:`FEATURES` names them. *Had only*: 0 for items that the user never had.

==  ======================================  ==  ======================================
0   log slow count (had only)               26  session ratio, at most 4 (had only)
1   log fast count (had only)               27  abs log session ratio (had only)
2   log co-occurrence, conditional          28  log first-time popularity, 7 days
3   log co-occurrence, cosine               29  log first-time popularity, 30 days
4   log popularity, 90 days                 30  log(1 + sessions since category)
5   log popularity, 3 days                  31  log share of sessions with category
6   factor score                            32  lateness (had only)
7   log P(category)                         33  lateness, absolute (had only)
8   log(1 + user's sessions with category)  34  lateness squared where late (had only)
9   item's share of its category, user      35  usual interval of the item, log (had only)
10  item's share of its category, all       36  context size x slow count
11  category is new to the user             37  context size x days since
12  category is in the context              38  context size x shared sessions
13  repeat rate of the item                 39  context size x co-occurrence
14  repeat rate of the user                 40  context size x log P(category)
15  log(1 + categories in the context)      41  context size x share of sessions
16  log(1 + count) (had only)               42  affinity: brand in its category
17  log(1 + days since) (had only)          43  affinity: price band in its category
18  replenishment ratio r, at most 4 (had)  44  affinity: kind in its category
19  abs log r (had only)                    45  log count of the department
20  log sessions shared with the context    46  affinity: tags
21  1                                       47  log vote of alike sessions (had only)
22  log popularity, 14 days                 48  log mean likeness of its sessions (had)
23  had within the last day (had only)      49  log vote of alike sessions, category
24  log(1 + sessions since) (had only)      50  log weight of its sessions, category
25  log share of sessions (had only)        51… squares of those in :data:`SQUARED`
==  ======================================  ==  ======================================

*Lateness* is the time since the user's last one, as ``log(1 + days)``, less the item's usual interval. *Affinity* is
the logarithm of how much more often the user takes an attribute than everybody does.
"""

import math

import numpy as np
from numba import njit

from operators.arrays import HAD_ONLY, N_PLAIN, SQUARED, Entities, Users, Work
from operators.numeric import DAY_S, FIXED_POINT, decay
from operators.params import AFFINITY_PRIOR, FAST_DAYS, P_LONG, P_MIDDLE, P_SHORT
from operators.serving import BRAND, DEPARTMENT, HOUR_S, KIND, N_TAGS, PRICE, fill_line
from state.arrays import Floats, Int32s, Row
from state.layout import N_DELTAS, N_FACTORS

_PLAIN = (
    "slow count", "fast count", "co-occurrence", "co-occurrence cosine", "popularity 90 d", "popularity 3 d",
    "factors", "P(category)", "sessions with category", "share of category, user", "share of category, all",
    "new category", "category in context", "repeat rate, item", "repeat rate, user", "context size", "count",
    "days since", "interval ratio", "interval ratio, log", "shared sessions", "one", "popularity 14 d", "had today",
    "sessions since", "share of sessions", "session ratio", "session ratio, log", "first-time popularity 7 d",
    "first-time popularity 30 d", "sessions since category", "share of sessions, category", "lateness",
    "lateness, absolute", "lateness squared", "usual interval, log", "context size x slow count",
    "context size x days since", "context size x shared sessions", "context size x co-occurrence",
    "context size x P(category)", "context size x share of sessions", "brand", "price band", "kind", "department",
    "tags", "vote of alike sessions", "likeness of sessions", "vote of alike sessions, category",
    "weight of sessions, category",
)  # fmt: skip
FEATURES = (*_PLAIN, *(f"{_PLAIN[k]}, squared" for k in SQUARED))
"""Names of the features, in their order."""
CROSSED = np.array([0, 17, 20, 2, 7, 25])
"""Features that 36 to 41 multiply with the size of the context."""


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _dot(a: Floats, b: Floats) -> float:
    total = np.float32(0.0)
    for k in range(N_FACTORS):
        total += a[k] * b[k]
    return float(total)


@njit(cache=True, nogil=True)
def fill_features(
    users: Users,
    u: int,
    entities: Entities,
    work: Work,
    which: Int32s,
    n_context_categories: int,
    now_s: int,
) -> None:
    """Fill ``work.features`` of the candidates ``which``, shape ``(n,)``.

    One loop without calls that hand over the big tuples: each such call would count references to all their arrays.
    """
    header = users.headers[u]
    items, headers, serving, tags = users.items, entities.headers, entities.serving, entities.tags
    category_of, category_rows = entities.category, entities.category_rows
    candidates, where_of, category_user = work.candidates, work.category_position, work.category_user
    category_x, votes, log_p = work.category_features, work.category_votes, work.category_log_p
    counts, totals, query = work.attribute_counts, entities.attribute_totals, work.query
    serial = header.serial
    hour = now_s // HOUR_S + 1
    user_repeat = header.n_repeat_decayed / (header.n_decayed + 2.0)
    context_size = math.log(1.0 + n_context_categories)
    n_all = entities.totals[0] + 1.0
    for j in range(which.shape[0]):
        x = work.features[which[j]]
        c = candidates[which[j]]
        item = headers[c.row]
        line = serving[c.row]
        if line.hour != hour:
            fill_line(line, item, hour)
        category = category_of[c.row]
        where = where_of[category]
        for k in HAD_ONLY:
            x[k] = 0.0
        if c.had:
            page = items[c.page]
            k = c.slot
            since = max(float(now_s) - page.last_s[k], 0.0)
            x[0] = math.log(c.slow + 0.01)
            x[1] = math.log(page.fast[k] / FIXED_POINT * decay(since, FAST_DAYS) + 0.01)
            x[16] = math.log(1.0 + page.count[k])
            x[17] = math.log(1.0 + since / DAY_S)
            if page.count[k] > 1:
                gap = max((float(page.last_s[k]) - page.first_s[k]) / (page.count[k] - 1), 3600.0)
                x[18] = min(since / gap, 4.0)
                x[19] = min(abs(math.log(since / gap + 0.02)), 4.0)
            x[20] = math.log(c.shared + 0.05)
            x[23] = 1.0 if since < DAY_S else 0.0
            _session_features(page, k, serial, x)
            late = x[17] - line.usual
            x[32] = late
            x[33] = abs(late)
            x[34] = max(late, 0.0) ** 2
            x[35] = line.usual
            x[47] = math.log(c.vote + 0.01)
            x[48] = math.log(c.likeness + 0.01)
        x[2] = math.log(c.cooc + 1e-3)
        x[3] = math.log(c.cooc_cosine + 1e-3)
        x[4] = line.popularity[P_LONG]
        x[5] = line.popularity[P_SHORT]
        x[6] = item.bias + _dot(query, item.target)
        if where >= 0:
            own = category_user[where]
            x[7] = log_p[where]
            x[8] = math.log(1.0 + own[0])
            x[9] = c.slow / (own[1] + 0.5)
            x[10] = line.popularity[P_LONG] - own[2]
            x[11] = 0.0 if own[0] > 0.0 else 1.0
            x[12] = 1.0 if category_x[where, 10] > 0.0 else 0.0
            x[30] = category_x[where, 14]
            x[31] = category_x[where, 15]
            x[49] = math.log(votes[where, 0] + 0.01)
            x[50] = math.log(votes[where, 1] + 0.01)
        else:
            x[7] = -8.0
            x[8] = 0.0
            x[9] = 0.0
            x[10] = line.popularity[P_LONG] - _log_size(headers[category_rows[category]], now_s)
            x[11] = 1.0
            x[12] = 0.0
            x[30] = 0.0
            x[31] = 0.0
            x[49] = math.log(0.01)
            x[50] = math.log(0.01)
        x[13] = line.repeat
        x[14] = user_repeat
        x[15] = context_size
        x[21] = 1.0
        x[22] = line.popularity[P_MIDDLE]
        x[28] = line.first[0]
        x[29] = line.first[1]
        for k in range(CROSSED.shape[0]):
            x[36 + k] = context_size * x[CROSSED[k]]
        for k in (BRAND, PRICE, KIND):
            attribute = line.attributes[k]
            x[42 + k] = 0.0
            if attribute > 0 and where >= 0:
                taken = counts[attribute]
                if taken > 0.0:
                    share = (totals[attribute] + 0.1) / (headers[category_rows[category]].n + 1.0)
                    expected = (category_user[where, 1] + AFFINITY_PRIOR) * share
                    x[42 + k] = math.log((taken + AFFINITY_PRIOR * share) / expected)
                else:
                    x[42 + k] = category_user[where, 3]
        x[45] = math.log(counts[line.attributes[DEPARTMENT]] + 0.1)
        x[46] = 0.0
        if tags[c.row, 0] > 0:
            n_tags = 0
            for k in range(N_TAGS):
                tag = tags[c.row, k]
                if tag > 0:
                    share = (totals[tag] + 0.1) / n_all
                    expected = (work.taken[0] + AFFINITY_PRIOR) * share
                    x[46] += math.log((counts[tag] + AFFINITY_PRIOR * share) / expected)
                    n_tags += 1
            x[46] /= n_tags
        for k in range(SQUARED.shape[0]):
            x[N_PLAIN + k] = x[SQUARED[k]] * x[SQUARED[k]]


@njit(cache=True, nogil=True)
def _log_size(category: Row, now_s: int) -> float:
    """Return ``log(1 + popularity)`` of a category that is not listed, its half-life 90 days."""
    return math.log(category.popularity[P_LONG] * decay(float(now_s) - category.t_s, 90.0) + 1.0)


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
