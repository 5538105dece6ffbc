"""What a user's earlier sessions say of the present one: how alike they were, and what was in them.

Of each of a user's items the serial numbers of its last eight sessions are kept. Read backwards, they tell which of
the items and categories an earlier session held. A session is *alike* by how many of the present context's categories
it held, over the square root of its size; its weight halves every :data:`SESSIONS` sessions. An item, and a category,
get the sum of these over the sessions that held them: a nearest-neighbour vote among the user's own baskets.
"""

import math

import numpy as np

from operators.arrays import Entities, Users, Work
from operators.elementary import logarithms
from operators.params import VOTE_PRIOR
from state.kernel import inner_kernel, kernel
from state.layout import FLAG_BITS, N_DELTAS, N_REPEATS, N_USER_SLOTS, USER_ITEMS

SESSIONS = 12.0
"""Half-life of a session's weight, in sessions of the user."""
_WEIGHTS = (2.0 ** (-np.arange(1024) / SESSIONS)).astype(np.float32)
"""By how many sessions ago one was; those before count as the last of these, which is nothing."""
FAR = 255
"""A distance that is too long to be written down."""


@kernel
def mark_sessions(users: Users, u: int, entities: Entities, work: Work) -> int:
    """Note of each earlier session how many items it held, which of the context's items and of its categories.

    Call it after :func:`operators.recall.recall`, whose marks tell the context's items, and after
    :func:`operators.user_profile.find_repeats`.

    Returns
    -------
    int
        Number of sessions, in ``work.serials``; :func:`forget_sessions` must follow.
    """
    header = users.headers[u]
    own = header.serial
    items, category_of, position = users.items, entities.category, work.position
    repeats, repeat_pages = users.repeats, work.repeat_pages
    where_of, bits = work.category_position, work.category_bit
    serials, size, hits, mask = work.serials, work.serial_size, work.serial_hits, work.serial_mask
    n = 0
    at = header.heads[USER_ITEMS]
    left = header.n_items
    while at > 0 and left > 0:
        page = items[at]
        for k in range(min(N_USER_SLOTS, left)):
            row = page.entity[k]
            if row <= 0:
                continue
            where = where_of[category_of[row]] if category_of[row] >= 0 else -1
            bit = bits[where] if where >= 0 else np.uint64(0)
            here = 1 if position[row] == -2 else 0  # noqa: PLR2004 - the mark of a context item
            serial = page.serial[k]
            place = page.flags[k] >> FLAG_BITS
            deltas = repeats[repeat_pages[place // N_REPEATS]].deltas
            first = place % N_REPEATS * N_DELTAS
            for d in range(N_DELTAS + 1):
                if serial != own:
                    if size[serial] == 0:
                        serials[n] = serial
                        n += 1
                    size[serial] += 1
                    mask[serial] |= bit
                    hits[serial] += here
                if d == N_DELTAS or deltas[first + d] in (0, FAR):
                    break
                serial = np.uint16((serial - deltas[first + d]) & 0xFFFF)
        left -= N_USER_SLOTS
        at = page.next
    for j in range(n):
        serial = serials[j]
        set_bits = 0
        rest = mask[serial]
        while rest != np.uint64(0):
            rest &= rest - np.uint64(1)
            set_bits += 1
        work.serial_likeness[serial] = set_bits / math.sqrt(float(size[serial]))
        work.serial_weight[serial] = _WEIGHTS[min(int(np.uint16(own - serial)), _WEIGHTS.size - 1)]
    return n


@kernel
def vote(users: Users, u: int, entities: Entities, work: Work) -> None:
    """Give each of the user's candidates, and each listed category, what the marked sessions that held them say.

    Overwrites ``shared``, ``vote`` and ``likeness`` of the candidates that the user had, and adds to
    ``work.category_votes``.
    """
    header = users.headers[u]
    own = header.serial
    items, category_of, position, where_of = users.items, entities.category, work.position, work.category_position
    repeats, repeat_pages = users.repeats, work.repeat_pages
    candidates, votes = work.candidates, work.category_votes
    likeness, weight, hits = work.serial_likeness, work.serial_weight, work.serial_hits
    at = header.heads[USER_ITEMS]
    left = header.n_items
    while at > 0 and left > 0:
        page = items[at]
        for k in range(min(N_USER_SLOTS, left)):
            row = page.entity[k]
            if row <= 0:
                continue
            shared, voted, alike, weights = 0.0, 0.0, 0.0, 0.0
            n, n_earlier = 0, 0
            serial = page.serial[k]
            place = page.flags[k] >> FLAG_BITS
            deltas = repeats[repeat_pages[place // N_REPEATS]].deltas
            first = place % N_REPEATS * N_DELTAS
            for d in range(N_DELTAS + 1):
                n += 1
                if serial != own:
                    n_earlier += 1
                    shared += hits[serial]
                    alike += likeness[serial]
                    voted += likeness[serial] * weight[serial]
                    weights += weight[serial]
                if d == N_DELTAS or deltas[first + d] in (0, FAR):
                    break
                serial = np.uint16((serial - deltas[first + d]) & 0xFFFF)
            if position[row] >= 0:
                c = candidates[position[row]]
                c.shared = shared / n
                c.vote = voted
                c.likeness = alike / max(n_earlier, 1)
            where = where_of[category_of[row]] if category_of[row] >= 0 else -1
            if where >= 0:
                votes[where, 0] += voted
                votes[where, 1] += weights
        left -= N_USER_SLOTS
        at = page.next


@inner_kernel
def log_votes(work: Work, n_categories: int) -> None:
    """Put the logarithms of the listed categories' votes beside them, in the last two columns."""
    votes, logs = work.category_votes, work.logs
    for k in range(n_categories):
        logs[2 * k] = votes[k, 0] + VOTE_PRIOR
        logs[2 * k + 1] = votes[k, 1] + VOTE_PRIOR
    logarithms(logs, 2 * n_categories)
    for k in range(n_categories):
        votes[k, 2] = logs[2 * k]
        votes[k, 3] = logs[2 * k + 1]


@kernel
def forget_sessions(work: Work, n: int) -> None:
    """Clear the marks of :func:`mark_sessions`."""
    for j in range(n):
        serial = work.serials[j]
        work.serial_size[serial] = 0
        work.serial_hits[serial] = 0
        work.serial_mask[serial] = 0
