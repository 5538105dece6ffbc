"""Confidence intervals for an off-policy estimate, from one value per slate."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.ope.estimators import ratio_estimate

if TYPE_CHECKING:
    from operators.ope.estimators import RatioParts, Terms
    from operators.ope.log import Floats

_COUNTS_AT_ONCE = 4_000_000


class Interval(StrEnum):
    """The kinds of interval."""

    SKEW_CORRECTED = "skew-corrected"
    STUDENT_T = "student-t"
    BOOTSTRAP = "bootstrap"
    EMPIRICAL_BERNSTEIN = "empirical-bernstein"


Ends = tuple[float, float]


class Spread(NamedTuple):
    """What an interval for a mean follows from.

    Attributes
    ----------
    n
        Number of values, at least 2.
    mean, deviation
        Their mean and standard deviation (divided by ``n - 1``).
    skewness
        Mean of the third powers of what is off the mean, in deviations; 0 if all values are the same.
    """

    n: int
    mean: float
    deviation: float
    skewness: float


def spread_of(values: Floats) -> Spread:
    """Return the spread of values, shape ``(n,)``, at least 2."""
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    skewness = float(np.mean(((values - mean) / deviation) ** 3)) if deviation > 0.0 else 0.0
    return Spread(values.size, mean, deviation, skewness)


def student_t(spread: Spread, alpha: float) -> Ends:
    """Return Student's interval for the mean.

    Parameters
    ----------
    spread
        Of one value per slate.
    alpha
        One minus the confidence, in (0, 1).
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - a quarter of a second of a worker's start, which needs it later

    half = float(stdtrit(spread.n - 1, 1.0 - alpha / 2)) * spread.deviation / math.sqrt(spread.n)
    return spread.mean - half, spread.mean + half


def skew_corrected(spread: Spread, alpha: float) -> Ends:
    r"""Return Student's interval, widened where the values are skewed.

    Weighted rewards are many small values and few huge ones. Student's interval then misses too often, and always on
    the same side. Hall's transformation :math:`T + g T^2 / 3 + g^2 T^3 / 27 + g / 6n` of the standardised error, ``g``
    the skewness, removes the skewness to second order, and has an inverse. Each end is the outer one of Hall's and
    Student's.

    Parameters
    ----------
    spread
        Of one value per slate.
    alpha
        One minus the confidence, in (0, 1).

    References
    ----------
    .. [1] Hall (1992), Journal of the Royal Statistical Society B 54(1), "On the removal of skewness by
       transformation".
    """
    low, high = student_t(spread, alpha)
    n, mean, deviation, skewness = spread
    if deviation == 0.0 or abs(skewness) < 1e-9:  # noqa: PLR2004 - the inverse below divides by it
        return low, high
    from scipy.special import stdtrit  # noqa: PLC0415 - as above

    quantile = float(stdtrit(n - 1, 1.0 - alpha / 2)) / math.sqrt(n)

    def moved(y: float) -> float:
        return 3.0 / skewness * (math.cbrt(1.0 + skewness * (y - skewness / (6.0 * n))) - 1.0)

    return min(low, mean - deviation * moved(quantile)), max(high, mean - deviation * moved(-quantile))


def empirical_bernstein(values: Floats, alpha: float, value_range: float) -> Ends:
    r"""Return the interval of Maurer and Pontil, which holds at any number of slates.

    Its half width is :math:`\sqrt{2 s^2 \ln(4/\alpha) / n} + 7 R \ln(4/\alpha) / (3 (n - 1))`.

    Parameters
    ----------
    values
        One per slate, independent, shape ``(n_slates,)``, at least 2.
    alpha
        One minus the confidence, in (0, 1).
    value_range
        ``R``, the largest value possible less the smallest possible.

    References
    ----------
    .. [1] Maurer, Pontil (2009), COLT, "Empirical Bernstein bounds and sample variance penalization", theorem 4.
    """
    n, log_term = values.size, math.log(4.0 / alpha)
    half = math.sqrt(2.0 * float(values.var(ddof=1)) * log_term / n) + 7.0 * value_range * log_term / (3.0 * (n - 1))
    mean = float(values.mean())
    return mean - half, mean + half


def bootstrap(terms: Terms, alpha: float, *, seed: int, n_resamples: int) -> Ends:
    """Return the bias-corrected and accelerated bootstrap interval, over whole slates.

    Parameters
    ----------
    terms
        Of the estimate.
    alpha
        One minus the confidence, in (0, 1).
    seed
        Of the draws: the same seed, the same interval.
    n_resamples
        How many logs are drawn.

    References
    ----------
    .. [1] Efron (1987), JASA 82(397), "Better bootstrap confidence intervals".
    """
    from scipy.special import ndtr, ndtri  # noqa: PLC0415 - as above

    values = terms.values
    estimate = float(values.mean())
    deviations = values - estimate
    largest = float(np.abs(deviations).max())
    if largest == 0.0:
        return estimate, estimate
    deviations /= largest
    estimates = _resampled(terms, seed, n_resamples)
    below = (np.count_nonzero(estimates < estimate) + 0.5 * np.count_nonzero(estimates == estimate)) / n_resamples
    z0 = float(ndtri(min(max(below, 0.5 / n_resamples), 1.0 - 0.5 / n_resamples)))
    acceleration = float(np.sum(deviations**3)) / (6.0 * float(np.sum(deviations**2)) ** 1.5)

    def level(quantile: float) -> float:
        z = z0 + quantile
        stretch = 1.0 - acceleration * z
        return float(ndtr(z0 + z / stretch)) if stretch > 0.0 else float(z > 0.0)

    z = float(ndtri(1.0 - alpha / 2))
    low, high = np.quantile(estimates, [level(-z), level(z)])
    return float(low), float(high)


def _resampled(terms: Terms, seed: int, n_resamples: int) -> Floats:
    n = terms.values.size
    rng = np.random.default_rng(seed)
    step = max(1, _COUNTS_AT_ONCE // n)
    parts = []
    for start in range(0, n_resamples, step):
        k = min(step, n_resamples - start)
        draws = rng.integers(0, n, (k, n))
        parts.append(_estimates(terms.values, terms.ratio, draws))
    return np.concatenate(parts)


def _estimates(values: Floats, ratio: RatioParts | None, draws: np.ndarray) -> Floats:
    if ratio is None:
        return np.asarray(values[draws].mean(1))
    k, n = draws.shape
    counts = np.bincount((draws + n * np.arange(k)[:, None]).ravel(), minlength=k * n).reshape(k, n)
    return ratio_estimate(ratio, counts.astype(np.float64))


def value_range(terms: Terms, bounds: Ends | None) -> float:
    """Return the range for :func:`empirical_bernstein`: of the bounds if they are known, else of the values and 0."""
    if bounds is not None:
        return bounds[1] - bounds[0]
    return max(float(terms.values.max()), 0.0) - min(float(terms.values.min()), 0.0)
