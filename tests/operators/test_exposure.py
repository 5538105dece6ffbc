"""Pending slates and what they earn, against a plain Python model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.arrays import EVENT, Entities, Users
from operators.exposure import (
    N_OPEN,
    OTHER_SLATE,
    SHOWN,
    AttributionParams,
    PolicySums,
    attribute_batch,
    expose_batch,
    new_sums,
)
from operators.policy_posterior import GuardParams
from operators.policy_state import Observed, learn_policy
from operators.rank import SLATE
from operators.standing import N_STANDING, SLATES, VV, WR, WWRR, Offers, V, W
from state.layout import N_EXPOSURES, USER_HEADER, USER_PAGES
from state.table import RowTable
from stream_app.replica import Replica
from stream_app.settings import Settings

WINDOW_S = 100
PARAMS = AttributionParams(window_s=WINDOW_S, cap=2.0, half_life_days=1.0)
N_ITEMS = 12
REWARDS = [0.0, 0.05, 0.2, 0.4, 0.6, 1.0, -0.5]
ARMS = np.array([7, 9], np.uint32)
OFFERS = Offers(np.tile([0.75, 0.25], (24, 1)), np.tile([0.5, 0.125], (24, 1)))


@dataclass
class Pending:
    """A slate as the model keeps it."""

    offset: int
    t_s: int
    arm: int
    items: list[int]
    seen_s: int = 0
    done: set[tuple[int, int]] = field(default_factory=set)
    earned: float = 0.0


@dataclass
class Model:
    """What a user's pending slates must earn, in plain Python."""

    pending: list[Pending] = field(default_factory=list)
    every: list[Pending] = field(default_factory=list)

    def show(self, slate: Pending) -> None:
        """Keep a slate, at most four."""
        self.pending = [*self.pending, slate][-N_EXPOSURES:]
        self.every.append(slate)

    def attribute(self, item: int, kind: int, t_s: int, slate: int) -> None:
        """Give an event's reward to the last slate that it can be due to."""
        best: tuple[int, int] | None = None
        for n, p in enumerate(self.pending):
            if item not in p.items or t_s < p.t_s or (slate and slate != p.offset + 1):
                continue
            touch = p.seen_s if p.t_s < p.seen_s <= t_s else p.t_s
            if t_s - p.t_s > 2 * WINDOW_S or (kind != 0 and t_s - touch > WINDOW_S):
                continue
            if best is None or (touch, p.offset) > (best[0], self.pending[best[1]].offset):
                best = touch, n
        if best is None:
            return
        p = self.pending[best[1]]
        if kind == 0:
            p.seen_s = max(p.seen_s, t_s)
        if (item, kind) in p.done:
            return
        p.done.add((item, kind))
        p.earned = min(max(p.earned + REWARDS[kind], -PARAMS.cap), PARAMS.cap)


class World:
    """One user, twelve items, two arms."""

    def __init__(self) -> None:
        replica = Replica(Settings())
        self.rows = replica.ensure(np.arange(1, N_ITEMS + 1, dtype=np.uint64))
        self.entities: Entities = replica.entities()
        self.table = RowTable(USER_HEADER, USER_PAGES)
        users, _ = self.table.ensure(np.array([42], np.uint64), None)
        self.u = int(users[0])
        self.sums: PolicySums = new_sums(ARMS, 24, 2)

    def users(self) -> Users:
        """Return the table's arrays."""
        self.table.reserve_pages(16)
        chains = [(slab.records, slab.free, slab.n_free) for slab in self.table.pages]
        return Users(self.table.headers.records, *(array for chain in chains for array in chain))

    def show(
        self, offset: int, t_s: int, arm: int, items: list[int], *, group: int = 0, offers: Offers = OFFERS
    ) -> None:
        """Make a slate pending."""
        slates, shown = np.zeros(1, SLATE), np.zeros(1, SHOWN)
        slates["n"] = len(items)
        slates["rows"][0, : len(items)] = [self.rows[i - 1] for i in items]
        shown["offset"], shown["arm"], shown["cell"] = offset, ARMS[arm], 3
        shown["group"], shown["propensity"] = group, offers.shares[3, arm]
        self.table.headers.records[self.u]["last_s"] = t_s
        rows = np.array([self.u], np.int32)
        expose_batch(self.users(), rows, slates, shown, self.entities, self.sums, PARAMS, offers)

    def attribute(self, item: int, kind: int, t_s: int, slate: int = 0, *, skip: bool = False) -> int:
        """Attribute one event."""
        events = np.zeros(1, EVENT)
        events["user"], events["id"], events["type"], events["t_s"], events["slate"] = self.u, item, kind, t_s, slate
        events["reward"] = REWARDS[kind]
        return int(attribute_batch(events, np.array([skip], np.uint8), self.users(), self.sums, PARAMS))

    def totals(self) -> Any:
        """Return number, sum and sum of squares per arm, of all slates."""
        return (self.sums.final.sum(0) + self.sums.open.sum((0, 1)))[:, :3]

    def standing(self) -> Any:
        """Return the standing sums per arm, of all slates."""
        return self.sums.standing.final + self.sums.standing.open.sum(0)


SHOW = st.tuples(
    st.just("show"), st.integers(0, 1), st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=10, unique=True)
)
ACT = st.tuples(
    st.just("act"), st.integers(1, N_ITEMS), st.integers(0, 6), st.integers(-50, 0), st.sampled_from([0, 0, 1, 2, 9])
)
STEPS = st.lists(st.tuples(st.integers(0, 60), SHOW | ACT), max_size=60)


@given(STEPS)
def test_rewards_are_those_of_the_model(steps: list[tuple[int, Any]]) -> None:
    """Whatever is shown and done, in whatever order: each slate earns what the rules say, sums and squares agree."""
    world, model = World(), Model()
    t_s = 1000
    for n, (passed, step) in enumerate(steps):
        t_s += passed
        if step[0] == "show":
            world.show(n, t_s, step[1], step[2])
            model.show(Pending(n, t_s, step[1], step[2]))
            continue
        _, item, kind, late, named = step
        slate = OTHER_SLATE if named == 9 else model.every[-named].offset + 1 if 0 < named <= len(model.every) else 0
        world.attribute(item, kind, t_s + late, slate)
        model.attribute(item, kind, t_s + late, slate)
    for arm in (0, 1):
        earned = np.array([p.earned for p in model.every if p.arm == arm])
        wanted = [earned.size, earned.sum(), (earned**2).sum()]
        np.testing.assert_allclose(world.totals()[arm], wanted, atol=1e-5)
        decayed = [
            2 ** ((p.t_s - int(world.sums.as_of_s[0])) / 86_400) * np.array([1, p.earned, p.earned**2])
            for p in model.every
            if p.arm == arm
        ]
        np.testing.assert_allclose(world.sums.cells[arm].sum(0), np.sum(decayed, axis=0) if decayed else 0, atol=1e-5)
        weight, q = 1 / OFFERS.shares[3, arm], OFFERS.model[3, arm]
        robust = np.array([q + weight * (p.earned - q) if p.arm == arm else q for p in model.every])
        found = world.standing()[arm]
        wanted = [len(model.every), weight * earned.size, weight * earned.sum(), weight**2 * (earned**2).sum()]
        np.testing.assert_allclose(found[[SLATES, W, WR, WWRR]], wanted, atol=1e-4)
        np.testing.assert_allclose(found[[V, VV]], [robust.sum(), (robust**2).sum()], atol=1e-4)


def test_once_per_slot_and_type() -> None:
    """The same thing done again, or its event sent again with another id, earns nothing; another type does."""
    world = World()
    world.show(5, 1000, 0, [1, 2])
    assert [world.attribute(1, kind, 1010) for kind in (2, 2, 5, 5, 2)] == [1, 0, 1, 0, 0]
    assert world.attribute(2, 2, 1010, skip=True) == 0
    np.testing.assert_allclose(world.totals()[0], [1, 1.2, 1.44], rtol=1e-6)


def test_last_touch() -> None:
    """Of two slates with the item the newer one earns, unless the older one was seen again after that."""
    world = World()
    world.show(1, 1000, 0, [1])
    world.show(2, 1010, 1, [1])
    world.attribute(1, 2, 1020)
    np.testing.assert_allclose(world.totals()[:, 1], [0, 0.2], rtol=1e-6)
    world.attribute(1, 0, 1030, slate=2)  # an impression of the slate at offset 1
    world.attribute(1, 5, 1040)
    np.testing.assert_allclose(world.totals()[:, 1], [1.0, 0.2], rtol=1e-6)


def test_windows() -> None:
    """Nothing before the slate, nothing after the window; an impression starts it anew, up to two windows."""
    world = World()
    world.show(1, 1000, 0, [1])
    assert world.attribute(1, 2, 999) == 0
    assert world.attribute(1, 2, 1000 + WINDOW_S + 1) == 0
    assert world.attribute(1, 0, 1000 + WINDOW_S + 50) == 1
    assert world.attribute(1, 2, 1000 + WINDOW_S + 60) == 1
    assert world.attribute(1, 5, 1000 + 2 * WINDOW_S + 1) == 0
    assert world.attribute(1, 0, 1000 + 2 * WINDOW_S + 1, slate=2) == 0


def test_each_impression_starts_the_window_anew() -> None:
    """Also one of a slot that was seen before: the page was opened again."""
    world = World()
    world.show(1, 1000, 0, [1, 2])
    assert world.attribute(1, 0, 1010) == 1
    assert world.attribute(1, 0, 1000 + WINDOW_S - 10) == 0  # the same slot: nothing more is earned
    assert world.attribute(1, 2, 1000 + WINDOW_S + 50) == 1


def test_only_the_last_slates_are_pending() -> None:
    """The fifth slate takes the place of the first; what the first holds earns nothing any more."""
    world = World()
    for n in range(N_EXPOSURES + 1):
        world.show(n, 1000 + n, 0, [n + 1])
    assert world.attribute(1, 2, 1010) == 0
    assert all(world.attribute(n + 1, 2, 1010) for n in range(1, N_EXPOSURES + 1))
    header = world.table.headers.records[world.u]
    assert (header["n_exposures"], header["n_pages"][4]) == (N_EXPOSURES, N_EXPOSURES)


def test_totals_become_final() -> None:
    """After four periods a slate is final: counted once, and no late event changes it."""
    world = World()
    world.show(1, 1000, 0, [1])
    world.attribute(1, 5, 1010)
    assert world.sums.final.sum() == 0
    world.show(2, 1000 + N_OPEN * WINDOW_S, 0, [2])
    np.testing.assert_allclose(world.sums.final[0, 0], [1, 1, 1, 1])
    world.attribute(1, 2, 1020)
    np.testing.assert_allclose(world.sums.final[0, 0], [1, 1, 1, 1])
    world.show(3, 10**6, 1, [2])
    np.testing.assert_allclose(world.sums.final[0, 0, 0], 2)
    assert world.sums.open.sum() == 1


def test_an_unknown_arm_earns_nothing() -> None:
    """A pending slate of an arm that the settings no longer list is left alone."""
    world = World()
    world.show(1, 1000, 0, [1])
    world.sums = new_sums(np.array([9], np.uint32), 24, 2)
    assert world.attribute(1, 5, 1010) == 1
    assert world.sums.cells.sum() == 0


def test_the_holdout_is_left_out_of_the_standing_sums() -> None:
    """A user on a fixed arm had no choice of arms: the slate does not say what another one would have earned."""
    world = World()
    world.show(1, 1000, 0, [1], group=1)
    assert world.attribute(1, 5, 1010) == 1
    assert not world.standing().any()
    assert world.totals()[0, 0] == 1


def test_a_slate_counts_for_arms_that_might_have_filled_it() -> None:
    """An arm without a share in the slate's cell could not: the slate says nothing of it."""
    world = World()
    world.show(1, 1000, 0, [1], offers=Offers(np.tile([1.0, 0.0], (24, 1)), OFFERS.model))
    assert world.standing()[:, SLATES].tolist() == [1, 0]
    assert not world.standing()[1].any()


def test_what_slates_from_before_the_sums_earn_is_not_counted() -> None:
    """A slate that is not in the sums, of an arm that was away or of an earlier version, adds nothing when it earns."""
    world = World()
    world.show(1, 1000, 0, [1])
    world.sums = new_sums(ARMS, 24, 2)
    world.attribute(1, 2, 1010)
    assert not world.standing().any()
    world.show(2, 1020, 0, [2])
    world.attribute(1, 5, 1030)
    assert world.standing()[0, [SLATES, WR]].tolist() == [1, 0]
    page = world.table.pages[4].records
    page["propensity"] = 0.0  # as in pages from before there was this field
    world.attribute(2, 5, 1030)
    assert world.standing()[0, WR] == 0
    assert world.sums.cells[0, :, 1].sum() > 1.9


def test_standing_sums_become_final_with_their_period() -> None:
    """What a slate earned stays in the sums of slates gone by; a later event changes nothing."""
    world = World()
    world.show(1, 1000, 0, [1])
    world.attribute(1, 5, 1010)
    assert not world.sums.standing.final.any()
    world.show(2, 1000 + N_OPEN * WINDOW_S, 0, [2])
    final = world.sums.standing.final.copy()
    assert final[0, [SLATES, W]].tolist() == [1, 1 / 0.75]
    assert final[0, WR] == 1 / 0.75
    world.attribute(1, 2, 1020)
    assert np.array_equal(world.sums.standing.final, final)
    world.show(3, 10**6, 1, [2])
    assert world.sums.standing.final[:, SLATES].tolist() == [2, 2]
    assert world.sums.standing.open[:, :, SLATES].sum() == 2


def test_old_observations_fade() -> None:
    """Thirty half-lives later the newest slate weighs 1, and what was there 2 ** -30; its reward is weighed alike."""
    world = World()
    world.show(1, 1000, 0, [3])
    world.show(2, 1000 + 30 * 86_400, 0, [3])
    np.testing.assert_allclose(world.sums.cells[0, 3, 0], 1 + 2**-30, rtol=1e-12)
    assert world.sums.as_of_s[0] == 1000 + 30 * 86_400
    world.attribute(3, 5, 1000 + 30 * 86_400)
    np.testing.assert_allclose(world.sums.cells[0, 3], [1 + 2**-30, 1, 1], rtol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-86_400, 10 * 86_400)), min_size=1, max_size=20))
def test_the_newest_slate_weighs_one(steps: list[tuple[int, int]]) -> None:
    """In whatever order slates come, each weighs what its age against the newest one says: never more than 1."""
    world = World()
    times = np.cumsum([30 * 86_400, *(passed for _, passed in steps)])[1:]
    for n, (arm, _) in enumerate(steps):
        world.show(n, int(times[n]), arm, [1])
    weights = 2.0 ** ((times - times.max()) / 86_400)
    assert world.sums.as_of_s[0] == times.max()
    for arm in (0, 1):
        wanted = weights[[a == arm for a, _ in steps]].sum()
        np.testing.assert_allclose(world.sums.cells[arm, :, 0].sum(), wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("landmark_days", [0, 1, 300, 590])
def test_a_year_of_slates_is_what_the_policy_learns_from(landmark_days: int) -> None:
    """A hundred slates a day count as those of 43 days, wherever the sums of an earlier version had their time."""
    params = AttributionParams(half_life_days=30.0)
    world, day = World(), 86_400
    world.sums.as_of_s[0] = 1000 * day - landmark_days * day
    users, _ = world.table.ensure(np.arange(1, 101, dtype=np.uint64), None)
    slates, shown = np.zeros(users.size, SLATE), np.zeros(users.size, SHOWN)
    slates["n"], shown["arm"], shown["propensity"] = 1, ARMS[0], 0.75
    for today in range(365):
        world.table.reserve_pages(5 * users.size)
        world.table.headers.records["last_s"][users] = (1000 + today) * day
        shown["offset"] = np.arange(users.size) + users.size * today
        expose_batch(world.users(), users, slates, shown, world.entities, world.sums, params, OFFERS)
    sums = Observed(
        int(world.sums.as_of_s[0]),
        world.sums.cells,
        np.zeros((2, 2, 4)),
        np.zeros((2, 2, 4)),
        np.zeros((2, N_STANDING)),
    )
    learned = learn_policy([sums, sums], 2, params.half_life_days, GuardParams())
    n = learned.cells[:, :, 0].sum(axis=1)
    np.testing.assert_allclose(n, [2 * 100 * (1 - 2.0 ** (-365 / 30)) / (1 - 2.0 ** (-1 / 30)), 0], rtol=1e-9)
    assert n[0] < 2 * 100 * 1.02 * params.half_life_days / np.log(2)
