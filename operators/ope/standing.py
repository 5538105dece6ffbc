"""Estimates from sums alone, equal to those of :func:`operators.ope.evaluate.evaluate` on the slates that were summed.

:mod:`operators.standing` says what is summed. The estimators are ips, snips and dr for slates as one choice each, with
intervals corrected for skewness.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from operators.ope.estimators import Estimator
from operators.ope.intervals import Spread, skew_corrected
from operators.ope.overlap import ROUNDING, is_low, is_off
from operators.standing import SLATES, VV, VVV, WR, WW, WWR, WWRR, WWW, WWWR, WWWRR, WWWRRR, V, W

if TYPE_CHECKING:
    from operators.ope.log import Floats

POOR_OVERLAP = frozenset({"no_overlap", "low_ess", "mean_weight"})
"""Warnings that say that the slates are too few of this arm, or not those that it would have filled."""

_NO_SPREAD = 1e-12
"""A variance this small, next to the mean square, is rounding."""


class StandingEstimate(NamedTuple):
    """What an arm would earn per slate, by one estimator; interval and standard error are NaN for a single slate."""

    estimator: Estimator
    value: float
    lower: float
    upper: float
    std_error: float


class Standing(NamedTuple):
    """What is known of an arm if it filled all slates.

    Attributes
    ----------
    n_slates
        Slates that it might have filled.
    effective_slates
        How many of its own they are worth (Kish).
    mean_weight
        Mean of their weights, 1 on average; 0 without slates.
    estimates
        None where no slate was of the arm.
    warnings
        Codes as :func:`operators.ope.overlap.cautions` has them, and ``no_spread``.
    """

    n_slates: int
    effective_slates: float
    mean_weight: float
    estimates: tuple[StandingEstimate, ...]
    warnings: tuple[str, ...]


def standing_of(sums: Floats, alpha: float = 0.05) -> Standing:
    """Return what follows from the sums of an arm.

    Parameters
    ----------
    sums
        Shape ``(N_STANDING,)``, float64; see :mod:`operators.standing`.
    alpha
        One minus the confidence of the intervals, in (0, 1).
    """
    s = [float(x) for x in sums]
    n = round(s[SLATES])
    if n <= 0 or s[W] <= 0.0:
        return Standing(max(n, 0), 0.0, 0.0, (), ("no_overlap",) if n > 0 else ())
    spreads = {Estimator.IPS: _ips(s, n), Estimator.SNIPS: _snips(s, n), Estimator.DR: _dr(s, n)}
    effective, mean_weight = s[W] * s[W] / s[WW], s[W] / n
    warnings = []
    if is_low(effective * (1.0 + ROUNDING), n):
        warnings.append("low_ess")
    if is_off(mean_weight - 1.0, math.sqrt(max(s[WW] / n - mean_weight**2, 0.0)), n):
        warnings.append("mean_weight")
    if n == 1:
        warnings.append("one_slate")
    elif any(spread.deviation == 0.0 for spread in spreads.values()):
        warnings.append("no_spread")
    estimates = tuple(_estimate(estimator, spread, alpha) for estimator, spread in spreads.items())
    return Standing(n, effective, mean_weight, estimates, tuple(warnings))


def _ips(s: list[float], n: int) -> Spread:
    return _spread(n, s[WR], s[WWRR], s[WWWRRR])


def _dr(s: list[float], n: int) -> Spread:
    return _spread(n, s[V], s[VV], s[VVV])


def _snips(s: list[float], n: int) -> Spread:
    """Return the spread of the linearised values, ``m + w (r - m) n / sum(w)`` with ``m`` the estimate."""
    m, scale = s[WR] / s[W], n / s[W]
    second = s[WWRR] - 2.0 * m * s[WWR] + m * m * s[WW]
    third = s[WWWRRR] - 3.0 * m * s[WWWRR] + 3.0 * m * m * s[WWWR] - m**3 * s[WWW]
    spread = _spread(n, 0.0, second * scale**2, third * scale**3, largest=s[WWRR] * scale**2)
    return spread._replace(mean=m)


def _spread(n: int, first: float, second: float, third: float, largest: float | None = None) -> Spread:
    """Return the spread of ``n`` values with these sums of powers.

    Parameters
    ----------
    largest
        The sum of squares before anything was taken from it, by which rounding is told; ``second`` if not given.
    """
    mean = first / n
    variance = second / n - mean * mean
    if n == 1 or variance <= _NO_SPREAD * (second if largest is None else largest) / n:
        return Spread(n, mean, 0.0, 0.0)
    deviation = math.sqrt(variance * n / (n - 1))
    centred = third / n - 3.0 * mean * second / n + 2.0 * mean**3
    return Spread(n, mean, deviation, centred / deviation**3)


def _estimate(estimator: Estimator, spread: Spread, alpha: float) -> StandingEstimate:
    if spread.n == 1:
        return StandingEstimate(estimator, spread.mean, math.nan, math.nan, math.nan)
    lower, upper = skew_corrected(spread, alpha)
    return StandingEstimate(estimator, spread.mean, lower, upper, spread.deviation / math.sqrt(spread.n))
