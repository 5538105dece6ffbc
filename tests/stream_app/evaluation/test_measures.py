"""The numbers of an evaluation: against a second reading of the lists, and against known values."""

from __future__ import annotations

import math
from types import SimpleNamespace
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
    ("values", "mean", "se"), [([1, 0] * 6, 0.5, 0.150756), ([1.0] * 9, 1.0, None), ([], None, None)]
)
def test_mean_and_error(values: Sequence[float], mean: float | None, se: float | None) -> None:
    """With one value for each user the standard error is that of the mean; of nine users there is none."""
    users = np.arange(len(values), dtype=np.int32)
    assert measures.mean_and_error(np.array(values, np.float64), users) == {"mean": mean, "se": se, "n": len(values)}


def test_errors_are_over_users() -> None:
    """What each user does a hundred times alike tells as much as if it had been done once."""
    of_user = np.array([1.0, 0.0] * 6)
    once = measures.mean_and_error(of_user, np.arange(12, dtype=np.int32))
    often = measures.mean_and_error(np.repeat(of_user, 100), np.repeat(np.arange(12, dtype=np.int32), 100))
    assert (often["mean"], often["se"], often["n"]) == (once["mean"], once["se"], 1_200)


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


def test_categories_with_one_label_are_two_groups() -> None:
    """A slash within a level reads like one between two."""
    numbers = np.repeat(np.arange(3, dtype=np.int32), 4)
    truths = SimpleNamespace(crosses=np.ones(12, np.bool_), category=numbers)
    found = measures.by_category(truths, [("a / b",), ("a", "b"), ("z",)])  # type: ignore[arg-type]
    assert len(found) == 3
    assert sum(int(where.sum()) for where in found.values()) == 12
