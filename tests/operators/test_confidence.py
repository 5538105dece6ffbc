"""Confidence sequences: agreement with the reference implementation, coverage at all times, hostile arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.confidence import (
    OPTIMISED_VARIANCE,
    _mixture_rho,
    confidence_radius,
    confidence_sequence,
    log_mixture,
    mixture_boundary,
    summed_squares_bound,
)


def test_mixture_agrees_with_confseq() -> None:
    """The two values that confseq's own tests hold the gamma-exponential mixture to (scale 2, there; 1, here)."""
    rho = _mixture_rho(100.0 / 4.0, 0.05)
    assert log_mixture(np.array([5.0]), np.array([25.0]), rho)[0] == pytest.approx(-0.2490165, abs=1e-6)
    assert 2.0 * mixture_boundary(np.array([25.0]), rho, math.log(1 / 0.05))[0] == pytest.approx(33.02017, abs=1e-5)


def test_mixture_is_steady_where_its_formula_changes() -> None:
    """The series for large variances continues the exact formula, and nothing cancels at a thousand million."""
    v = np.array([995.0, 996.0, 997.0, 998.0, 999.0, 1e9])
    bounds = mixture_boundary(v, 4.0, math.log(40.0))
    assert np.ptp(np.diff(bounds[:5], 2)) < 1e-6
    # At 1e9 the boundary is that of a normal mixture: sqrt((v + rho) (log((v + rho) / rho) + 2 log(1 / alpha))).
    normal = math.sqrt((1e9 + 4.0) * (math.log((1e9 + 4.0) / 4.0) + 2 * math.log(40.0 / 2.0)))
    assert bounds[5] == pytest.approx(normal, rel=2e-2)


@pytest.mark.parametrize("shape", [(0.02, None), (0.5, None), (0.2, 3.0)])
def test_all_intervals_hold_the_mean_at_once(shape: tuple[float, float | None]) -> None:
    """Looked at after each of 4,000 observations, at most 5 % of 300 sequences ever miss (clicks and beta rewards)."""
    a, b = shape
    rng = np.random.default_rng(20_260)
    x = (rng.random((300, 4_000)) < a).astype(float) if b is None else rng.beta(a, b, (300, 4_000))
    truth = a if b is None else a / (a + b)
    n = np.arange(1.0, 4_001.0)
    means = np.cumsum(x, axis=1) / n
    variances = np.maximum(np.cumsum(x * x, axis=1) / n - means**2, 0.0)
    rho = _mixture_rho(OPTIMISED_VARIANCE, 0.025)
    # The mixture grows with the error, so that it crosses the threshold where the error crosses the radius.
    missed = [
        bool(np.any(log_mixture(n * np.abs(mean - truth), summed_squares_bound(n, n * var), rho) >= math.log(40.0)))
        for mean, var in zip(means, variances, strict=True)
    ]
    assert np.mean(missed) <= 0.05
    radius = confidence_radius(n[-3:], variances[0, -3:], 0.05)
    at = log_mixture(n[-3:] * radius, summed_squares_bound(n[-3:], n[-3:] * variances[0, -3:]), rho)
    assert at == pytest.approx(math.log(40.0), abs=1e-6)
    assert radius[-1] < 6.0 * math.sqrt(truth * (1 - truth) / 4_000)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_summed_squares_are_bounded_by_what_is_known(values: list[float]) -> None:
    """The bound from n and the variance is never below the sum that the theorem asks for."""
    x = np.array(values)
    running = np.cumsum(x) / np.arange(1, x.size + 1)
    predictions = np.concatenate([[0.5], running[:-1]])
    known = summed_squares_bound(np.array([float(x.size)]), np.array([x.size * x.var()]))[0]
    assert float(np.sum((x - predictions) ** 2)) <= known + 1e-9


@given(
    st.integers(1, 10**9),
    st.floats(0.0, 1.0),
    st.floats(0.0, 0.25),
    st.floats(1e-6, 0.5),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
)
def test_interval_moves_with_its_scale(
    n: int, mean: float, variance: float, alpha: float, lower: float, width: float
) -> None:
    """It holds the mean, stays within the bounds, and shifts and stretches with them."""
    lo, hi = confidence_sequence(n, mean, variance, alpha, 0.0, 1.0)
    assert 0.0 <= lo <= mean <= hi <= 1.0
    moved = confidence_sequence(n, lower + width * mean, width**2 * variance, alpha, lower, lower + width)
    assert moved == pytest.approx((lower + width * lo, lower + width * hi), rel=1e-6, abs=1e-6 * width)


@given(st.integers(1, 10**6), st.floats(0.01, 0.24), st.floats(0.01, 0.2))
def test_more_knowledge_is_narrower(n: int, variance: float, alpha: float) -> None:
    """More observations, less variance and less confidence each make it narrower."""

    def width(n: int, variance: float, alpha: float) -> float:
        return 2.0 * float(confidence_radius(np.array([float(n)]), np.array([variance]), alpha)[0])

    assert width(2 * n, variance, alpha) < width(n, variance, alpha)
    assert width(n, 0.5 * variance, alpha) < width(n, variance, alpha)
    assert width(n, variance, alpha) <= width(n, variance, 0.5 * alpha)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0.5, 0.1, 0.05, 0.0, 1.0), "n must be"),
        ((10, 1.5, 0.1, 0.05, 0.0, 1.0), "mean must be"),
        ((10, math.nan, 0.1, 0.05, 0.0, 1.0), "mean must be"),
        ((10, 0.5, -0.1, 0.05, 0.0, 1.0), "variance must be"),
        ((10, 0.5, math.inf, 0.05, 0.0, 1.0), "variance must be"),
        ((10, 0.5, math.nan, 0.05, 0.0, 1.0), "variance must be"),
        ((10, 0.5, 0.1, 0.0, 0.0, 1.0), "alpha must be"),
        ((10, 0.5, 0.1, 1.0, 0.0, 1.0), "alpha must be"),
        ((10, 0.5, 0.1, 0.05, 1.0, 1.0), "lower and upper"),
        ((10, 0.5, 0.1, 0.05, 0.0, math.inf), "lower and upper"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[int, float, float, float, float, float], message: str) -> None:
    """An argument that makes no sense is named, with what arrived."""
    with pytest.raises(ValueError, match=message):
        confidence_sequence(*arguments)
