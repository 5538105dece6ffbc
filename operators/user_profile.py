"""What a user's row learns from one event: duplicates, recent positives, item and category slots."""

import numpy as np

from operators.arrays import Users
from operators.numeric import FIXED_POINT, decay, to_fixed
from operators.params import FAST_DAYS, MAX_CATEGORIES, MAX_ITEMS, SLOW_DAYS
from state.arrays import Int32s, Row, Rows
from state.kernel import inner_kernel, kernel
from state.layout import (
    FLAG_BITS,
    FLAG_BOUGHT,
    FLAG_DISLIKED,
    N_DEDUPE,
    N_DELTAS,
    N_RECENT,
    N_REPEATS,
    N_SLOTS,
    N_USER_SLOTS,
    USER_CATEGORIES,
    USER_DEDUPE,
    USER_ITEMS,
    USER_REPEATS,
)
from state.slab import pop_free


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


_NEW_S = 86_400.0
"""What was taken up in so many seconds is not pushed out: what a user looks at today would push out one another."""
_KEPT, _DISLIKED = 1e6, 1e7
"""Added to a decayed count, which is at most 65,535, so that a slot goes after all others: one of today, a dislike."""


@inner_kernel
def _strength(slow: int, passed: float) -> float:
    return slow * decay(passed, SLOW_DAYS) + (_KEPT if passed < _NEW_S else 0.0)


@inner_kernel
def _weakest_item(pages: Rows, head: int, n_slots: int, now_s: int) -> tuple[int, int]:
    best_page, best_k, best = head, 0, 1e30
    at, left = head, n_slots
    while at > 0 and left > 0:
        page = pages[at]
        for k in range(min(N_USER_SLOTS, left)):
            value = _strength(page.slow[k], float(now_s) - page.last_s[k])
            value += _DISLIKED if page.flags[k] & FLAG_DISLIKED else 0.0
            if value < best:
                best_page, best_k, best = at, k, value
        left -= N_USER_SLOTS
        at = page.next
    return best_page, best_k


@inner_kernel
def _weakest_category(pages: Rows, head: int, n_slots: int, now_s: int) -> tuple[int, int]:
    best_page, best_k, best = head, 0, 1e30
    at, left = head, n_slots
    while at > 0 and left > 0:
        for k in range(min(N_USER_SLOTS, left)):
            value = _strength(pages[at].slow[k], float(now_s) - pages[at].last_s[k])
            if value < best:
                best_page, best_k, best = at, k, value
        left -= N_USER_SLOTS
        at = pages[at].next
    return best_page, best_k


@inner_kernel
def _grown(count: int, weight: float, passed: float, days: float) -> int:
    """Return a decayed count in fixed point with an event added; a late one is worth what is left of it by then."""
    if passed >= 0.0:
        return int(to_fixed(count / FIXED_POINT * decay(passed, days) + weight))
    return int(to_fixed(count / FIXED_POINT + weight * decay(-passed, days)))


@inner_kernel
def repeat_place(users: Users, u: int, flags: int) -> tuple[int, int]:
    """Return ``(page record, slot)`` of an item's repeats, ``(0, 0)`` where it has none: record 0 is all zeros."""
    number = flags >> FLAG_BITS
    at = 0
    for k in range(number // N_REPEATS):
        at = users.repeats[at].next if k > 0 else users.headers[u].heads[USER_REPEATS]
    return at, number % N_REPEATS


@inner_kernel
def _new_repeats(users: Users, u: int, item: Row, k: int) -> tuple[int, int]:
    """Give the item in slot ``k`` of a page a place among the repeats, with what was left out while it had none."""
    header = users.headers[u]
    page, j = nth_slot(
        header, users.repeats, users.repeats_free, users.repeats_n_free, USER_REPEATS, header.n_repeats, N_REPEATS
    )
    header.n_repeats += 1
    item.flags[k] |= (header.n_repeats - 1 + N_REPEATS) << FLAG_BITS
    repeats = users.repeats[page]
    repeats.first_s[j] = item.last_s[k]
    repeats.fast[j] = item.slow[k]
    repeats.count[j] = 1
    return page, j


@kernel
def add_item(users: Users, u: int, item: int, t_s: int, weight: float, bought: bool, rest_s: int) -> bool:
    """Count an item's row for the user; return whether the user had it already. Taking it up ends a dislike of it.

    Parameters
    ----------
    bought
        Whether the event is a purchase.
    rest_s
        For so many seconds after a purchase an item is not recommended, 0 if that does not matter. A slot knows when
        the item was last taken up in any way: if that is longer ago, so is the purchase, and it is forgotten.
    """
    header = users.headers[u]
    page, k = find_slot(users.items, header.heads[USER_ITEMS], header.n_items, item)
    had = bool(page > 0)
    if not had:
        page, k = _new_item(users, u, item, t_s)
    p = users.items[page]
    more, j = repeat_place(users, u, p.flags[k])
    if had and more == 0:
        more, j = _new_repeats(users, u, p, k)
    passed = float(t_s) - float(p.last_s[k])
    if more > 0:
        _add_repeat(users.repeats[more], j, p, k, t_s, weight, passed, header.serial)
    p.slow[k] = _grown(p.slow[k], weight, passed, SLOW_DAYS)
    p.last_s[k] = max(p.last_s[k], np.uint32(t_s))
    p.serial[k] = header.serial
    p.dirty = 1
    if weight > 0.0:
        p.flags[k] &= ~FLAG_DISLIKED & 0xFFFF
    if bought:
        p.flags[k] |= FLAG_BOUGHT
    elif 0 < rest_s < passed:
        p.flags[k] &= ~FLAG_BOUGHT & 0xFFFF
    return had


@inner_kernel
def _new_item(users: Users, u: int, item: int, t_s: int) -> tuple[int, int]:
    """Return page and slot of an item that the user did not have; a full user loses the weakest one for it.

    Items of the last day and disliked ones go only when there are no others.
    """
    header = users.headers[u]
    if header.n_items < MAX_ITEMS:
        page, k = nth_slot(
            header, users.items, users.items_free, users.items_n_free, USER_ITEMS, header.n_items, N_USER_SLOTS
        )
        header.n_items += 1
    else:
        page, k = _weakest_item(users.items, header.heads[USER_ITEMS], header.n_items, t_s)
    p = users.items[page]
    p.entity[k] = item
    p.last_s[k] = t_s
    p.slow[k] = 0
    p.serial[k] = header.serial
    p.flags[k] = (p.flags[k] >> FLAG_BITS) << FLAG_BITS  # the place of the one before serves this one
    more, j = repeat_place(users, u, p.flags[k])
    if more > 0:
        repeats = users.repeats[more]
        repeats.first_s[j] = t_s
        repeats.fast[j] = 0
        repeats.count[j] = 0
        for d in range(N_DELTAS):
            repeats.deltas[j * N_DELTAS + d] = 0
    return page, k


@inner_kernel
def _add_repeat(repeats: Row, j: int, item: Row, k: int, t_s: int, weight: float, passed: float, serial: int) -> None:
    """Count an event where the repeats of the item in slot ``k`` of a page stand, before the slot itself changes."""
    repeats.first_s[j] = min(repeats.first_s[j], np.uint32(t_s))
    repeats.fast[j] = _grown(repeats.fast[j], weight, passed, FAST_DAYS)
    repeats.count[j] = min(repeats.count[j] + 1, 65535)
    if item.serial[k] != serial:
        for d in range(N_DELTAS - 1, 0, -1):
            repeats.deltas[j * N_DELTAS + d] = repeats.deltas[j * N_DELTAS + d - 1]
        repeats.deltas[j * N_DELTAS] = np.uint8(min((serial - item.serial[k]) & 0xFFFF, 255))
    repeats.dirty = 1


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
            page, k = _weakest_category(users.categories, header.heads[USER_CATEGORIES], header.n_categories, t_s)
        p = users.categories[page]
        p.entity[k] = category
        p.first_s[k] = t_s
        p.last_s[k] = t_s
        p.fast[k] = 0
        p.slow[k] = 0
        p.n_sessions[k] = 1
        p.serial[k] = header.serial
    p = users.categories[page]
    passed = float(t_s) - float(p.last_s[k])
    p.first_s[k] = min(p.first_s[k], np.uint32(t_s))
    p.fast[k] = _grown(p.fast[k], weight, passed, FAST_DAYS)
    p.slow[k] = _grown(p.slow[k], weight, passed, SLOW_DAYS)
    p.last_s[k] = max(p.last_s[k], np.uint32(t_s))
    p.dirty = 1
    if p.serial[k] != header.serial:
        p.n_sessions[k] = min(p.n_sessions[k] + 1, 65535)
        p.serial[k] = header.serial
    return had


@inner_kernel
def dislike_item(users: Users, u: int, item: int, t_s: int) -> None:
    """Mark an item so that it is never recommended to this user again until they take it up again."""
    add_item(users, u, item, t_s, 0.0, False, 0)
    header = users.headers[u]
    page, k = find_slot(users.items, header.heads[USER_ITEMS], header.n_items, item)
    users.items[page].flags[k] |= FLAG_DISLIKED
    users.items[page].dirty = 1


@kernel
def find_repeats(users: Users, u: int, pages: Int32s) -> None:
    """Write the record of each page of the user's repeats to ``pages``, from 1 on; the first one is that of no place.

    Until the user's row changes, the repeats of an item with place ``n`` are in slot ``n % N_REPEATS`` of record
    ``pages[n // N_REPEATS]``, all zeros where ``n`` is 0.
    """
    pages[0] = 0
    k = 1
    at = users.headers[u].heads[USER_REPEATS]
    while at > 0:
        pages[k] = at
        k += 1
        at = users.repeats[at].next
