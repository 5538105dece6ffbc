"""How well a log covers a target policy: effective sample size, weights, and warnings in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from operators.ope.estimators import Terms
    from operators.ope.log import Floats, SlateLog

MIN_ESS_SHARE = 0.1
MIN_ESS = 50.0
MAX_SLATE_SHARE = 0.05
SMALL_PROPENSITY = 1e-3
MAX_MEAN_WEIGHT_Z = 4.0
ROUNDING = 1e-6
"""Means of weights this near to 1 are 1."""


@dataclass(frozen=True)
class Caution:
    """Something that makes an estimate less trustworthy.

    Attributes
    ----------
    code
        Machine-readable name.
    message
        A sentence with the numbers and the remedy.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Overlap:
    """How the weights of an estimate are spread.

    Attributes
    ----------
    ess
        Effective sample size in slates: what the log is worth as if the target policy had logged it itself.
    ess_share
        ``ess`` by number of slates, in [0, 1].
    max_weight, mean_weight
        Largest and mean weight before clipping. The mean is 1 on average where logged propensities are right and the
        log can hold all that the target policy does.
    max_slate_share
        Share of all weight that the weightiest slate has, in [0, 1].
    min_propensity
        Smallest logging propensity.
    zero_target_share
        Share of slots that the target policy never fills so.
    """

    ess: float
    ess_share: float
    max_weight: float
    mean_weight: float
    max_slate_share: float
    min_propensity: float
    zero_target_share: float


def effective_share(weights: Floats) -> float:
    r"""Return Kish's effective sample size by sample size, :math:`(\sum w)^2 / (n \sum w^2)`; 0 if all weights are.

    Parameters
    ----------
    weights
        Weights, at least 0, shape ``(n,)``.

    References
    ----------
    .. [1] Kish (1965), "Survey Sampling", Wiley.
    """
    largest = float(weights.max())
    if largest == 0.0:
        return 0.0
    scaled = weights / largest  # squares of large weights would overflow
    return float(scaled.mean() ** 2 / np.mean(scaled**2))


def is_low(ess: float, n: int) -> bool:
    """Tell whether an effective sample size is too small to trust estimates of ``n`` slates."""
    return ess < max(MIN_ESS_SHARE * n, min(MIN_ESS, n))


def is_off(distance: float, deviation: float, n: int) -> bool:
    """Tell whether the mean of ``n`` weights is further from 1 than chance explains.

    Parameters
    ----------
    distance
        Mean less 1.
    deviation
        Standard deviation of the weights (divided by ``n``).
    """
    return abs(distance) > max(MAX_MEAN_WEIGHT_Z * deviation / math.sqrt(n), ROUNDING)


def overlap(log: SlateLog, terms: Terms) -> Overlap:
    """Return how the weights of an estimate on a log are spread."""
    weights = terms.weights
    per_slate = np.bincount(terms.slate, weights=weights, minlength=log.n_slates)
    total = float(per_slate.sum())
    share = effective_share(weights)
    return Overlap(
        ess=share * log.n_slates,
        ess_share=share,
        max_weight=float(weights.max()),
        mean_weight=float(weights.mean()),
        max_slate_share=float(per_slate.max()) / total if total else 0.0,
        min_propensity=float(log.propensity.min()),
        zero_target_share=float(np.mean(log.target_propensity == 0.0)),
    )


def cautions(log: SlateLog, terms: Terms, found: Overlap) -> list[Caution]:
    """Return what makes the estimate less trustworthy, the worst first; nothing if it may be trusted."""
    out = []
    n = log.n_slates
    if found.mean_weight == 0.0:
        message = "the target policy never does what the log holds: the log says nothing about it"
        return [Caution("no_overlap", message)]
    if is_low(found.ess, n):
        message = (
            f"the log is worth {found.ess:,.1f} of its {n:,} slates ({found.ess_share:.1%}) for this target: take an "
            "estimator with lower variance, clip, or log more with a policy nearer to the target"
        )
        out.append(Caution("low_ess", message))
    if found.max_slate_share > max(MAX_SLATE_SHARE, 2.0 / n):
        message = f"one slate has {found.max_slate_share:.1%} of all weight (largest weight {found.max_weight:,.4g})"
        out.append(Caution("large_weight", message))
    out += _support(terms, found)
    n_small = int(np.count_nonzero(log.propensity < SMALL_PROPENSITY))
    if n_small:
        message = (
            f"{n_small:,} of {log.n_slots:,} slots have a propensity below {SMALL_PROPENSITY:g} (smallest "
            f"{found.min_propensity:.3g}): rare draws with large weights decide; log with a higher floor"
        )
        out.append(Caution("small_propensity", message))
    if terms.n_clipped:
        message = (
            f"{terms.n_clipped / terms.weights.size:.2%} of the weights were clipped: estimate and interval are of the "
            "clipped mean, which with rewards of 0 or more is below the target's value"
        )
        out.append(Caution("clipped", message))
    return out


def _support(terms: Terms, found: Overlap) -> list[Caution]:
    """Warn when the mean of the weights is further from 1 than chance explains."""
    n = int(terms.slate[-1]) + 1
    errors = np.bincount(terms.slate, weights=terms.weights - 1.0, minlength=n)
    distance = float(errors.mean())
    if is_off(distance, float(errors.std()), n) and abs(found.mean_weight - 1.0) > ROUNDING:
        message = (
            f"the weights average {found.mean_weight:.3g}, not 1: the target policy does what the log cannot hold, "
            "or a logged propensity is wrong; snips corrects for it in part"
        )
        return [Caution("mean_weight", message)]
    return []
