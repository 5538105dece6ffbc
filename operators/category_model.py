"""Which category comes next: a softmax over categories on what the user and everybody did with them."""

import math

import numpy as np

from operators.arrays import MAX_CATEGORY_CANDIDATES, Accumulators, Entities, Users, Work
from operators.elementary import add_scaled, dot, exponentials, logarithms, powers_of_two
from operators.factors import accumulator
from operators.newton import EVERY, newton_learn
from operators.numeric import DAY_S, FIXED_POINT, uniform
from operators.params import AFFINITY_PRIOR, FAST_DAYS, MAX_BITS, P_LONG, P_SHORT, POPULARITY_DAYS, SLOW_DAYS
from operators.weights import N_CATEGORY
from state.arrays import Row
from state.kernel import inner_kernel, kernel
from state.layout import ENTITY_NEIGHBOURS, N_SLOTS, N_USER_SLOTS, USER_CATEGORIES

_LONG, _SHORT = (-1.0 / (POPULARITY_DAYS[k] * DAY_S) for k in (P_LONG, P_SHORT))
_FAST, _SLOW = (-1.0 / (days * DAY_S) for days in (FAST_DAYS, SLOW_DAYS))
"""What the exponents of two lose in a second."""
_N_LOGS_USER = 7
"""Logarithms among the features of a category that the user had."""


@inner_kernel
def _add(work: Work, n: int, category: int, room: int) -> int:
    """Add a category to the ``n`` listed ones unless it is one of them, or ``room`` are listed; return how many."""
    if category < 0 or n >= room or work.category_position[category] >= 0:
        return n
    work.category_position[category] = n
    work.category_list[n] = category
    work.category_bit[n] = 0
    work.category_votes[n, 0] = 0.0
    work.category_votes[n, 1] = 0.0
    for k in range(N_CATEGORY):
        work.category_features[n, k] = 0.0
    for k in range(4):
        work.category_user[n, k] = 0.0
    return n + 1


@inner_kernel
def collect_categories(users: Users, u: int, entities: Entities, work: Work, n_context: int) -> int:
    """List the candidate categories in ``work.category_list``: the user's, the context's neighbours, the shared ones.

    ``work.category_position`` maps dense category numbers to positions in the list until
    :func:`forget_categories` is called. There is always room for the categories of the context: what is not listed
    counts as outside of it, and would be recommended.
    """
    header = users.headers[u]
    n, room = 0, MAX_CATEGORY_CANDIDATES - n_context
    at = header.heads[USER_CATEGORIES]
    left = header.n_categories
    while at > 0 and left > 0:
        for k in range(min(N_USER_SLOTS, left)):
            row = users.categories[at].entity[k]
            if row > 0:
                n = _add(work, n, entities.category_of_row[row], room)
        left -= N_USER_SLOTS
        at = users.categories[at].next
    for k in range(n_context):
        room += 1
        n = _add(work, n, work.category_context[k], room)
        entity = entities.headers[entities.category_rows[work.category_context[k]]]
        page = entity.heads[ENTITY_NEIGHBOURS]
        rest = entity.n_neighbours
        while page > 0 and rest > 0:
            for j in range(min(N_SLOTS, rest)):
                n = _add(work, n, entities.category_of_row[entities.neighbours[page].rows[j]], room)
            rest -= N_SLOTS
            page = entities.neighbours[page].next
    for k in range(min(entities.shared.shape[0], entities.n_categories[0])):
        n = _add(work, n, entities.shared[k], room)
    return n


@inner_kernel
def forget_categories(work: Work, n: int) -> None:
    """Clear the positions set by :func:`collect_categories`."""
    for k in range(n):
        work.category_position[work.category_list[k]] = -1


@inner_kernel
def _gather_user(users: Users, u: int, entities: Entities, work: Work, now_s: int) -> int:
    """Fill what the user's counts say of the listed categories, but for powers and logarithms.

    Their places in the list go to ``work.stale``, what powers of two are wanted of to the begin of ``work.logs``, what
    logarithms are wanted of to what follows there; counts that are still to be decayed stand in features 2 and 3.

    Returns
    -------
    int
        How many they are.
    """
    header = users.headers[u]
    powers, logs = work.logs[: 2 * MAX_CATEGORY_CANDIDATES], work.logs[2 * MAX_CATEGORY_CANDIDATES :]
    at = header.heads[USER_CATEGORIES]
    left = header.n_categories
    m = 0
    while at > 0 and left > 0:
        page = users.categories[at]
        for k in range(min(N_USER_SLOTS, left)):
            row = page.entity[k]
            category = entities.category_of_row[row] if row > 0 else -1
            if category < 0 or work.category_position[category] < 0:
                continue
            n = work.category_position[category]
            passed = max(float(now_s) - page.last_s[k], 0.0)
            powers[2 * m] = passed * _SLOW
            powers[2 * m + 1] = passed * _FAST
            x = work.category_features[n]
            x[0] = 1.0
            x[2] = page.slow[k] / FIXED_POINT
            x[3] = page.fast[k] / FIXED_POINT
            of = logs[_N_LOGS_USER * m : _N_LOGS_USER * (m + 1)]
            of[0] = 1.0 + page.n_sessions[k]
            of[3] = 1.0 + passed / DAY_S
            of[4] = 1.0
            if page.n_sessions[k] > 1:
                mean_gap = max((float(page.last_s[k]) - page.first_s[k]) / (page.n_sessions[k] - 1), 3600.0)
                x[5] = min(passed / mean_gap, 4.0)
                of[4] = passed / mean_gap + 0.02
            else:
                x[12] = 1.0
            of[5] = 1.0 + np.uint16(header.serial - page.serial[k])
            of[6] = (page.n_sessions[k] + 0.5) / (header.serial + 1.5)
            work.category_user[n, 0] = page.n_sessions[k]
            work.stale[m] = n
            m += 1
        left -= N_USER_SLOTS
        at = users.categories[at].next
    return m


@inner_kernel
def _user_features(users: Users, u: int, entities: Entities, work: Work, now_s: int) -> float:
    """Fill the features that hang on the user's own counts; return the decayed ones' sum."""
    m = _gather_user(users, u, entities, work, now_s)
    powers, logs = work.logs[: 2 * MAX_CATEGORY_CANDIDATES], work.logs[2 * MAX_CATEGORY_CANDIDATES :]
    powers_of_two(powers, 2 * m)
    total = 0.0
    for j in range(m):
        n = work.stale[j]
        slow = work.category_features[n, 2] * powers[2 * j]
        total += slow
        work.category_user[n, 1] = slow
        logs[_N_LOGS_USER * j + 1] = slow + 0.01
        logs[_N_LOGS_USER * j + 2] = work.category_features[n, 3] * powers[2 * j + 1] + 0.01
    logarithms(logs, _N_LOGS_USER * m)
    for j in range(m):
        x = work.category_features[work.stale[j]]
        of = logs[_N_LOGS_USER * j : _N_LOGS_USER * (j + 1)]
        x[1] = of[0]
        x[2] = of[1] + 4.6
        x[3] = of[2] + 4.6
        x[4] = of[3]
        if x[12] == 0.0:
            x[6] = min(abs(of[4]), 4.0)
        x[14] = of[5]
        x[15] = of[6] + 7.0
    return total


@inner_kernel
def _context_features(entities: Entities, work: Work, n_context: int) -> None:
    """Set the mean conditional probability of each category given the context's categories."""
    for k in range(n_context):
        entity = entities.headers[entities.category_rows[work.category_context[k]]]
        here = work.category_position[work.category_context[k]]
        if here >= 0:
            work.category_features[here, 10] = 1.0
            work.category_bit[here] = np.uint64(1) << np.uint64(k % MAX_BITS)
        per_event = 1.0 / (max(entity.cooc_count, 1e-30) * n_context)
        page = entity.heads[ENTITY_NEIGHBOURS]
        rest = entity.n_neighbours
        while page > 0 and rest > 0:
            p = entities.neighbours[page]
            for j in range(min(N_SLOTS, rest)):
                category = entities.category_of_row[p.rows[j]]
                if category >= 0 and work.category_position[category] >= 0:
                    work.category_features[work.category_position[category], 7] += p.weights[j] * per_event
            rest -= N_SLOTS
            page = p.next


@inner_kernel
def _size_features(entities: Entities, work: Work, n: int, now_s: int) -> None:
    """Fill what hangs on the size of a category, and take the logarithm of what the context says."""
    headers, category_rows, listed = entities.headers, entities.category_rows, work.category_list
    features, of_user, numbers = work.category_features, work.category_user, work.logs
    for k in range(n):
        passed = float(now_s) - headers[category_rows[listed[k]]].t_s
        numbers[2 * k] = passed * _LONG
        numbers[2 * k + 1] = passed * _SHORT
    powers_of_two(numbers, 2 * n)
    for k in range(n - 1, -1, -1):  # what is written never stands before what is still to be read
        popularity = headers[category_rows[listed[k]]].popularity
        size, lately = popularity[P_LONG] * numbers[2 * k], popularity[P_SHORT] * numbers[2 * k + 1]
        numbers[5 * k] = features[k, 7] + 1e-3
        numbers[5 * k + 1] = size + 1.0
        numbers[5 * k + 2] = AFFINITY_PRIOR / (of_user[k, 1] + AFFINITY_PRIOR)
        numbers[5 * k + 3] = size + 0.1
        numbers[5 * k + 4] = lately + 0.1
    logarithms(numbers, 5 * n)
    for k in range(n):
        features[k, 7] = numbers[5 * k] + 6.9
        of_user[k, 2] = numbers[5 * k + 1]
        of_user[k, 3] = numbers[5 * k + 2]
        features[k, 8] = numbers[5 * k + 3]
        features[k, 9] = numbers[5 * k + 4]


@inner_kernel
def predict_categories(
    users: Users, u: int, entities: Entities, globals_: Row, work: Work, n: int, n_context: int, now_s: int
) -> float:
    """Fill the features of the ``n`` listed categories and write their log-probabilities to ``work.category_log_p``.

    Returns
    -------
    float
        The user's decayed count over all categories.
    """
    user_total = _user_features(users, u, entities, work, now_s)
    _context_features(entities, work, n_context)
    _size_features(entities, work, n, now_s)
    weights = work.category_weights
    for f in range(N_CATEGORY):
        weights[f] = globals_.category[f]
    log_p = work.category_log_p
    for k in range(n):  # not in the loop below: what has just been written number by number is slow to read as a whole
        entity = entities.headers[entities.category_rows[work.category_list[k]]]
        work.category_features[k, 11] = work.category_user[k, 1] / (user_total + 1.0)
        work.category_features[k, 13] = entity.n_repeat / (entity.n + 1.0)
        log_p[k] = entity.bias
    highest = -1e30
    for k in range(n):
        log_p[k] += dot(weights, work.category_features[k])
        highest = max(highest, log_p[k])
    numbers = work.logs
    for k in range(n):
        numbers[k] = log_p[k]
    shift = highest + math.log(exponentials(numbers, n, highest)) if n > 0 else 0.0
    for k in range(n):
        log_p[k] -= shift
    return user_total


@kernel(allocates=True)
def learn_categories(
    entities: Entities,
    globals_: Row,
    work: Work,
    acc: Accumulators,
    n: int,
    category: int,
    weight: float,
    memory: float,
) -> None:
    """Make one softmax step of the category model towards ``category``; nothing happens if it is not listed."""
    if category < 0 or work.category_position[category] < 0:
        return
    true = work.category_position[category]
    gradient = np.zeros(N_CATEGORY, np.float32)
    left = uniform(globals_.draws)
    globals_.draws += np.uint64(1)
    drawn = true
    shares = work.logs
    for k in range(n):
        shares[k] = work.category_log_p[k]
    exponentials(shares, n, 0.0)
    for k in range(n):
        p = shares[k]
        if left >= 0.0:
            drawn = k
        left -= p
        g = weight * (p - (1.0 if k == true else 0.0))
        add_scaled(gradient, g, work.category_features[k], gradient.shape[0])
        if abs(g) > 0.02:  # noqa: PLR2004 - smaller ones move the bias by nothing and cost a record each
            record = acc.records[accumulator(acc, entities.category_rows[work.category_list[k]])]
            record.bias += g
            record.bias_sq += g * g
    fisher = np.empty(N_CATEGORY, np.float32)
    for f in range(N_CATEGORY):
        fisher[f] = gradient[f] + weight * (work.category_features[true, f] - work.category_features[drawn, f])
    newton_learn(
        globals_.category, globals_.category_gram, globals_.category_pending, gradient, fisher, weight, memory, EVERY
    )  # fmt: skip
