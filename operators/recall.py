"""Candidates for one user: own items, co-occurring ones, popular ones, popular and new ones of likely categories."""

from operators.arrays import DIRECTION, NEAR, Entities, Users, Work
from operators.candidates import add_candidate
from operators.content import add_content, content_affinity, weigh_content
from operators.cooccurrence import add_cooccurring, comes_with_sources
from operators.elementary import powers_of_two
from operators.numeric import DAY_S, FIXED_POINT, choose, kth_largest
from operators.params import NEW_DAYS, SLOW_DAYS
from operators.serving import N_ATTRIBUTES, N_TAGS
from operators.user_profile import find_slot
from state.arrays import Int32s, Rows
from state.kernel import inner_kernel
from state.layout import FLAG_DISLIKED, N_FACTORS, N_USER_SLOTS, USER_ITEM_PAGE, USER_ITEMS
from state.prefetch import field_lines, prefetch

N_POPULAR = 100
"""Popular items taken at the most."""
N_BY_FACTORS = 100
"""Popular items with the highest factor scores taken at the most."""
N_FRESH = 100
"""Items that most users had for the first time lately, taken at the most."""
N_LIKELY_CATEGORIES = 25
N_PER_CATEGORY = 8
N_NEW, N_NEW_EMBEDDED = 4, 24
"""New items taken at the most: one per category, or, of a catalogue with content vectors, those that fit best."""
N_NEW_PER_CATEGORY = 8
"""New items of a category that are looked at, of a catalogue with content vectors."""
_SLOW = -1.0 / (SLOW_DAYS * DAY_S)
"""What the exponent of two loses in a second."""
_ITEM_LINES = field_lines(USER_ITEM_PAGE, "entity", "next")
"""Offsets of the cache lines of a page."""


@inner_kernel
def _prefetch_page(items: Rows, entities: Entities, at: int) -> int:
    """Ask for the items on a page and for the page after it; return which one that is."""
    page = items[at]
    for k in range(N_USER_SLOTS):
        prefetch(entities.serving, page.entity[k], 0)
    for line in _ITEM_LINES:
        prefetch(items, page.next, line)
    return int(page.next)


@inner_kernel
def _personal(users: Users, u: int, entities: Entities, work: Work, n: int, now_s: int) -> int:
    """Add the user's items; sum their slow counts per attribute in ``work.attribute_counts``."""
    header = users.headers[u]
    items, position, category_of, serving = users.items, work.position, entities.category, entities.serving
    kept = work.guess[:N_USER_SLOTS]
    work.taken[0] = 0.0
    at = header.heads[USER_ITEMS]
    left = header.n_items
    ahead = _prefetch_page(items, entities, at)
    while at > 0 and left > 0:
        page = items[at]
        ahead = _prefetch_page(items, entities, ahead)
        for k in range(N_USER_SLOTS):
            kept[k] = (float(now_s) - page.last_s[k]) * _SLOW
        powers_of_two(kept, N_USER_SLOTS)
        for k in range(min(N_USER_SLOTS, left)):
            row = page.entity[k]
            if row <= 0 or category_of[row] < 0:
                continue
            if page.flags[k] & FLAG_DISLIKED:
                if position[row] == -1:
                    position[row] = -3
                continue
            slow = page.slow[k] / FIXED_POINT * kept[k]
            work.taken[0] += slow
            attributes = serving[row].attributes
            for j in range(N_ATTRIBUTES):
                work.attribute_counts[attributes[j]] += slow
            if serving[row].tagged:
                for j in range(N_TAGS):
                    work.attribute_counts[entities.tags[row, j]] += slow
            if serving[row].embedded:
                add_content(work.attribute_counts, serving[row].signature, slow)
            if position[row] == -2:  # noqa: PLR2004 - the mark of a context item
                continue
            before = n
            n = add_candidate(work, n, row)
            if n > before:
                c = work.candidates[before]
                c.had = 1
                c.page = at
                c.slot = k
                c.slow = slow
        left -= N_USER_SLOTS
        at = page.next
    work.attribute_counts[0] = 0.0
    return n


@inner_kernel
def _forget_personal(users: Users, u: int, entities: Entities, work: Work) -> None:
    """Clear the counts of attributes and the marks of disliked items."""
    header = users.headers[u]
    items, position, serving = users.items, work.position, entities.serving
    at = header.heads[USER_ITEMS]
    left = header.n_items
    while at > 0 and left > 0:
        page = items[at]
        for k in range(min(N_USER_SLOTS, left)):
            row = page.entity[k]
            if row <= 0:
                continue
            attributes = serving[row].attributes
            for j in range(N_ATTRIBUTES):
                work.attribute_counts[attributes[j]] = 0.0
            if serving[row].tagged:
                for j in range(N_TAGS):
                    work.attribute_counts[entities.tags[row, j]] = 0.0
            if page.flags[k] & FLAG_DISLIKED and position[row] == -3:  # noqa: PLR2004 - the mark of a disliked item
                position[row] = -1
        left -= N_USER_SLOTS
        at = page.next


@inner_kernel
def _by_factors(entities: Entities, work: Work, n: int) -> int:
    """Add the popular items that the factors rate highest for the query in ``work``."""
    scores, query, factors = work.neighbour_cooc[: entities.scan.shape[0]], work.query, entities.scan_factors
    for k in range(scores.shape[0]):
        scores[k] = factors[N_FACTORS, k]
    for f in range(0, N_FACTORS, 4):
        for k in range(scores.shape[0]):
            score = scores[k] + query[f] * factors[f, k] + query[f + 1] * factors[f + 1, k]
            scores[k] = score + query[f + 2] * factors[f + 2, k] + query[f + 3] * factors[f + 3, k]
    best = work.best
    for k in range(choose(scores, kth_largest(scores, N_BY_FACTORS), best)):
        row = entities.scan[best[k]]
        if entities.category[row] >= 0:
            n = add_candidate(work, n, row)
    return n


@inner_kernel
def _popular(entities: Entities, work: Work, n: int, n_categories: int, least: float) -> int:
    for k in range(min(N_POPULAR, entities.n_top[0])):
        n = add_candidate(work, n, entities.top[k])
    for k in range(min(N_FRESH, entities.n_fresh_top[0])):
        n = add_candidate(work, n, entities.fresh_top[k])
    for k in range(n_categories):
        if work.category_log_p[k] >= least:
            category = work.category_list[k]
            for j in range(min(N_PER_CATEGORY, entities.category_n_top[category])):
                n = add_candidate(work, n, entities.category_top[category, j])
    return n


@inner_kernel
def _new(entities: Entities, work: Work, n: int, n_categories: int, least: float, now_s: int) -> int:
    """Add items that were listed lately and that hardly anybody had, of the likeliest categories but the context's.

    Without them an item would have to be taken before it could be recommended.
    """
    log_p, embedded = work.category_log_p, entities.totals[2] > 0.0
    newest, rows, scores = entities.newest, work.stale, work.neighbour_cooc
    position, oldest_s = work.position, float(now_s) - NEW_DAYS * DAY_S
    m = 0
    for k in range(n_categories):
        category = work.category_list[k]
        if log_p[k] < least or newest[category].n == 0 or work.category_features[k, 10] > 0.0:
            continue
        if m + N_NEW_PER_CATEGORY > rows.shape[0]:  # categories of which nothing is known are all equally likely
            break
        room = N_NEW_PER_CATEGORY if embedded else 1
        for j in range(newest[category].n):
            if room == 0 or newest[category].listed_s[j] < oldest_s:
                break
            row = newest[category].rows[j]
            if position[row] != -1:
                continue
            room -= 1
            rows[m] = row
            scores[m] = log_p[k]
            if embedded and entities.serving[row].embedded:
                scores[m] += content_affinity(work.content, NEAR, entities.serving[row].signature)
                scores[m] += content_affinity(work.content, DIRECTION, entities.serving[row].signature)
            m += 1
    if m == 0:
        return n
    left = N_NEW_EMBEDDED if embedded else N_NEW
    wanted = kth_largest(scores[:m], left)
    for j in range(m):
        if scores[j] >= wanted and left > 0:
            n = add_candidate(work, n, rows[j])
            left -= 1
    return n


@inner_kernel
def _holds(rows: Int32s, n: int, row: int) -> bool:
    found = False
    for k in range(n):
        found |= rows[k] == row
    return found


@inner_kernel
def may_recall(users: Users, u: int, entities: Entities, work: Work, n_context: int, row: int) -> bool:
    """Tell whether :func:`recall` may list an item; where not, it is certain that it does not.

    A fraction of the work of :func:`recall`: no source of candidates is ordered or summed up, it is only looked for the
    item in what each of them takes from.
    """
    if work.position[row] != -1:
        return False  # an item of the context
    header = users.headers[u]
    if find_slot(users.items, header.heads[USER_ITEMS], header.n_items, row)[0] > 0:
        return True
    if _holds(entities.top, entities.n_top[0], row) or _holds(entities.fresh_top, entities.n_fresh_top[0], row):
        return True
    category = entities.category[row]
    if category >= 0:
        newest = entities.newest[category]
        if _holds(entities.category_top[category], entities.category_n_top[category], row):
            return True
        if _holds(newest.rows, newest.n, row):
            return True
    if _holds(entities.scan, entities.scan.shape[0], row):
        return True
    return comes_with_sources(users, u, entities, work, n_context, row)


@inner_kernel
def recall(users: Users, u: int, entities: Entities, work: Work, n_categories: int, n_context: int, now_s: int) -> int:
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
    n = _personal(users, u, entities, work, 0, now_s)
    if entities.totals[2] > 0.0:
        weigh_content(entities, work)
    n = add_cooccurring(users, u, entities, work, n, n_context)
    n = _by_factors(entities, work, n)
    least = kth_largest(work.category_log_p[:n_categories], N_LIKELY_CATEGORIES)
    n = _popular(entities, work, n, n_categories, least)
    return _new(entities, work, n, n_categories, least, now_s)


@inner_kernel
def forget_candidates(users: Users, u: int, entities: Entities, work: Work, n: int) -> None:
    """Clear the positions that :func:`recall` set."""
    for k in range(n):
        work.position[work.candidates[k].row] = -1
    _forget_personal(users, u, entities, work)
