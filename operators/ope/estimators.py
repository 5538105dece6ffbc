r"""Off-policy estimators of what a target policy earns per slate, from a log of another policy's slates.

All estimate the same number: the expected sum of rewards over the slots of a slate, had the target policy filled it.
With :math:`w_k = \pi(a_k | a_{<k}) / \pi_0(a_k | a_{<k})` the ratio of target and logging propensity of slot ``k``,
:math:`w_{1:k} = \prod_{j \le k} w_j`, and :math:`r_k` its reward, they are means over the logged slates of

============  ==========================================================================================
ips           :math:`\sum_k w_k r_k`
snips         as ips, with the weights of each position divided by their mean
dr            :math:`\sum_k (\bar q_k + w_k (r_k - q_k))`
slate-ips     :math:`w_{1:K} \sum_k r_k`
rips          :math:`\sum_k w_{1:k} r_k`
cascade-dr    :math:`\sum_k (w_{1:k-1} \bar q_k + w_{1:k} (r_k - q_k))`
============  ==========================================================================================

They differ in what they take for granted about slots. slate-ips: nothing. rips and cascade-dr: a slot's reward depends
on the slots above it, not on those below. ips, snips and dr: it depends on its own item alone, and what a slot's
propensities are does not depend on the slots above it either; where no item comes twice it does, and they are biased.

References
----------
.. [1] Horvitz, Thompson (1952), JASA 47(260), "A generalization of sampling without replacement from a finite
   universe".
.. [2] Swaminathan, Joachims (2015), NIPS, "The self-normalized estimator for counterfactual learning".
.. [3] Dudík, Langford, Li (2011), ICML, "Doubly robust policy evaluation and learning".
.. [4] Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay, Wen (2018), KDD, "Offline evaluation of ranking policies with
   click models".
.. [5] McInerney, Brost, Chandar, Mehrotra, Carterette (2020), KDD, "Counterfactual evaluation of slate recommendations
   with sequential reward interactions".
.. [6] Kiyohara, Saito, Matsuhiro, Narita, Shimizu, Yamamoto (2022), WSDM, "Doubly robust off-policy evaluation for
   ranking policies under the cascade behavior model".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from operators.ope.log import LARGEST, Floats, SlateLog


class Estimator(StrEnum):
    """The estimators, by the names that they have in the field."""

    IPS = "ips"
    SNIPS = "snips"
    DR = "dr"
    SLATE_IPS = "slate-ips"
    RIPS = "rips"
    CASCADE_DR = "cascade-dr"


NEEDS_MODEL = frozenset({Estimator.DR, Estimator.CASCADE_DR})
"""Estimators that need ``q_logged`` and ``q_target``."""

NEEDS_WHOLE_SLATES = frozenset({Estimator.SLATE_IPS, Estimator.RIPS, Estimator.CASCADE_DR})
"""Estimators that multiply the ratios of slots, and so need every slot above a logged one."""


class EstimatorUnavailableError(ValueError):
    """The log lacks what an estimator needs; the message says what, and the remedy.

    Attributes
    ----------
    row
        Where the first thing that lacks stood in the log as it was given, None if it lacks altogether.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class RatioParts:
    """What a self-normalised estimate is the ratio of, by slate and position: arrays of shape ``(n_slates, n)``.

    Attributes
    ----------
    weighted
        Weight times reward.
    weights
        Weights; 0 where the slate has no such position.
    present
        1 where the slate has the position, 0 where not.
    """

    weighted: Floats
    weights: Floats
    present: Floats


@dataclass(frozen=True)
class Terms:
    """What an estimate is made of.

    Attributes
    ----------
    values
        One value per slate, shape ``(n_slates,)``; their mean is the estimate. For snips these are linearised: their
        spread is that of the estimate to first order.
    weights
        The weights, not clipped: per slot, or for slate-ips per slate.
    slate
        To which slate each weight belongs, of the same shape.
    n_clipped
        Number of weights that were clipped.
    ratio
        Parts of the ratio, for snips.
    """

    values: Floats
    weights: Floats
    slate: np.ndarray
    n_clipped: int
    ratio: RatioParts | None = None


def slot_ratios(log: SlateLog) -> Floats:
    """Return target over logging propensity of each slot, shape ``(n_slots,)``; infinite where that overflows."""
    with np.errstate(over="ignore"):
        return log.target_propensity / log.propensity


def cumulative_ratios(log: SlateLog) -> Floats:
    """Return the product of the ratios of each slot and of those above it, shape ``(n_slots,)``."""
    ratios, rank = slot_ratios(log), log.rank()
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(1, int(rank.max()) + 1):
            here = np.flatnonzero(rank == k)
            ratios[here] = np.where(ratios[here] == 0.0, 0.0, ratios[here - 1] * ratios[here])
    return np.nan_to_num(ratios, nan=0.0, posinf=np.inf)  # infinite times 0 below it: the slate has probability 0


def terms(log: SlateLog, estimator: Estimator, *, clip: float | None = None) -> Terms:
    """Return what an estimate is made of.

    Parameters
    ----------
    log
        The logged slates.
    estimator
        Which estimator.
    clip
        Largest weight, positive; larger ones are set to it. For ips, snips and dr this is the ratio of one slot, for
        the others the product that multiplies a reward.

    Raises
    ------
    EstimatorUnavailableError
        The log has no model (dr, cascade-dr), has gaps in slates (slate-ips, rips, cascade-dr), or a weight overflows.
    """
    _check_available(log, estimator)
    weights = slot_ratios(log) if estimator not in NEEDS_WHOLE_SLATES else cumulative_ratios(log)
    slots = np.arange(log.n_slots)
    if estimator is Estimator.SLATE_IPS:
        slots = np.flatnonzero(np.diff(log.slate, append=log.n_slates))
    weights, slate = weights[slots], log.slate[slots]
    clipped = weights if clip is None else np.minimum(weights, clip)
    if np.any(clipped > LARGEST):
        row = int(log.row[slots[np.flatnonzero(clipped > LARGEST)[0]]])
        message = "a weight is too large for a number, propensities are tiny: clip weights, or log with a higher floor"
        raise EstimatorUnavailableError(message, row)
    n_clipped = int(np.count_nonzero(weights > clipped))
    weights = np.minimum(weights, LARGEST)
    if estimator is Estimator.SNIPS:
        values, ratio = _self_normalised(log, clipped)
        return Terms(values, weights, slate, n_clipped, ratio)
    return Terms(_linear(log, estimator, clipped), weights, slate, n_clipped)


def _check_available(log: SlateLog, estimator: Estimator) -> None:
    if estimator in NEEDS_MODEL and log.q_logged is None:
        message = f"{estimator} needs the columns q_logged and q_target"
        raise EstimatorUnavailableError(message)
    if estimator in NEEDS_WHOLE_SLATES and log.first_gap is not None:
        message = (
            f"{estimator} needs whole slates, but the slot above position {log.position[log.first_gap]} is missing; "
            "log every slot that was drawn, or use ips, snips or dr"
        )
        raise EstimatorUnavailableError(message, int(log.row[log.first_gap]))


def _linear(log: SlateLog, estimator: Estimator, weights: Floats) -> Floats:
    if estimator is Estimator.SLATE_IPS:
        return weights * log.per_slate(log.reward)
    if log.q_logged is None or log.q_target is None or estimator not in NEEDS_MODEL:
        return log.per_slate(weights * log.reward)
    above: Floats | float = 1.0
    if estimator is Estimator.CASCADE_DR:
        above = np.where(log.rank() == 0, 1.0, np.roll(weights, 1))
    return log.per_slate(above * log.q_target + weights * (log.reward - log.q_logged))


def _self_normalised(log: SlateLog, weights: Floats) -> tuple[Floats, RatioParts]:
    column = np.unique(log.position, return_inverse=True)[1]
    shape = (log.n_slates, int(column.max()) + 1)
    parts = RatioParts(np.zeros(shape), np.zeros(shape), np.zeros(shape))
    parts.weighted[log.slate, column] = weights * log.reward
    parts.weights[log.slate, column] = weights
    parts.present[log.slate, column] = 1.0
    summed, n_present = parts.weights.sum(0), parts.present.sum(0)
    if np.any(summed == 0.0):
        row = int(log.row[np.flatnonzero(column == np.flatnonzero(summed == 0.0)[0])[0]])
        message = (
            "snips has nothing to normalise by: all weights of a position are zero, the target policy never does "
            "there what the log holds; use ips"
        )
        raise EstimatorUnavailableError(message, row)
    means = parts.weighted.sum(0) / summed
    values = parts.present @ means + (parts.weighted - parts.weights * means) @ (n_present / summed)
    return values, parts


def ratio_estimate(parts: RatioParts, counts: Floats) -> Floats:
    """Return the self-normalised estimate of resampled logs.

    Parameters
    ----------
    parts
        Of the log.
    counts
        How often each slate was drawn, shape ``(n_resamples, n_slates)``.

    Returns
    -------
    ndarray
        One estimate per resample, shape ``(n_resamples,)``. A position whose weights are all zero adds nothing.
    """
    weighted, weights, present = counts @ parts.weighted, counts @ parts.weights, counts @ parts.present
    means = np.divide(weighted, weights, out=np.zeros_like(weighted), where=weights > 0.0)
    return np.asarray((means * present).sum(1) / counts.sum(1))
