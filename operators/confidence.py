"""Confidence sequences: intervals for a mean that stay valid however often one looks at them."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammainc, gammaln

Floats = NDArray[np.float64]

OPTIMISED_VARIANCE = 25.0
"""Summed variance, in units of the squared range, at which the interval is tightest. It is valid at any."""

_STIRLING_FROM = 1e3
_N_BISECTIONS = 50


def confidence_sequence(
    n: int, mean: float, variance: float, alpha: float, lower: float, upper: float
) -> tuple[float, float]:
    r"""Return an interval for the mean of bounded observations, valid at all times at once.

    With probability ``1 - alpha`` *every* interval of the sequence holds the mean, not just one looked at in the end:
    a table may be looked at after every event, and an experiment be stopped because of what it shows.

    The observations may depend on each other: what is covered is the average of each observation's expectation given
    those before it. Each must lie in ``[lower, upper]`` and be counted once, when it is final, in an order that does
    not depend on its value.

    For the difference of two groups take both at ``alpha / 2`` and subtract the ends crosswise.

    Parameters
    ----------
    n
        Number of observations, 0 or more.
    mean
        Their mean, in ``[lower, upper]``.
    variance
        Their mean squared deviation from ``mean`` (divided by ``n``; the one divided by ``n - 1`` does as well, it is
        larger). Rounding below zero by less than ``1e-9`` of the squared range counts as zero.
    alpha
        Probability that any of the intervals ever misses, in (0, 1).
    lower, upper
        Smallest and largest value that an observation can have, not the ones seen so far.

    Returns
    -------
    tuple of float
        ``(lo, hi)``, within ``[lower, upper]``; exactly these before the first observation.

    Raises
    ------
    ValueError
        An argument is outside its range, or not finite.

    Notes
    -----
    The empirical-Bernstein sequence of [1]_, theorem 4, with the gamma-exponential mixture of proposition 9 as its
    boundary. It needs :math:`V_n = \sum_i (x_i - \bar x_{i-1})^2`. Since
    :math:`n \cdot variance = \sum_i (x_i - \bar x_{i-1})^2 (i-1)/i`, the largest :math:`V_n` that agrees with the
    arguments follows from them, and is taken. It exceeds the sum by a logarithm.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Annals of Statistics 49(2), "Time-uniform, nonparametric,
       nonasymptotic confidence sequences".

    Examples
    --------
    >>> lo, hi = confidence_sequence(10_000, 0.1, 0.09, 0.05, 0.0, 1.0)
    >>> round(lo, 3), round(hi, 3)
    (0.089, 0.111)
    >>> confidence_sequence(0, 0.0, 0.0, 0.05, 0.0, 1.0)
    (0.0, 1.0)
    """
    _check(n, mean, variance, alpha, lower, upper)
    if n == 0:
        return float(lower), float(upper)
    radius = (upper - lower) * float(
        confidence_radius(np.array([float(n)]), np.array([max(variance, 0.0) / (upper - lower) ** 2]), alpha)[0]
    )
    return max(float(lower), mean - radius), min(float(upper), mean + radius)


def confidence_radius(n: Floats, variance: Floats, alpha: float) -> Floats:
    """Return half the width of confidence sequences of observations in [0, 1].

    Parameters
    ----------
    n
        Numbers of observations, at least 1, shape ``(k,)``.
    variance
        Mean squared deviations, shape ``(k,)``.
    alpha
        Probability that any interval of the sequence ever misses, on either side.

    Returns
    -------
    ndarray
        Half widths, shape ``(k,)``, not cut to the range.
    """
    summed = summed_squares_bound(n, n * variance)
    rho = _mixture_rho(OPTIMISED_VARIANCE, alpha / 2)
    return mixture_boundary(summed, rho, math.log(2.0 / alpha)) / n


def summed_squares_bound(n: Floats, m2: Floats) -> Floats:
    """Return the largest possible sum of squared errors of the running means, of observations in [0, 1].

    The prediction of observation ``i`` is the mean of those before it, of the first it is 1/2.

    Parameters
    ----------
    n
        Numbers of observations, shape ``(k,)``.
    m2
        Sums of squared deviations from the final mean, shape ``(k,)``.
    """
    # Squared errors d_i <= 1 with sum d_i (i - 1) / i = m2: the sum of d_i is largest when the early ones are 1, up to
    # the m-th, where m - H_m = m2. From above, m <- m2 + H_m falls towards it.
    m = 2.0 * m2 + 2.0
    for _ in range(30):
        m = m2 + _harmonic(m)
    return m2 + 0.25 + np.maximum(_harmonic(np.minimum(np.ceil(m), n)) - 1.0, 0.0)


def _harmonic(m: Floats) -> Floats:
    return np.asarray(digamma(m + 1.0) + np.euler_gamma)


def _mixture_rho(v_opt: float, alpha: float) -> float:
    """Return the mixture's parameter for which a one-sided boundary is tightest near ``v_opt``."""
    log_term = max(-2.0 * math.log(2.0 * alpha), 0.1)
    return v_opt / (log_term + math.log1p(log_term))


def _log_gamma_rest(a: Floats) -> Floats:
    """Return ``gammaln(a) - a log(a) + a`` without cancellation for large ``a``."""
    large = np.maximum(a, _STIRLING_FROM)
    series = 0.5 * np.log(2.0 * np.pi / large) + 1.0 / (12.0 * large)
    return np.where(a >= _STIRLING_FROM, series, np.asarray(gammaln(a)) - a * np.log(a) + a)


def log_mixture(s: Floats, v: Floats, rho: float) -> Floats:
    """Return the logarithm of the gamma-exponential mixture of scale 1 (Howard et al. 2021, proposition 9).

    Parameters
    ----------
    s
        Values of the sum, at least 0, shape ``(k,)``.
    v
        Its summed variance, shape ``(k,)``.
    rho
        The mixture's parameter, positive.
    """
    a = v + rho
    constant = -_log_gamma_rest(np.array([rho])) + rho - np.log(gammainc(rho, rho))
    moved = s - a * np.log1p(s / a)
    return np.asarray(constant + _log_gamma_rest(a) - rho + moved + np.log(gammainc(a, a + s)))


def mixture_boundary(v: Floats, rho: float, log_threshold: float) -> Floats:
    """Return the smallest sums at which :func:`log_mixture` reaches a threshold, by bisection from above.

    Parameters
    ----------
    v
        Summed variances, shape ``(k,)``.
    rho, log_threshold
        The mixture's parameter, and the logarithm of one over the probability to cross.
    """
    low, high = np.zeros_like(v), np.ones_like(v)
    while np.any(short := log_mixture(high, v, rho) < log_threshold):
        high = np.where(short, 2.0 * high, high)
    for _ in range(_N_BISECTIONS):
        middle = 0.5 * (low + high)
        short = log_mixture(middle, v, rho) < log_threshold
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def _check(n: int, mean: float, variance: float, alpha: float, lower: float, upper: float) -> None:
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        message = f"lower and upper must be finite and in this order, got {lower} and {upper}"
        raise ValueError(message)
    if not 0.0 < alpha < 1.0:
        message = f"alpha must be in (0, 1), got {alpha}"
        raise ValueError(message)
    if n < 0:
        message = f"n must be 0 or more, got {n}"
        raise ValueError(message)
    slack = 1e-9 * (upper - lower)
    if n and not lower - slack <= mean <= upper + slack:
        message = f"mean must be in [lower, upper] = [{lower}, {upper}], got {mean}: give the bounds of an observation"
        raise ValueError(message)
    if n and not -slack * (upper - lower) <= variance < math.inf:
        message = f"variance must be 0 or more and finite, got {variance}"
        raise ValueError(message)
