"""Estimates are right on average, intervals hold the truth as often as they say, and poor overlap is warned of."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from operators.ope import Estimate, Estimator, EvaluationParams, Interval, evaluate, slate_log
from tests.operators.ope.worlds import World, cascade_world, independent_world

N_LOGS = 500
N_SLATES = 500
IN_ITS_WORLD = [
    (Estimator.IPS, "independent"),
    (Estimator.SNIPS, "independent"),
    (Estimator.DR, "independent"),
    (Estimator.SLATE_IPS, "cascade"),
    (Estimator.RIPS, "cascade"),
    (Estimator.CASCADE_DR, "cascade"),
]


@functools.cache
def world(name: str) -> World:
    """Return the world whose assumptions are those of some estimators."""
    return independent_world() if name == "independent" else cascade_world()


@functools.cache
def estimates(estimator: Estimator, name: str) -> list[Estimate]:
    """Return the estimates of 500 simulated logs."""
    rng = np.random.default_rng(20_261)
    return [evaluate(world(name).draw(rng, N_SLATES), estimator, EvaluationParams()) for _ in range(N_LOGS)]


@pytest.mark.parametrize(("estimator", "name"), IN_ITS_WORLD)
def test_mean_of_estimates_is_the_value(estimator: Estimator, name: str) -> None:
    """Over 500 logs the mean estimate is within four standard errors of the target's true value."""
    values = np.array([found.value for found in estimates(estimator, name)])
    assert abs(values.mean() - world(name).value) < 4.0 * values.std() / np.sqrt(N_LOGS)


@pytest.mark.parametrize(("estimator", "name"), IN_ITS_WORLD)
def test_intervals_hold_the_value_as_often_as_they_say(estimator: Estimator, name: str) -> None:
    """The nominal 95 % interval that is the default holds the true value in 93 to 98 % of 500 logs."""
    truth = world(name).value
    share = np.mean([found.lower <= truth <= found.upper for found in estimates(estimator, name)])
    assert 0.93 <= share <= 0.98


def test_skew_correction_helps_where_student_fails() -> None:
    """With unlike policies and 100 slates Student's interval misses more than 8 %, the default less than 7 %."""
    far = independent_world(seed=3, n_items=12, n_slots=1, apart=1.3)
    rng = np.random.default_rng(5)
    logs = [far.draw(rng, 100) for _ in range(N_LOGS)]

    def coverage(interval: Interval) -> float:
        found = [evaluate(log, Estimator.IPS, EvaluationParams(interval=interval)) for log in logs]
        return float(np.mean([one.lower <= far.value <= one.upper for one in found]))

    assert coverage(Interval.STUDENT_T) < 0.92
    assert 0.93 <= coverage(Interval.SKEW_CORRECTED) <= 0.98


@pytest.mark.parametrize(("estimator", "name"), IN_ITS_WORLD)
def test_bootstrap_agrees_with_the_default(estimator: Estimator, name: str) -> None:
    """On a log with good overlap the bootstrap's interval is that of the default within 15 % of its width."""
    log = world(name).draw(np.random.default_rng(1), 3_000)
    one = evaluate(log, estimator, EvaluationParams())
    other = evaluate(log, estimator, EvaluationParams(interval=Interval.BOOTSTRAP, n_resamples=1_000))
    width = one.upper - one.lower
    assert (other.lower, other.upper) == pytest.approx((one.lower, one.upper), abs=0.15 * width)
    again = evaluate(log, estimator, EvaluationParams(interval=Interval.BOOTSTRAP, n_resamples=1_000, seed=1))
    assert (again.lower, again.upper) != (other.lower, other.upper)


@pytest.mark.parametrize(("estimator", "name"), [pair for pair in IN_ITS_WORLD if pair[0] is not Estimator.SNIPS])
def test_stated_ranges_make_bernstein_hold(estimator: Estimator, name: str) -> None:
    """With clip and reward range stated (and no weight reaching the clip) the interval is wide, and always holds."""
    rng = np.random.default_rng(11)
    params = EvaluationParams(interval=Interval.EMPIRICAL_BERNSTEIN, clip=1e3, reward_range=(0.0, 1.0))
    found = [evaluate(world(name).draw(rng, 300), estimator, params) for _ in range(60)]
    assert all(one.lower <= world(name).value <= one.upper for one in found)
    assert not any(one.n_clipped or one.cautions for one in found)
    guessed = evaluate(world(name).draw(rng, 300), estimator, EvaluationParams(interval=params.interval))
    assert [caution.code for caution in guessed.cautions] == ["range_from_log"]
    assert guessed.upper - guessed.lower < found[0].upper - found[0].lower


def test_good_overlap_has_no_warnings() -> None:
    """A log of a policy near the target, with enough slates, warns of nothing."""
    log = world("independent").draw(np.random.default_rng(2), 2_000)
    assert evaluate(log, Estimator.IPS, EvaluationParams()).cautions == ()


def test_poor_overlap_is_warned_of() -> None:
    """Unlike policies: little effective size, one slate with much weight, small propensities, clipped weights."""
    rng = np.random.default_rng(4)
    n = 1_000
    rare = rng.random(n) < 0.001
    rare[:2] = True
    propensity = np.where(rare, 5e-4, 0.9)
    log = slate_log(np.arange(n), np.zeros(n), propensity, np.where(rare, 0.9, 0.1), np.ones(n))
    codes = {caution.code for caution in evaluate(log, Estimator.IPS, EvaluationParams(clip=100.0)).cautions}
    assert {"low_ess", "large_weight", "small_propensity", "clipped"} <= codes
    found = evaluate(log, Estimator.IPS, EvaluationParams()).overlap
    assert found.ess < 10.0
    assert found.min_propensity == 5e-4


def test_a_target_beyond_the_log_is_warned_of() -> None:
    """If the target does, half of the time, what the log never holds, the weights average one half and that is said."""
    rng = np.random.default_rng(6)
    n = 2_000
    first = rng.random(n) < 0.5
    log = slate_log(np.arange(n), np.zeros(n), np.full(n, 0.5), np.where(first, 0.3, 0.2), np.ones(n))
    found = evaluate(log, Estimator.IPS, EvaluationParams())
    assert [caution.code for caution in found.cautions] == ["mean_weight"]
    assert found.overlap.mean_weight == pytest.approx(0.5, abs=0.01)


def test_ess_is_kishs() -> None:
    """Ten weights of 1 and one of 10 are worth 20 squared by 110 slates."""
    n = 11
    log = slate_log(np.arange(n), np.zeros(n), [0.1] * n, [0.1] * 10 + [1.0], np.ones(n))
    assert evaluate(log, Estimator.IPS, EvaluationParams()).overlap.ess == pytest.approx(400.0 / 110.0)


def test_a_log_without_spread_says_so() -> None:
    """One slate has no interval; slates that are all alike have one that says nothing."""
    one = evaluate(slate_log([0], [0], [0.5], [0.5], [1.0]), Estimator.IPS, EvaluationParams())
    assert [caution.code for caution in one.cautions] == ["one_slate"]
    alike = evaluate(slate_log([0, 1], [0, 0], [0.5] * 2, [0.5] * 2, [1.0] * 2), Estimator.IPS, EvaluationParams())
    assert [caution.code for caution in alike.cautions] == ["no_spread"]
    assert (alike.lower, alike.value, alike.upper) == (1.0, 1.0, 1.0)
