"""The context that a user is in: items of the present session, and their categories, which slates leave out."""

import numpy as np

from operators.arrays import Entities, Users, Work
from state.kernel import inner_kernel
from state.layout import N_CONTEXT_SLOTS, USER_CONTEXT

MAX_SOURCES = 48
"""Items of the context whose neighbours are looked at."""


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
