"""Slates that a user was shown, kept in the user's pages until they are replaced, and the rewards they earn.

An event is attributed to at most one slate: the one that it names, or else the last one of the user's pending slates
that holds its item and was touched at most a window before it. A slate is touched when it is made, and again by each
impression of it, also a repeated one; two windows after it was made it earns nothing more. Each slot is rewarded at
most once per type of event: the slot's mask has a bit for every type.

A slate counts as one observation from the moment it is made; what it earns is added as it comes, and its square is
kept right: if a slate's reward goes from ``a`` to ``b``, the sums grow by ``b - a`` and ``b**2 - a**2``. The sums
that the bandit learns from are weighted by ``2 ** ((t - as_of) / half-life)``, with the time of the slate for all of
its rewards, as in forward decay [1]_, but always as of the newest slate: it weighs 1 and all others less, so that a
sum of weights is a number of slates. The sums for comparing groups have no weights. They are kept by window-long
periods of the slates' times and become final :data:`N_OPEN` periods later, when no event can change them: every slate
is counted then, whatever it earned and whether or not its user came back. Only slates of users who are so far behind,
because their events come that late, are in no period. The same periods hold the sums of :mod:`operators.standing`,
which say what each arm would earn if it filled all slates.

References
----------
.. [1] Cormode, Shkapenyuk, Srivastava, Xu (2009), ICDE, "Forward decay".
"""

from typing import NamedTuple

import numpy as np

from operators.arrays import Entities, Users
from operators.numeric import growth
from operators.policy_context import LEARNED
from operators.standing import Offers, StandingSums, add_reward, add_slate, begin_standing, new_standing
from state.arrays import Row, Rows, UInt8s
from state.kernel import inner_kernel, kernel
from state.layout import N_EXPOSURES, N_SLATE, USER_EXPOSURES
from state.slab import pop_free

OTHER_SLATE = 2**64 - 1
"""An event names a slate that this partition did not make: nothing here can earn its reward."""
TYPE_IMPRESSION = 0
N_MOMENTS = 3
"""Weighted number of slates, sum of their rewards, sum of the squares."""
N_TOTALS = 4
"""Unweighted number, sum, sum of squares, and the number of slates that somebody saw."""
N_OPEN = 4
"""Periods that are not final: the newest one and three before it."""

SHOWN = np.dtype([("offset", "<u8"), ("propensity", "<f8"), ("arm", "<u4"), ("cell", "u1"), ("group", "u1")])
"""What is kept of a slate besides its items: where it came from, and which policy filled it in which context."""


class AttributionParams(NamedTuple):
    """How events earn rewards.

    Attributes
    ----------
    window_s
        An event this many seconds after a slate was touched can still be attributed to it.
    cap
        A slate's reward is held in ``[-cap, cap]``.
    half_life_days
        Of an observation's weight.
    """

    window_s: int = 86_400
    cap: float = 3.0
    half_life_days: float = 30.0


class PolicySums(NamedTuple):
    """What a partition has observed, per arm.

    Attributes
    ----------
    arms
        Lower halves of the hashes of the arms' names, shape ``(n_arms,)``, uint32.
    as_of_s
        Time of the newest slate, which weighs 1, shape ``(1,)``, int64; 0 before the first.
    cells
        Shape ``(n_arms, n_cells, N_MOMENTS)``, float64.
    final
        Totals of all periods that are over, shape ``(n_groups, n_arms, N_TOTALS)``, float64.
    open
        Totals of the periods that are not, shape ``(N_OPEN, n_groups, n_arms, N_TOTALS)``, float64; period ``b`` stands
        at ``b % N_OPEN``.
    period
        Number of the newest period, shape ``(1,)``, int64.
    standing
        What each arm would earn if it filled all slates of the group that learns; periods as in ``open``.
    """

    arms: np.ndarray
    as_of_s: np.ndarray
    cells: np.ndarray
    final: np.ndarray
    open: np.ndarray
    period: np.ndarray
    standing: StandingSums


def new_sums(arms: np.ndarray, n_cells: int, n_groups: int) -> PolicySums:
    """Return sums of nothing for arms with these marks (see :attr:`PolicySums.arms`)."""
    return PolicySums(
        arms=arms,
        as_of_s=np.zeros(1, np.int64),
        cells=np.zeros((arms.size, n_cells, N_MOMENTS)),
        final=np.zeros((n_groups, arms.size, N_TOTALS)),
        open=np.zeros((N_OPEN, n_groups, arms.size, N_TOTALS)),
        period=np.zeros(1, np.int64),
        standing=new_standing(arms.size, N_OPEN),
    )


@inner_kernel
def _arm_of(sums: PolicySums, arm: int) -> int:
    for k in range(sums.arms.shape[0]):
        if sums.arms[k] == arm:
            return k
    return -1


@inner_kernel(allocates=True)
def _weight(sums: PolicySums, t_s: float, half_life_days: float) -> float:
    """Return the weight of a slate of ``t_s``; if it is the newest one, all sums are taken to its time first."""
    ahead = t_s - float(sums.as_of_s[0])
    if ahead <= 0.0:
        return growth(ahead, half_life_days)
    sums.cells[:] *= growth(-ahead, half_life_days)
    sums.as_of_s[0] = int(t_s)
    return 1.0


@inner_kernel(allocates=True)
def _enter_period(sums: PolicySums, period: np.int64) -> None:
    """Make ``period`` the newest one if it is newer; what it pushes out is final."""
    for _ in range(min(max(period - sums.period[0], 0), N_OPEN)):
        at = (sums.period[0] + 1) % N_OPEN
        sums.final[:] += sums.open[at]
        sums.open[at] = 0.0
        sums.standing.final[:] += sums.standing.open[at]
        sums.standing.open[at] = 0.0
        sums.period[0] += 1
    sums.period[0] = max(sums.period[0], period)


@inner_kernel
def _open_period(sums: PolicySums, t_s: np.int64, window_s: int) -> np.int64:
    """Return where the sums of a slate's period stand, -1 if they are final."""
    period = t_s // window_s
    return period % N_OPEN if period > sums.period[0] - N_OPEN else np.int64(-1)


@inner_kernel
def _ring_page(users: Users, u: int, number: np.int64) -> int:
    header = users.headers[u]
    at = header.heads[USER_EXPOSURES]
    previous = 0
    for _ in range(number + 1):
        if at == 0:
            at = pop_free(users.exposures_free, users.exposures_n_free)
            if previous == 0:
                header.heads[USER_EXPOSURES] = at
            else:
                users.exposures[previous].next = at
            header.n_pages[USER_EXPOSURES] += 1
        previous = at
        at = users.exposures[at].next
    return previous


@kernel(allocates=True)
def expose_batch(
    users: Users,
    rows: np.ndarray,
    slates: Rows,
    shown: Rows,
    entities: Entities,
    sums: PolicySums,
    params: AttributionParams,
    offers: Offers,
) -> None:
    """Keep each user's new slate as pending, in place of the oldest one, and count it as an observation of its arm.

    Parameters
    ----------
    rows
        Rows of the users, shape ``(n,)``. The caller reserved a page of every chain for each.
    slates
        Dtype :data:`operators.rank.SLATE`, shape ``(n,)``; empty ones are passed over.
    shown
        Dtype :data:`SHOWN`, shape ``(n,)``.
    offers
        By which the arms were chosen.
    """
    begin_standing(sums.standing, shown["offset"][slates["n"] > 0])
    for k in range(rows.shape[0]):
        slate = slates[k]
        if slate.n == 0:
            continue
        header = users.headers[rows[k]]
        page = users.exposures[_ring_page(users, rows[k], np.int64(header.exposure_at))]
        header.exposure_at = np.uint8((header.exposure_at + 1) % N_EXPOSURES)
        header.n_exposures = min(header.n_exposures + 1, N_EXPOSURES)
        page.offset = shown[k].offset
        page.t_s = header.last_s
        page.seen_s = 0
        page.reward = 0.0
        page.arm = shown[k].arm
        page.cell = shown[k].cell
        page.group = shown[k].group
        page.propensity = shown[k].propensity
        page.model = 0.0
        page.n = slate.n
        for j in range(N_SLATE):
            page.ids[j] = 0
            page.mask[j] = 0
        for j in range(np.int64(slate.n)):
            page.ids[j] = np.uint32(entities.headers[slate.rows[j]].id & np.uint64(0xFFFFFFFF))
        page.dirty = 1
        arm = _arm_of(sums, page.arm)
        if arm >= 0:
            weight = _weight(sums, float(page.t_s), params.half_life_days)
            page.model = offers.model[page.cell, arm]
            sums.cells[arm, page.cell, 0] += weight
            _enter_period(sums, np.int64(page.t_s) // params.window_s)
            at = _open_period(sums, np.int64(page.t_s), params.window_s)
            if at >= 0:
                sums.open[at, page.group, arm, 0] += 1.0
            if at >= 0 and page.group == LEARNED:
                shares, model = offers.shares[page.cell], offers.model[page.cell]
                add_slate(sums.standing.open[at], arm, page.propensity, shares, model)


@inner_kernel
def _slot_of(page: Row, item: np.uint32) -> int:
    for k in range(np.int64(page.n)):
        if page.ids[k] == item:
            return k
    return -1


@inner_kernel
def find_exposure(users: Users, u: int, e: Row, window_s: int) -> tuple[np.int64, np.int64]:
    """Return page and slot of the slate that earns an event's reward, or ``(0, 0)``.

    Parameters
    ----------
    e
        One record of :data:`operators.arrays.EVENT`.
    """
    item = np.uint32(e.id & np.uint64(0xFFFFFFFF))
    best, best_slot, best_touch, best_offset = np.int64(0), np.int64(0), np.int64(-1), np.uint64(0)
    at = np.int64(users.headers[u].heads[USER_EXPOSURES])
    while at > 0:
        page = users.exposures[at]
        named = e.slate != np.uint64(0)
        other = named and e.slate != page.offset + np.uint64(1)
        now_s, made_s, seen_s = np.int64(e.t_s), np.int64(page.t_s), np.int64(page.seen_s)
        age = now_s - made_s
        slot = np.int64(-1) if other or age < 0 else np.int64(_slot_of(page, item))
        touch = seen_s if made_s < seen_s <= now_s else made_s
        in_time = age <= 2 * window_s and (e.type == TYPE_IMPRESSION or now_s - touch <= window_s)
        newer = touch > best_touch or (touch == best_touch and page.offset > best_offset)
        if slot >= 0 and in_time and newer:
            best, best_slot, best_touch, best_offset = at, slot, touch, np.uint64(page.offset)
        at = np.int64(page.next)
    return best, best_slot


@inner_kernel
def _count_reward(
    sums: PolicySums, page: Row, arm: int, before: float, after: float, unseen: bool, params: AttributionParams
) -> None:
    """Count that a slate's reward has changed, and, if it was unseen, that it is seen."""
    gain, square_gain = after - before, after * after - before * before
    weight = _weight(sums, float(page.t_s), params.half_life_days)
    sums.cells[arm, page.cell, 1] += weight * gain
    sums.cells[arm, page.cell, 2] += weight * square_gain
    at = _open_period(sums, np.int64(page.t_s), params.window_s)
    if at < 0:
        return
    totals = sums.open[at, page.group, arm]
    totals[1] += gain
    totals[2] += square_gain
    totals[3] += 1.0 if unseen else 0.0
    since = sums.standing.since[arm]
    is_counted = since != np.uint64(0) and page.offset + np.uint64(1) >= since
    if page.group == LEARNED and is_counted and page.propensity > 0.0:
        add_reward(sums.standing.open[at, arm], 1.0 / page.propensity, page.model, before, after)


@kernel
def attribute_batch(events: Rows, skip: UInt8s, users: Users, sums: PolicySums, params: AttributionParams) -> int:
    """Give each event's reward to the slate that earned it.

    Parameters
    ----------
    events
        Dtype :data:`operators.arrays.EVENT`, shape ``(n,)``, in their order.
    skip
        1 where an event is a duplicate: it earns nothing.

    Returns
    -------
    int
        Number of events that were attributed.
    """
    n = 0
    for k in range(events.shape[0]):
        e = events[k]
        if skip[k] or users.headers[e.user].n_exposures == 0:
            continue
        at, slot = find_exposure(users, e.user, e, params.window_s)
        if at == 0:
            continue
        page = users.exposures[at]
        bit = np.uint16(1 << e.type)
        if e.type == TYPE_IMPRESSION:  # the same items may be shown again: the slate is then seen anew
            page.seen_s = max(page.seen_s, e.t_s)
            page.dirty = 1
        if page.mask[slot] & bit:
            continue
        n += 1
        arm = _arm_of(sums, page.arm)
        unseen = True
        for j in range(np.int64(page.n)):
            unseen = unseen and page.mask[j] == 0
        page.mask[slot] |= bit
        before = np.float64(page.reward)  # in a kernel float() of a float32 is one, too
        page.reward = np.float32(min(max(before + np.float64(e.reward), -params.cap), params.cap))
        after = np.float64(page.reward)
        page.dirty = 1
        if arm >= 0:
            _count_reward(sums, page, arm, before, after, unseen, params)
    return n
