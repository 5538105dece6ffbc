"""The numbers of an evaluation: against a second reading of the lists, and against known values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.evaluation import measures
from stream_app.evaluation.baselines.popularity import CountedOrder
from stream_app.evaluation.tally import N_BINS, bin_edges, probability_bins

if TYPE_CHECKING:
    from collections.abc import Sequence


@given(st.lists(st.integers(0, 12), max_size=200))
def test_order_is_by_count(items: list[int]) -> None:
    """At every moment no item leads one that was counted more often, and every item is there once."""
    order, counts = CountedOrder(), dict.fromkeys(items, 0)
    for item in items:
        order.add(item)
        counts[item] += 1
        ranked = list(order)
        assert sorted(ranked) == sorted(k for k, n in counts.items() if n)
        assert [counts[k] for k in ranked] == sorted((n for n in counts.values() if n), reverse=True)


def test_gain_of_a_rank() -> None:
    """NDCG of one relevant item is 1 at the top, 1 / log2(rank + 2) below, 0 where it is missed."""
    gains = measures.gains(np.array([0, 1, 9, -1], np.int8))
    assert gains.tolist() == [1.0, 1 / math.log2(3), 1 / math.log2(11), 0.0]


@pytest.mark.parametrize(
    ("values", "mean", "se"), [([1, 0, 1, 0], 0.5, 0.288675), ([1.0], 1.0, None), ([], None, None)]
)
def test_mean_and_error(values: Sequence[float], mean: float | None, se: float | None) -> None:
    """The standard error is that of the mean; of one value there is none."""
    assert measures.mean_and_error(np.array(values, np.float64)) == {"mean": mean, "se": se, "n": len(values)}


def test_errors_over_users_are_wider() -> None:
    """If all events of a user move together, the error over users is that of so many users, not of all events."""
    of_user = np.array([1.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 1.0, -1.0, 1.0])
    each = measures._paired(of_user, np.arange(10, dtype=np.int32))
    repeated = measures._paired(np.repeat(of_user, 50), np.repeat(np.arange(10, dtype=np.int32), 50))
    assert repeated["difference"] == each["difference"]
    assert repeated["se"] == pytest.approx(each["se"], rel=1e-4)
    assert each["se"] == pytest.approx(of_user.std(ddof=1) / math.sqrt(10), rel=1e-4)


def test_same_lists_do_not_differ() -> None:
    """Two models with the same hits differ by nothing, and neither test calls that significant."""
    hits = np.array([1.0, 0.0, 1.0, 1.0])
    assert measures._paired(hits - hits, np.arange(4, dtype=np.int32))["p"] == 1.0
    assert measures._mcnemar(hits, hits) == {"only_ours": 0, "only_theirs": 0, "mcnemar_p": 1.0}


def test_mcnemar_of_a_known_table() -> None:
    """With 25 against 5 discordant pairs the corrected statistic is (25 - 5 - 1)^2 / 30, its p 0.00052."""
    a = np.array([1.0] * 25 + [0.0] * 5)
    assert measures._mcnemar(a, 1.0 - a)["mcnemar_p"] == pytest.approx(0.00052, abs=1e-5)


@given(st.floats(0.0, 1.0))
def test_bin_holds_its_probability(p: float) -> None:
    """Every probability lies in its bin, if it is not below all of them."""
    at = int(probability_bins(np.array([p]))[0])
    edges = bin_edges()
    assert edges.size == N_BINS + 1
    assert p <= edges[at + 1] * (1 + 1e-9)
    assert at == 0 or p >= edges[at] * (1 - 1e-9)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_gini_is_between_even_and_one(counts: list[int]) -> None:
    """The Gini index lies in [0, 1), and is 0 if all are listed alike."""
    ordered = np.sort(np.array(counts, np.float64))
    value = measures.gini(ordered, ordered.size)
    assert value is not None
    assert -1e-9 <= value < 1.0
    assert measures.gini(np.full(7, 3.0), 7) == 0.0


def test_interval_of_a_ratio() -> None:
    """The linearized interval of what exploration costs holds the truth as often as it says, for clustered events."""
    rng = np.random.default_rng(5)
    n_users, per_user, n_right, n_logs = 200, 8, 0, 400
    users = np.repeat(np.arange(n_users, dtype=np.int32), per_user)
    for _ in range(n_logs):
        p = np.repeat(rng.beta(1.0, 4.0, n_users), per_user)
        slate = rng.random(users.size) < p
        drawn = np.where(rng.random(users.size) < 0.1, rng.random(users.size) < 0.5 * p, slate)  # 5 % less of the hits
        found = measures.relative_change(drawn.astype(np.float64), slate.astype(np.float64), users)
        n_right += found["low"] <= -0.05 <= found["high"]
    assert 0.92 < n_right / n_logs < 0.98
