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
25  log share of sessions (had only)        51  affinity: near content vectors (never had)
52  affinity: content direction (never)     53  nobody had it yet
54  log co-occurrence with the latest items
55… squares of those that :data:`operators.weights.SQUARE` names
==  ======================================  ==  ======================================

*Lateness* is the time since the user's last one, as ``log(1 + days)``, less the item's usual interval. *Affinity* is
the logarithm of how much more often the user takes an attribute than everybody does.
"""

import math

import numpy as np

from operators.arrays import DIRECTION, NEAR, Entities, Users, Work
from operators.content import content_affinity
from operators.elementary import dot, logarithms
from operators.numeric import DAY_S, FIXED_POINT, decay
from operators.params import AFFINITY_PRIOR, FAST_DAYS, P_LONG, P_MIDDLE, P_SHORT, VOTE_PRIOR
from operators.serving import BRAND, DEPARTMENT, KIND, N_TAGS, PRICE
from operators.weights import COLUMN, N_COLUMNS, N_LOGS, N_LOGS_HAD, SQUARE
from state.arrays import Floats, Int32s, Row
from state.kernel import inner_kernel, kernel
from state.layout import ENTITY_HEADER, FLAG_BITS, N_DELTAS, N_REPEATS
from state.prefetch import field_lines, prefetch

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
    "weight of sessions, category", "content, near", "content, direction", "untried",
    "co-occurrence, latest",
)  # fmt: skip
FEATURES = tuple(f"{_PLAIN[k]}, squared" if square else _PLAIN[k] for k, square in zip(COLUMN, SQUARE, strict=True))
"""Names of what the blend weighs, in the order of its weights."""
NO_VOTES = math.log(VOTE_PRIOR)
"""What a category has that is not listed."""
_AHEAD = 8
"""Candidates between the one that is worked on and the one whose header is asked for."""
_HEADER_LINES = (*field_lines(ENTITY_HEADER, "target", "target"), *field_lines(ENTITY_HEADER, "bias", "bias"))
"""Offsets of the cache lines of a header that features are made of."""


@kernel
def fill_features(
    users: Users,
    u: int,
    entities: Entities,
    work: Work,
    which: Int32s,
    n_context_categories: int,
    now_s: int,
) -> None:
    """Fill ``work.features`` of the candidates ``which``, shape ``(n,)``, but for the squares.

    First what logarithms are wanted of is gathered, then they are taken all at once, then the features are put in
    their places.
    """
    _gather(users, u, entities, work, which, now_s)
    n_had = 0
    for j in range(which.shape[0]):
        n_had += int(work.candidates[which[j]].had)
    logarithms(work.logs, N_LOGS * which.shape[0])
    logarithms(work.logs_had, N_LOGS_HAD * n_had)
    _place(users, u, work, which, n_context_categories)


@inner_kernel
def _gather(users: Users, u: int, entities: Entities, work: Work, which: Int32s, now_s: int) -> None:
    """Fill the features that are no logarithms, and ``work.logs`` and ``work.logs_had`` with what those are of."""
    items, headers, serving, tags = users.items, entities.headers, entities.serving, entities.tags
    category_of, category_rows = entities.category, entities.category_rows
    candidates, where_of, category_user = work.candidates, work.category_position, work.category_user
    category_x, votes, log_p = work.category_features, work.category_votes, work.category_log_p
    counts, totals, query, content = work.attribute_counts, entities.attribute_totals, work.query, work.content
    logs, logs_had = work.logs, work.logs_had
    serial = users.headers[u].serial
    n_all = entities.totals[0] + 1.0
    at_had = 0
    for j in range(which.shape[0]):
        if j + _AHEAD < which.shape[0]:
            for header_line in _HEADER_LINES:
                prefetch(headers, candidates[which[j + _AHEAD]].row, header_line)
        x = work.features[which[j]]
        c = candidates[which[j]]
        item = headers[c.row]
        line = serving[c.row]
        category = category_of[c.row]
        where = where_of[category]
        for k in range(N_COLUMNS):
            x[k] = 0.0
        if c.had:
            page = items[c.page]
            place = page.flags[c.slot] >> FLAG_BITS
            repeats = users.repeats[work.repeat_pages[place // N_REPEATS]]
            _gather_had(
                page, c.slot, repeats, place % N_REPEATS, c, serial, now_s, line.usual, x, logs_had, at_had
            )  # fmt: skip
            at_had += N_LOGS_HAD
        at = N_LOGS * j
        logs[at] = c.cooc + 1e-3
        logs[at + 1] = c.cooc_cosine + 1e-3
        logs[at + 2] = counts[line.attributes[DEPARTMENT]] + 0.1
        logs[at + 6] = c.cooc_latest + 0.01
        x[4] = line.popularity[P_LONG]
        x[5] = line.popularity[P_SHORT]
        x[6] = item.bias + dot(query, item.target)
        if where >= 0:
            x[7] = log_p[where]
            x[8] = category_x[where, 1]
            x[9] = c.slow / (category_user[where, 1] + 0.5)
            x[10] = line.popularity[P_LONG] - category_user[where, 2]
            x[11] = 0.0 if category_user[where, 0] > 0.0 else 1.0
            x[12] = 1.0 if category_x[where, 10] > 0.0 else 0.0
            x[30] = category_x[where, 14]
            x[31] = category_x[where, 15]
            x[49] = votes[where, 2]
            x[50] = votes[where, 3]
        else:
            x[7] = -8.0
            x[10] = line.popularity[P_LONG] - _log_size(headers[category_rows[category]], now_s)
            x[11] = 1.0
            x[49] = x[50] = NO_VOTES
        x[13] = line.repeat
        x[22] = line.popularity[P_MIDDLE]
        x[28] = line.first[0]
        x[29] = line.first[1]
        for k in (BRAND, PRICE, KIND):
            attribute = line.attributes[k]
            logs[at + 3 + k] = 1.0
            if attribute > 0 and where >= 0:
                taken = counts[attribute]
                if taken > 0.0:
                    share = (totals[attribute] + 0.1) / (headers[category_rows[category]].n + 1.0)
                    expected = (category_user[where, 1] + AFFINITY_PRIOR) * share
                    logs[at + 3 + k] = (taken + AFFINITY_PRIOR * share) / expected
                else:
                    x[42 + k] = category_user[where, 3]
        if line.tagged:
            n_tags = 0
            for k in range(N_TAGS):
                tag = tags[c.row, k]
                if tag > 0:
                    share = (totals[tag] + 0.1) / n_all
                    expected = (work.taken[0] + AFFINITY_PRIOR) * share
                    x[46] += math.log((counts[tag] + AFFINITY_PRIOR * share) / expected)
                    n_tags += 1
            x[46] /= n_tags
        if line.untried and not c.had:
            x[53] = 1.0
        if line.embedded and not c.had:
            x[51] = content_affinity(content, NEAR, line.signature)
            x[52] = content_affinity(content, DIRECTION, line.signature)


@inner_kernel
def _gather_had(
    page: Row, k: int, repeats: Row, j: int, c: Row, serial: int, now_s: int, usual: float,
    x: Floats, logs: Floats, at: int,
) -> None:  # fmt: skip
    """Fill what only an item that the user had has.

    ``k`` is its slot, ``j`` that of its repeats (all zeros where it has none); its logarithms begin at ``at``.
    """
    count = max(int(repeats.count[j]), 1)
    fast = repeats.fast[j] if repeats.count[j] > 0 else page.slow[k]
    since = max(float(now_s) - page.last_s[k], 0.0)
    logs[at] = c.slow + 0.01
    logs[at + 1] = fast / FIXED_POINT * decay(since, FAST_DAYS) + 0.01
    logs[at + 2] = 1.0 + count
    logs[at + 3] = 1.0 + since / DAY_S
    logs[at + 4] = 1.0
    if count > 1:
        gap = max((float(page.last_s[k]) - repeats.first_s[j]) / (count - 1), 3600.0)
        x[18] = min(since / gap, 4.0)
        logs[at + 4] = since / gap + 0.02
    logs[at + 5] = c.shared + 0.05
    logs[at + 6] = c.vote + 0.01
    logs[at + 7] = c.likeness + 0.01
    x[23] = 1.0 if since < DAY_S else 0.0
    x[35] = usual
    sessions = float(np.uint16(serial - page.serial[k]))
    span = 0.0
    n = 0
    for d in range(N_DELTAS):
        delta = repeats.deltas[j * N_DELTAS + d]
        if delta == 0:
            break
        span += delta
        n += 1
    logs[at + 8] = 1.0 + sessions
    logs[at + 9] = (n + 1.0) / (sessions + span + 2.0)
    logs[at + 10] = 1.0
    if n > 0:
        ratio = sessions * n / span
        x[26] = min(ratio, 4.0)
        logs[at + 10] = ratio + 0.02


@inner_kernel
def _place(users: Users, u: int, work: Work, which: Int32s, n_context_categories: int) -> None:
    """Put the logarithms, and what hangs on them, in their places."""
    header = users.headers[u]
    candidates, features, logs, logs_had = work.candidates, work.features, work.logs, work.logs_had
    user_repeat = header.n_repeat_decayed / (header.n_decayed + 2.0)
    context_size = math.log(1.0 + n_context_categories)
    at_had = 0
    for j in range(which.shape[0]):
        x = features[which[j]]
        at = N_LOGS * j
        x[2] = logs[at]
        x[3] = logs[at + 1]
        x[45] = logs[at + 2]
        x[54] = logs[at + 6]
        x[42] += logs[at + 3]
        x[43] += logs[at + 4]
        x[44] += logs[at + 5]
        x[14] = user_repeat
        x[15] = context_size
        x[21] = 1.0
        if candidates[which[j]].had:
            x[0] = logs_had[at_had]
            x[1] = logs_had[at_had + 1]
            x[16] = logs_had[at_had + 2]
            x[17] = logs_had[at_had + 3]
            x[19] = min(abs(logs_had[at_had + 4]), 4.0)
            x[20] = logs_had[at_had + 5]
            x[47] = logs_had[at_had + 6]
            x[48] = logs_had[at_had + 7]
            x[24] = logs_had[at_had + 8]
            x[25] = logs_had[at_had + 9]
            x[27] = min(abs(logs_had[at_had + 10]), 4.0)
            late = x[17] - x[35]
            x[32] = late
            x[33] = abs(late)
            x[34] = max(late, 0.0) ** 2
            x[36] = context_size * x[0]
            x[37] = context_size * x[17]
            x[38] = context_size * x[20]
            x[41] = context_size * x[25]
            at_had += N_LOGS_HAD
        x[39] = context_size * x[2]
        x[40] = context_size * x[7]


@inner_kernel
def _log_size(category: Row, now_s: int) -> float:
    """Return ``log(1 + popularity)`` of a category that is not listed, its half-life 90 days."""
    return math.log(category.popularity[P_LONG] * decay(float(now_s) - category.t_s, 90.0) + 1.0)
