"""Standing estimates against those of the whole log, slate by slate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ope import Estimator, EvaluationParams, SlateLog, evaluate, slate_log
from operators.ope.standing import StandingEstimate, standing_of
from operators.standing import N_STANDING, SLATES, add_reward, add_slate, begin_standing, new_standing

ESTIMATORS = (Estimator.IPS, Estimator.SNIPS, Estimator.DR)
N_ARMS = 3
SHARES = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
MODEL = np.array([[0.2, 0.1, 0.0], [0.3, 0.5, -0.1]])
MEANS = np.array([[0.3, 0.1, 0.2], [0.2, 0.6, 0.1]])
"""Expected reward per cell and arm; both cells are as likely."""


class Slates(NamedTuple):
    """Slates as they were made, and what they have earned."""

    cells: np.ndarray
    arms: np.ndarray
    rewards: np.ndarray

    def propensities(self) -> np.ndarray:
        """Return the probability with which each slate's arm was chosen."""
        return SHARES[self.cells, self.arms]

    def log(self, arm: int) -> SlateLog:
        """Return them as a log for the policy that always takes one arm."""
        q = MODEL[self.cells, arm]
        return slate_log(
            slate=np.arange(self.cells.size),
            position=np.zeros(self.cells.size),
            propensity=self.propensities(),
            target_propensity=(self.arms == arm).astype(float),
            reward=self.rewards,
            q_logged=np.where(self.arms == arm, q, 0.7),  # the model of other arms does not matter
            q_target=q,
        )

    def sums(self) -> np.ndarray:
        """Return the standing sums, counting each slate when it is made and its reward in two steps afterwards."""
        sums = np.zeros((N_ARMS, N_STANDING))
        weights = 1.0 / self.propensities()
        for cell, arm, weight in zip(self.cells, self.arms, weights, strict=True):
            add_slate(sums, arm, 1.0 / weight, SHARES[cell], MODEL[cell])
        for cell, arm, weight, reward in zip(self.cells, self.arms, weights, self.rewards, strict=True):
            add_reward(sums[arm], weight, MODEL[cell, arm], 0.0, reward / 4)
            add_reward(sums[arm], weight, MODEL[cell, arm], reward / 4, reward)
        return sums


def draw(rng: np.random.Generator, n: int) -> Slates:
    """Return ``n`` slates of the world whose means are :data:`MEANS`."""
    cells = rng.integers(0, 2, n)
    arms = (rng.random(n)[:, None] > SHARES[cells].cumsum(1)).sum(1)
    return Slates(cells, arms, 2.0 * (rng.random(n) < MEANS[cells, arms] / 2))


def check(found: StandingEstimate, log: SlateLog) -> None:
    """Assert that a standing estimate is the log's."""
    wanted = evaluate(log, found.estimator, EvaluationParams())
    assert found.value == pytest.approx(wanted.value, rel=1e-9, abs=1e-12)
    assert found.std_error == pytest.approx(wanted.std_error, rel=1e-9, abs=1e-9)
    assert (found.lower, found.upper) == pytest.approx((wanted.lower, wanted.upper), rel=1e-9, abs=1e-9)


SLATES_OF_ANY_KIND = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, N_ARMS - 1), st.sampled_from([-3.0, -0.5, 0.0, 0.2, 0.6, 1.0, 3.0])),
    min_size=2,
    max_size=80,
).map(lambda rows: Slates(*(np.array(column) for column in zip(*rows, strict=True))))


@given(SLATES_OF_ANY_KIND)
def test_estimates_are_those_of_the_log(slates: Slates) -> None:
    """Value, interval, standard error, effective size and warnings equal those from the single slates."""
    sums = slates.sums()
    for arm in range(N_ARMS):
        found = standing_of(sums[arm])
        if not (slates.arms == arm).any():
            assert (found.estimates, found.warnings) == ((), ("no_overlap",))
            continue
        log = slates.log(arm)
        assert [estimate.estimator for estimate in found.estimates] == list(ESTIMATORS)
        for estimate in found.estimates:
            check(estimate, log)
        wanted = evaluate(log, Estimator.IPS, EvaluationParams())
        assert found.n_slates == wanted.n_slates
        assert found.effective_slates == pytest.approx(wanted.overlap.ess, rel=1e-9)
        assert found.mean_weight == pytest.approx(wanted.overlap.mean_weight, rel=1e-9)
        codes = {caution.code for caution in wanted.cautions}
        assert {"low_ess", "mean_weight"} & codes == {"low_ess", "mean_weight"} & set(found.warnings)


def test_a_long_log_loses_no_digits() -> None:
    """After 20,000 slates the estimates still agree to nine digits."""
    slates = draw(np.random.default_rng(3), 20_000)
    sums = slates.sums()
    for arm in range(N_ARMS):
        for estimate in standing_of(sums[arm]).estimates:
            check(estimate, slates.log(arm))


@given(SLATES_OF_ANY_KIND, st.integers(0, 80))
def test_sums_of_partitions_add_up(slates: Slates, cut: int) -> None:
    """The sums of two parts of a log, added, give what the whole log gives."""
    parts = [Slates(*(column[at] for column in slates)) for at in (slice(cut), slice(cut, None))]
    together = parts[0].sums() + parts[1].sums()
    for arm in range(N_ARMS):
        whole, added = standing_of(slates.sums()[arm]), standing_of(together[arm])
        assert [e.value for e in added.estimates] == pytest.approx([e.value for e in whole.estimates], abs=1e-12)
        assert [e.std_error for e in added.estimates] == pytest.approx([e.std_error for e in whole.estimates], abs=1e-9)


def test_intervals_hold_the_value_as_often_as_they_say() -> None:
    """Of 400 logs that are worth some 170 slates each the 95 % intervals hold what the arm earns in 93 to 98 %."""
    rng, truth = np.random.default_rng(7), MEANS.mean(0)
    held = dict.fromkeys(ESTIMATORS, 0)
    errors = dict.fromkeys(ESTIMATORS, 0.0)
    for _ in range(400):
        found = standing_of(draw(rng, 400).sums()[1])
        for e in found.estimates:
            held[e.estimator] += e.lower <= truth[1] <= e.upper
            errors[e.estimator] += e.std_error
    assert all(0.93 <= n / 400 <= 0.98 for n in held.values()), held
    assert errors[Estimator.DR] < errors[Estimator.IPS]


def test_an_arm_that_comes_later_is_estimated_from_the_slates_it_might_have_filled() -> None:
    """A thousand slates from before there was an arm do not make its estimate smaller; they count for the others."""
    slates = draw(np.random.default_rng(5), 1_000)
    before = np.zeros((N_ARMS, N_STANDING))
    for _ in range(1_000):
        add_slate(before, 0, 1.0, np.array([1.0, 0.0, 0.0]), np.array([0.2, 0.0, 0.0]))
    sums = before + slates.sums()
    assert sums[:, SLATES].tolist() == [2_000, 1_000, 1_000]
    assert standing_of(sums[1]) == standing_of(slates.sums()[1])


def test_a_single_slate_has_no_interval() -> None:
    """One slate has a value and no spread; none has neither."""
    sums = Slates(np.array([0]), np.array([1]), np.array([0.5])).sums()
    found = standing_of(sums[1])
    assert found.estimates[1].value == pytest.approx(0.5)
    assert np.isnan(found.estimates[1].lower)
    assert "one_slate" in found.warnings
    assert standing_of(np.zeros(N_STANDING)).warnings == ()


def test_slates_without_a_reward_have_no_spread() -> None:
    """As long as nothing was earned the intervals of ips and snips say nothing, and a warning says so."""
    slates = draw(np.random.default_rng(1), 200)._replace(rewards=np.zeros(200))
    assert "no_spread" in standing_of(slates.sums()[0]).warnings


def test_arms_begin_with_their_first_slates() -> None:
    """The offsets of a first flush need not be in order; later ones change nothing."""
    standing = new_standing(2, 4)
    begin_standing(standing, np.array([], np.uint64))
    assert standing.since.tolist() == [0, 0]
    begin_standing(standing, np.array([9, 7, 8], np.uint64))
    standing.since[1] = 0
    begin_standing(standing, np.array([12, 11], np.uint64))
    assert standing.since.tolist() == [8, 12]
