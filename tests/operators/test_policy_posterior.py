"""Posteriors, shares and guardrails of the arms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.policy_context import N_CELLS, cell_features
from operators.policy_posterior import (
    PRIOR_SLATES,
    GuardParams,
    best_probabilities,
    fit,
    make_shares,
    worse_probabilities,
)

GUARD = GuardParams(min_share=0.02, baseline_share=0.1, fall_back_at=0.99)


def observed(means: list[float], n_per_cell: int, deviation: float = 0.3, seed: int = 1) -> np.ndarray:
    """Return sums of arms with these mean rewards in every cell."""
    rewards = np.random.default_rng(seed).normal(0, deviation, (len(means), N_CELLS, n_per_cell))
    rewards += np.array(means)[:, None, None]
    return np.stack([np.full(rewards.shape[:2], float(n_per_cell)), rewards.sum(2), (rewards**2).sum(2)], axis=2)


CELLS = st.lists(
    st.tuples(st.floats(0, 1e6), st.floats(-1, 1), st.floats(0, 1)), min_size=3 * N_CELLS, max_size=3 * N_CELLS
)


@given(CELLS, st.floats(0, 0.5), st.floats(0.01, 1))
def test_shares_are_probabilities_and_keep_their_floors(
    cells: list[tuple[float, float, float]], min_share: float, baseline_share: float
) -> None:
    """Whatever was observed, the shares of a cell sum to 1, and no arm falls below its floor."""
    n, mean, spread = np.array(cells).reshape(3, N_CELLS, 3).transpose(2, 0, 1)
    sums = np.stack([n, n * mean, n * (mean**2 + spread)], axis=2)
    guard = GuardParams(min_share, baseline_share, 0.99)
    shares, _ = make_shares(fit(sums), guard)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-12)
    floors = np.array([max(min_share, baseline_share), min_share, min_share])
    floors /= max(floors.sum(), 1.0)
    assert (shares >= floors - 1e-12).all()


@pytest.mark.parametrize("n_slates", [0.0, 500.0])
def test_without_a_reward_the_baseline_gets_most(n_slates: float) -> None:
    """Nobody reacts: the other arms share evenly what the baseline's half and the floors leave."""
    sums = np.zeros((3, N_CELLS, 3))
    sums[..., 0] = n_slates
    shares, held = make_shares(fit(sums), GUARD)
    np.testing.assert_allclose(shares[:, 1], shares[:, 2])
    np.testing.assert_allclose(shares[:, 0], 0.5 + (1 - 0.54) / 3)
    assert not held.any()


def test_the_first_reward_makes_the_shares_even() -> None:
    """As soon as slates earn, every arm is as likely to be the best as any other; the baseline keeps its floor."""
    sums = np.zeros((3, N_CELLS, 3))
    sums[:, 0] = (1.0, 1.0, 1.0)
    shares, held = make_shares(fit(sums), GUARD)
    np.testing.assert_allclose(shares[:, 1], shares[:, 2])
    np.testing.assert_allclose(shares[:, 0], 0.1 + (1 - 0.14) / 3)
    assert not held.any()


@pytest.mark.parametrize("n_slates", [20, 60, 200, 1000])
def test_arms_that_are_equal_are_not_held_by_few_slates(n_slates: int) -> None:
    """Most cells have one slate or none, which says nothing of the noise: few of a hundred worlds hold an arm."""
    n_held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        arms, where = rng.integers(0, 3, n_slates), rng.integers(0, N_CELLS, n_slates)
        rewards = (rng.random(n_slates) < 0.3).astype(float)
        sums = np.zeros((3, N_CELLS, 3))
        for power in range(3):
            np.add.at(sums[:, :, power], (arms, where), rewards**power)
        n_held += bool(make_shares(fit(sums), GUARD)[1].any())
    assert n_held <= 6


def test_the_posterior_is_that_of_a_plain_regression() -> None:
    """From single rewards, with the textbook formula: the same means and deviations as from the sums."""
    rng = np.random.default_rng(4)
    x = cell_features()
    where = rng.integers(0, N_CELLS, 500)
    rewards = x[where] @ rng.normal(0, 0.2, 7) + rng.normal(0, 0.1, 500)
    sums = np.zeros((1, N_CELLS, 3))
    for power in range(3):
        np.add.at(sums[0, :, power], where, rewards**power)
    posterior = fit(sums)
    prior = np.array([rewards.mean(), 0, 0, 0, 0, 0, 0])
    precision = PRIOR_SLATES * np.eye(7) + x[where].T @ x[where]
    theta = np.linalg.solve(precision, PRIOR_SLATES * prior + x[where].T @ rewards)
    np.testing.assert_allclose(posterior.mean[0], x @ theta, rtol=1e-9)
    deviation = np.sqrt(posterior.noise * np.einsum("cf,fg,cg->c", x, np.linalg.inv(precision), x))
    np.testing.assert_allclose(posterior.deviation[0], deviation, rtol=1e-9)


def test_best_probabilities_are_those_of_sampling() -> None:
    """The integral agrees with 200,000 draws from the posteriors."""
    mean, deviation = np.array([0.1, 0.13, 0.05]), np.array([0.02, 0.05, 0.1])
    draws = np.random.default_rng(0).normal(mean, deviation, (200_000, 3)).argmax(axis=1)
    np.testing.assert_allclose(best_probabilities(mean, deviation), np.bincount(draws) / 200_000, atol=0.005)


def test_the_better_arm_gets_the_slates() -> None:
    """An arm that clearly earns more gets nearly all that the floors leave."""
    shares, held = make_shares(fit(observed([0.10, 0.30, 0.20], 500)), GUARD)
    assert (shares[:, 1] > 0.8).all()
    assert held.tolist() == [False, False, False]


def test_a_worse_arm_is_held() -> None:
    """An arm that is worse than the baseline for sure falls back to the smallest share; the baseline gets its part."""
    posterior = fit(observed([0.30, 0.10, 0.30], 300))
    shares, held = make_shares(posterior, GUARD)
    assert held.tolist() == [False, True, False]
    np.testing.assert_allclose(shares[:, 1], 0.02)
    assert worse_probabilities(posterior)[0] == 0.0
    assert worse_probabilities(posterior)[1] > 0.999


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_impossible_sums_are_refused(bad: float) -> None:
    """Sums that cannot be raise, instead of turning all shares into NaN."""
    sums = np.zeros((2, N_CELLS, 3))
    sums[1, 3, 0] = bad
    with pytest.raises(ValueError, match="policy sums"):
        fit(sums)
