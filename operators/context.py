"""The context that a user is in: items of the present session, and their categories, which slates leave out.

How it changes with each event, and how ranking reads it.
"""

import numpy as np

from operators.arrays import Entities, Users, Work
from operators.params import MAX_CONTEXT
from operators.user_profile import find_slot, nth_slot
from state.arrays import Row, Rows
from state.kernel import inner_kernel, kernel
from state.layout import N_CONTEXT_SLOTS, USER_CONTEXT

MAX_SOURCES = 48
"""Items of the context whose neighbours are looked at."""
SESSIONLESS_CONTEXT = 10
"""Events of context for a user without sessions: they stand in one page."""
VISIT_S = 1_800
"""An event without a session that is no more than so much newer than the user's newest one belongs to their session."""


@inner_kernel
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
        for k in range(min(N_CONTEXT_SLOTS, left)):
            if header.session == np.uint64(0) and page.t_s[k] + gap_s < now_s:
                continue
            row = page.entity[k]
            category = entities.category[row] if row > 0 else -1
            if category < 0:
                continue
            known = False
            for j in range(n):
                known = known or work.category_context[j] == category
            if not known:
                work.category_context[n] = category
                n += 1
        left -= N_CONTEXT_SLOTS
        at = page.next
    return n


@inner_kernel
def context_items(users: Users, u: int, work: Work, now_s: int, gap_s: int) -> int:
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
        for k in range(min(N_CONTEXT_SLOTS, left)):
            if header.session == np.uint64(0) and page.t_s[k] + gap_s < now_s:
                continue
            row = page.entity[k]
            if row > 0:
                work.position[row] = -2
                work.context_rows[n % MAX_SOURCES] = row
                n += 1
        left -= N_CONTEXT_SLOTS
        at = page.next
    return min(n, MAX_SOURCES)


@inner_kernel
def release_context(users: Users, u: int, work: Work) -> None:
    """Take back the marks of :func:`context_items`."""
    header = users.headers[u]
    at = header.heads[USER_CONTEXT]
    left = header.n_context
    while at > 0 and left > 0:
        page = users.context[at]
        for k in range(min(N_CONTEXT_SLOTS, left)):
            row = page.entity[k]
            if row > 0 and work.position[row] == -2:  # noqa: PLR2004 - the mark
                work.position[row] = -1
        left -= N_CONTEXT_SLOTS
        at = page.next


@kernel
def enter_session(users: Users, u: int, session: np.uint64, t_s: int, gap_s: int, late_s: int) -> bool:
    """Start a new session (context forgotten, serial up) when the event belongs to a later one.

    Some shops name the session of purchases only. So an event without one does not end the session that the user is
    in; once that is over, the latest items of the session are the context of events without one.

    Returns
    -------
    bool
        Whether the event belongs to the session that is present now; one that comes late, of an earlier session, does
        not, and changes nothing here.
    """
    header = users.headers[u]
    if header.n_events == 0:
        header.session = session
        return True
    is_other = session != header.session
    if is_other and t_s + late_s < header.last_s:
        return False
    if session == np.uint64(0) and is_other:
        if t_s <= header.last_s + min(VISIT_S, gap_s):
            return True
        if t_s <= header.last_s + gap_s:
            _keep_latest(users, u)
        else:
            header.n_context = 0
        header.serial += 1
    elif is_other or (session == np.uint64(0) and t_s > header.last_s + gap_s):
        header.n_context = 0
        header.serial += 1
    header.session = session
    return True


@inner_kernel
def _keep_latest(users: Users, u: int) -> None:
    """Forget all items of the context but the latest ones, as many as there are without a session, oldest first."""
    header = users.headers[u]
    pages, head = users.context, header.heads[USER_CONTEXT]
    n = int(header.n_context)
    kept = min(n, SESSIONLESS_CONTEXT)
    for k in range(kept):  # the latest of those left goes behind them
        last, j = _context_place(pages, head, n - 1 - k)
        best, best_j = last, j
        for place in range(n - 2 - k, -1, -1):
            at, i = _context_place(pages, head, place)
            if pages[at].t_s[i] > pages[best].t_s[best_j]:
                best, best_j = at, i
        entity, t_s = pages[best].entity[best_j], pages[best].t_s[best_j]
        pages[best].entity[best_j], pages[best].t_s[best_j] = pages[last].entity[j], pages[last].t_s[j]
        pages[last].entity[j], pages[last].t_s[j] = entity, t_s
        pages[best].dirty = pages[last].dirty = 1
    for k in range(kept):
        to, j = _context_place(pages, head, k)
        at, i = _context_place(pages, head, n - kept + k)
        pages[to].entity[j], pages[to].t_s[j] = pages[at].entity[i], pages[at].t_s[i]
        pages[to].dirty = 1
    header.n_context = kept


@inner_kernel
def _context_place(pages: Rows, head: int, place: int) -> tuple[int, int]:
    at = head
    for _ in range(place // N_CONTEXT_SLOTS):
        at = pages[at].next
    return at, place % N_CONTEXT_SLOTS


@kernel
def add_context(users: Users, u: int, item: int, t_s: int) -> None:
    """Put an item's row into the session's context; without sessions the last ten events stay, oldest first."""
    header = users.headers[u]
    n = header.n_context
    if header.session == np.uint64(0):
        if n >= SESSIONLESS_CONTEXT:
            _forget_oldest(users.context[header.heads[USER_CONTEXT]])
            n = SESSIONLESS_CONTEXT - 1
        else:
            header.n_context += 1
    else:
        page, k = find_slot(users.context, header.heads[USER_CONTEXT], n, item, N_CONTEXT_SLOTS)
        if page > 0:
            users.context[page].t_s[k] = t_s
            users.context[page].dirty = 1
            return
        if n >= MAX_CONTEXT:
            n = _oldest_context(users, u)
        else:
            header.n_context += 1
    page, k = nth_slot(
        header, users.context, users.context_free, users.context_n_free, USER_CONTEXT, n, N_CONTEXT_SLOTS
    )
    users.context[page].entity[k] = item
    users.context[page].t_s[k] = t_s
    users.context[page].dirty = 1


@inner_kernel
def _forget_oldest(page: Row) -> None:
    for k in range(SESSIONLESS_CONTEXT - 1):
        page.entity[k] = page.entity[k + 1]
        page.t_s[k] = page.t_s[k + 1]


@inner_kernel
def _oldest_context(users: Users, u: int) -> int:
    header = users.headers[u]
    best, best_t, n = 0, np.uint32(0xFFFFFFFF), 0
    at = header.heads[USER_CONTEXT]
    while at > 0 and n < header.n_context:
        for k in range(min(N_CONTEXT_SLOTS, header.n_context - n)):
            if users.context[at].t_s[k] < best_t:
                best, best_t = n + k, users.context[at].t_s[k]
        n += N_CONTEXT_SLOTS
        at = users.context[at].next
    return best
