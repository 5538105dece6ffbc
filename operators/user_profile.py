"""What a user's row learns from one event: duplicates, session context, recent positives, item and category slots."""

import numpy as np

from operators.arrays import Users
from operators.numeric import FIXED_POINT, decay, to_fixed
from operators.params import FAST_DAYS, MAX_CATEGORIES, MAX_CONTEXT, MAX_ITEMS, SLOW_DAYS
from state.arrays import Int32s, Row, Rows
from state.kernel import inner_kernel, kernel
from state.layout import (
    FLAG_BOUGHT,
    FLAG_DISLIKED,
    N_CONTEXT_SLOTS,
    N_DEDUPE,
    N_DELTAS,
    N_RECENT,
    N_SLOTS,
    N_USER_SLOTS,
    USER_CATEGORIES,
    USER_CONTEXT,
    USER_DEDUPE,
    USER_ITEMS,
)
from state.slab import pop_free

SESSIONLESS_CONTEXT = 10
"""Events of context for a user without sessions: they stand in one page."""


@kernel
def find_slot(pages: Rows, head: int, n_slots: int, row: int, n_per_page: int = N_USER_SLOTS) -> tuple[int, int]:
    """Return ``(page record, slot)`` of an entity row in a chain, or ``(0, 0)``."""
    at = head
    left = n_slots
    while at > 0 and left > 0:
        entity = pages[at].entity
        for k in range(min(n_per_page, left)):
            if entity[k] == row:
                return at, k
        left -= n_per_page
        at = pages[at].next
    return 0, 0


@inner_kernel
def _knows(pages: Rows, head: int, n_slots: int, event_hash: np.uint64) -> bool:
    at = head
    left = n_slots
    while at > 0 and left > 0:
        ids = pages[at].ids
        for k in range(min(N_SLOTS, left)):
            if ids[k] == event_hash:
                return True
        left -= N_SLOTS
        at = pages[at].next
    return False


@inner_kernel
def nth_slot(
    header: Row, pages: Rows, free: Int32s, n_free: Int32s, chain: int, n: int, n_per_page: int
) -> tuple[int, int]:
    """Return ``(page record, slot)`` of slot number ``n`` of a chain, appending pages as needed."""
    at = header.heads[chain]
    previous = 0
    for _ in range(n // n_per_page + 1):
        if at == 0:
            at = pop_free(free, n_free)
            if previous == 0:
                header.heads[chain] = at
            else:
                pages[previous].next = at
            header.n_pages[chain] += 1
        previous = at
        at = pages[at].next
    return previous, n % n_per_page


@kernel
def is_duplicate(users: Users, u: int, event_hash: np.uint64) -> bool:
    """Tell whether the user's last 32 events hold this id; remember it if not."""
    header = users.headers[u]
    if _knows(users.dedupe, header.heads[USER_DEDUPE], header.n_dedupe, event_hash):
        return True
    page, k = nth_slot(
        header, users.dedupe, users.dedupe_free, users.dedupe_n_free, USER_DEDUPE, header.dedupe_at % N_DEDUPE, N_SLOTS
    )
    users.dedupe[page].ids[k] = event_hash
    users.dedupe[page].dirty = 1
    header.dedupe_at = np.uint16((header.dedupe_at + 1) % N_DEDUPE)
    if header.n_dedupe < N_DEDUPE:
        header.n_dedupe += 1
    return False


@kernel
def enter_session(users: Users, u: int, session: np.uint64, t_s: int, gap_s: int) -> None:
    """Start a new session (context forgotten, serial up) when the event belongs to another one."""
    header = users.headers[u]
    if session != np.uint64(0):
        fresh = session != header.session
    else:
        fresh = header.session != np.uint64(0) or t_s > header.last_s + gap_s
    if fresh and header.n_events > 0:
        header.n_context = 0
        header.serial += 1
    header.session = session


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


@kernel
def add_recent(header: Row, item: int) -> None:
    """Put an item's row in front of the user's recent positives; an item that is there already moves."""
    n = header.n_recent
    last = n if n < N_RECENT else N_RECENT - 1
    for k in range(n):
        if header.recent[k] == item:
            last = k
            break
    else:
        if n < N_RECENT:
            header.n_recent += 1
    for k in range(last, 0, -1):
        header.recent[k] = header.recent[k - 1]
    header.recent[0] = item


@inner_kernel
def _weakest(pages: Rows, head: int, n_slots: int, now_s: int) -> tuple[int, int]:
    best_page, best_k, best = head, 0, 1e30
    at, left = head, n_slots
    while at > 0 and left > 0:
        for k in range(min(N_USER_SLOTS, left)):
            value = pages[at].slow[k] * decay(float(now_s) - pages[at].last_s[k], SLOW_DAYS)
            if value < best:
                best_page, best_k, best = at, k, value
        left -= N_USER_SLOTS
        at = pages[at].next
    return best_page, best_k


@inner_kernel
def _bump(page: Row, k: int, t_s: int, weight: float) -> None:
    """Add to the decayed counts of a slot; a late event is worth what is left of it at the slot's time."""
    last = page.last_s[k]
    if t_s >= last:
        passed = float(t_s) - float(last)
        page.fast[k] = to_fixed(page.fast[k] / FIXED_POINT * decay(passed, FAST_DAYS) + weight)
        page.slow[k] = to_fixed(page.slow[k] / FIXED_POINT * decay(passed, SLOW_DAYS) + weight)
        page.last_s[k] = t_s
    else:
        passed = float(last) - float(t_s)
        page.fast[k] = to_fixed(page.fast[k] / FIXED_POINT + weight * decay(passed, FAST_DAYS))
        page.slow[k] = to_fixed(page.slow[k] / FIXED_POINT + weight * decay(passed, SLOW_DAYS))
        page.first_s[k] = min(page.first_s[k], np.uint32(t_s))
    page.dirty = 1


@kernel
def add_item(users: Users, u: int, item: int, t_s: int, weight: float, bought: bool) -> bool:
    """Count an item's row for the user; return whether the user had it already. Taking it up ends a dislike of it."""
    header = users.headers[u]
    page, k = find_slot(users.items, header.heads[USER_ITEMS], header.n_items, item)
    had = bool(page > 0)
    if not had:
        if header.n_items < MAX_ITEMS:
            page, k = nth_slot(
                header, users.items, users.items_free, users.items_n_free, USER_ITEMS, header.n_items, N_USER_SLOTS
            )
            header.n_items += 1
        else:
            page, k = _weakest(users.items, header.heads[USER_ITEMS], header.n_items, t_s)
        p = users.items[page]
        p.entity[k] = item
        p.first_s[k] = t_s
        p.last_s[k] = t_s
        p.fast[k] = 0
        p.slow[k] = 0
        p.count[k] = 0
        p.flags[k] = 0
        p.serial[k] = header.serial
        for d in range(N_DELTAS):
            p.deltas[k * N_DELTAS + d] = 0
    p = users.items[page]
    _bump(p, k, t_s, weight)
    p.count[k] = min(p.count[k] + 1, 65535)
    if weight > 0.0:
        p.flags[k] &= ~FLAG_DISLIKED & 0xFF
    if bought:
        p.flags[k] |= FLAG_BOUGHT
    if p.serial[k] != header.serial:
        for d in range(N_DELTAS - 1, 0, -1):
            p.deltas[k * N_DELTAS + d] = p.deltas[k * N_DELTAS + d - 1]
        p.deltas[k * N_DELTAS] = np.uint8(min((header.serial - p.serial[k]) & 0xFFFF, 255))
        p.serial[k] = header.serial
    return had


@kernel
def add_category(users: Users, u: int, category: int, t_s: int, weight: float) -> bool:
    """Count a category's row for the user; return whether the user had it already."""
    header = users.headers[u]
    page, k = find_slot(users.categories, header.heads[USER_CATEGORIES], header.n_categories, category)
    had = bool(page > 0)
    if not had:
        if header.n_categories < MAX_CATEGORIES:
            page, k = nth_slot(
                header,
                users.categories,
                users.categories_free,
                users.categories_n_free,
                USER_CATEGORIES,
                header.n_categories,
                N_USER_SLOTS,
            )
            header.n_categories += 1
        else:
            page, k = _weakest(users.categories, header.heads[USER_CATEGORIES], header.n_categories, t_s)
        p = users.categories[page]
        p.entity[k] = category
        p.first_s[k] = t_s
        p.last_s[k] = t_s
        p.fast[k] = 0
        p.slow[k] = 0
        p.n_sessions[k] = 1
        p.serial[k] = header.serial
    p = users.categories[page]
    _bump(p, k, t_s, weight)
    if p.serial[k] != header.serial:
        p.n_sessions[k] = min(p.n_sessions[k] + 1, 65535)
        p.serial[k] = header.serial
    return had


@inner_kernel
def dislike_item(users: Users, u: int, item: int, t_s: int) -> None:
    """Mark an item so that it is never recommended to this user again until the user takes it up himself."""
    add_item(users, u, item, t_s, 0.0, False)
    header = users.headers[u]
    page, k = find_slot(users.items, header.heads[USER_ITEMS], header.n_items, item)
    users.items[page].flags[k] |= FLAG_DISLIKED
    users.items[page].dirty = 1
