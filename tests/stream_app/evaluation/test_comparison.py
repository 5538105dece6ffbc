"""Tests of comparing two ways to fill the same lists: errors over users, and tests of known tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_app.evaluation import comparison
from stream_app.evaluation.measures import LEAST_USERS


def test_errors_over_users_are_wider() -> None:
    """If all events of a user move together, the error over users is that of so many users, not of all events."""
    of_user = np.array([1.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 1.0, -1.0, 1.0])
    each = comparison._paired(of_user, np.arange(10, dtype=np.int32))
    repeated = comparison._paired(np.repeat(of_user, 50), np.repeat(np.arange(10, dtype=np.int32), 50))
    assert repeated["difference"] == each["difference"]
    assert repeated["se"] == pytest.approx(each["se"], rel=1e-4)
    assert each["se"] == pytest.approx(of_user.std(ddof=1) / math.sqrt(10), rel=1e-4)


def test_same_lists_do_not_differ() -> None:
    """Two models with the same hits differ by nothing, and neither test calls that significant."""
    hits = np.array([1.0, 0.0, 1.0, 1.0])
    assert comparison._paired(hits - hits, np.arange(4, dtype=np.int32))["p"] == 1.0
    assert comparison._mcnemar(hits, hits) == {"only_ours": 0, "only_theirs": 0, "mcnemar_p": 1.0}


def test_the_same_difference_for_everybody_is_certain() -> None:
    """Where one model always hits and the other never does, the error is 0 and so is p."""
    cell = comparison._paired(np.ones(100), np.arange(100, dtype=np.int32))
    assert cell == {"difference": 1.0, "se": 0.0, "z": None, "p": 0.0, "n": 100}


@pytest.mark.parametrize("difference", [0.1, -0.3, 1 / 3])
def test_rounding_is_no_error(difference: float) -> None:
    """What is left of equal numbers less their mean is rounding, and no standard error to divide by."""
    cell = comparison._paired(np.full(1_000, difference), np.arange(1_000, dtype=np.int32) % 50)
    assert (cell["se"], cell["z"], cell["p"]) == (0.0, None, 0.0)


@pytest.mark.parametrize("n_users", [1, 2, LEAST_USERS - 1])
def test_a_few_users_say_nothing_about_others(n_users: int) -> None:
    """However many events they have: the mean is told, its error over users is not."""
    differences = np.random.default_rng(n_users).choice([-1.0, 0.0, 1.0, 1.0], 1_000)
    users = np.arange(1_000, dtype=np.int32) % n_users
    cell = comparison._paired(differences, users)
    assert cell["difference"] == pytest.approx(differences.mean(), abs=1e-6)
    assert (cell["se"], cell["z"], cell["p"]) == (None, None, None)
    change = comparison.relative_change(differences + 1.0, np.ones(1_000), users)
    assert change["relative"] == pytest.approx(differences.mean(), abs=1e-6)
    assert (change["low"], change["high"]) == (None, None)


def test_mcnemar_of_a_known_table() -> None:
    """With 25 against 5 discordant pairs p is twice the probability of five heads or fewer in thirty throws."""
    a = np.array([1.0] * 25 + [0.0] * 5)
    exact = 2 * sum(math.comb(30, k) for k in range(6)) / 2**30
    assert comparison._mcnemar(a, 1.0 - a)["mcnemar_p"] == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize(("n_users", "largest"), [(10, 1), (30, 1), (15, 40)])
def test_a_test_is_wrong_as_seldom_as_it_says(n_users: int, largest: int) -> None:
    """Of models that do not differ one in a hundred is found to, also for few users, and where some have much more."""
    rng = np.random.default_rng(n_users)
    sizes = np.linspace(1, largest, n_users).astype(int) * 4
    users = np.repeat(np.arange(n_users, dtype=np.int32), sizes)
    found = [
        comparison._paired(rng.normal(0.0, 1.0, n_users)[users] + rng.normal(0.0, 1.0, users.size), users)["p"]
        for _ in range(2_000)
    ]
    assert np.mean(np.array(found) < 0.01) < 0.025


def test_interval_of_a_ratio() -> None:
    """The linearized interval of what exploration costs holds the truth as often as it says, for clustered events."""
    rng = np.random.default_rng(5)
    n_users, per_user, n_right, n_logs = 200, 8, 0, 400
    users = np.repeat(np.arange(n_users, dtype=np.int32), per_user)
    for _ in range(n_logs):
        p = np.repeat(rng.beta(1.0, 4.0, n_users), per_user)
        slate = rng.random(users.size) < p
        drawn = np.where(rng.random(users.size) < 0.1, rng.random(users.size) < 0.5 * p, slate)  # 5 % less of the hits
        found = comparison.relative_change(drawn.astype(np.float64), slate.astype(np.float64), users)
        n_right += found["low"] <= -0.05 <= found["high"]
    assert 0.92 < n_right / n_logs < 0.98
