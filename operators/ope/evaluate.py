"""Off-policy evaluation of a log: estimate, interval, and how far to trust them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.ope.estimators import NEEDS_MODEL, Estimator, terms
from operators.ope.intervals import (
    Interval,
    bootstrap,
    empirical_bernstein,
    skew_corrected,
    spread_of,
    student_t,
    value_range,
)
from operators.ope.log import SlateLogError
from operators.ope.overlap import Caution, Overlap, cautions, overlap

if TYPE_CHECKING:
    from operators.ope.estimators import Terms
    from operators.ope.log import SlateLog


@dataclass(frozen=True)
class EvaluationParams:
    """How to evaluate.

    Attributes
    ----------
    clip
        Largest weight, None for no limit.
    alpha
        One minus the confidence of the interval.
    interval
        Kind of interval.
    seed, n_resamples
        Of the bootstrap.
    reward_range
        Smallest and largest reward that a slot can earn, if it is known: with ``clip`` it makes empirical Bernstein
        intervals hold at any number of slates.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    clip: float | None = None
    alpha: float = 0.05
    interval: Interval = Interval.SKEW_CORRECTED
    seed: int = 0
    n_resamples: int = 2_000
    reward_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and not 0.0 < self.clip < math.inf:
            message = f"clip must be positive and finite, got {self.clip}"
            raise ValueError(message)
        if not 0.0 < self.alpha < 1.0:
            message = f"alpha must be in (0, 1), got {self.alpha}"
            raise ValueError(message)
        if self.n_resamples < 100:  # noqa: PLR2004 - fewer know nothing of the tails
            message = f"n_resamples must be 100 or more, got {self.n_resamples}"
            raise ValueError(message)
        if self.seed < 0:
            message = f"seed must be 0 or more, got {self.seed}"
            raise ValueError(message)
        if self.reward_range is not None and not -math.inf < self.reward_range[0] < self.reward_range[1] < math.inf:
            message = f"reward_range must be two finite numbers, the smaller one first, got {self.reward_range}"
            raise ValueError(message)


@dataclass(frozen=True)
class Estimate:
    """What a target policy earns per slate, estimated from a log.

    Attributes
    ----------
    estimator, interval, alpha
        What was asked for.
    value
        Estimated expected reward per slate, summed over its slots.
    lower, upper
        Ends of the interval; NaN if the log has one slate only.
    std_error
        Standard error of ``value``; NaN likewise.
    logged_value
        Mean reward per slate in the log: what the logging policy earned.
    n_slates, n_slots
        Size of the log.
    n_clipped
        Number of weights that were clipped.
    overlap
        How the weights are spread.
    cautions
        What makes the estimate less trustworthy.
    """

    estimator: Estimator
    interval: Interval
    alpha: float
    value: float
    lower: float
    upper: float
    std_error: float
    logged_value: float
    n_slates: int
    n_slots: int
    n_clipped: int
    overlap: Overlap
    cautions: tuple[Caution, ...]


def evaluate(log: SlateLog, estimator: Estimator, params: EvaluationParams) -> Estimate:
    """Estimate what the target policy earns per slate.

    Parameters
    ----------
    log
        The logged slates.
    estimator
        Which estimator.
    params
        Clipping and interval.

    Raises
    ------
    operators.ope.estimators.EstimatorUnavailableError
        The log lacks what the estimator needs.
    operators.ope.log.SlateLogError
        A reward (or a model's) is outside the range that ``params`` states.

    Examples
    --------
    >>> from operators.ope.log import slate_log
    >>> log = slate_log([0, 1, 2, 3], [0, 0, 0, 0], [0.5] * 4, [0.9, 0.1, 0.9, 0.1], [1.0, 0.0, 1.0, 1.0])
    >>> round(evaluate(log, Estimator.IPS, EvaluationParams()).value, 6)
    0.95
    """
    found = terms(log, estimator, clip=params.clip)
    check_reward_range(log, estimator, params)
    bounds = _bounds(log, estimator, params)
    spread = overlap(log, found)
    notes = cautions(log, found, spread)
    lower, upper, std_error = math.nan, math.nan, math.nan
    if log.n_slates > 1:
        lower, upper = _ends(found, bounds, params)
        std_error = float(found.values.std(ddof=1)) / math.sqrt(log.n_slates)
    return Estimate(
        estimator=estimator,
        interval=params.interval,
        alpha=params.alpha,
        value=float(found.values.mean()),
        lower=lower,
        upper=upper,
        std_error=std_error,
        logged_value=float(log.reward.sum()) / log.n_slates,
        n_slates=log.n_slates,
        n_slots=log.n_slots,
        n_clipped=found.n_clipped,
        overlap=spread,
        cautions=(*notes, *_interval_cautions(found, estimator, bounds, params)),
    )


def _ends(found: Terms, bounds: tuple[float, float] | None, params: EvaluationParams) -> tuple[float, float]:
    if params.interval is Interval.STUDENT_T:
        return student_t(spread_of(found.values), params.alpha)
    if params.interval is Interval.BOOTSTRAP:
        return bootstrap(found, params.alpha, seed=params.seed, n_resamples=params.n_resamples)
    if params.interval is Interval.EMPIRICAL_BERNSTEIN:
        return empirical_bernstein(found.values, params.alpha, value_range(found, bounds))
    return skew_corrected(spread_of(found.values), params.alpha)


def check_reward_range(log: SlateLog, estimator: Estimator, params: EvaluationParams) -> None:
    """Check that rewards, and those of the model if it is used, are in the stated range.

    Raises
    ------
    operators.ope.log.SlateLogError
        One is outside.
    """
    if params.reward_range is None:
        return
    columns = [("reward", log.reward, params.reward_range)]
    if estimator in NEEDS_MODEL and log.q_logged is not None and log.q_target is not None:
        model_range = _model_range(log, estimator, params.reward_range)
        columns += [("q_logged", log.q_logged, model_range), ("q_target", log.q_target, model_range)]
    for name, column, (low, high) in columns:
        outside = np.flatnonzero((column < low) | (column > high))
        if outside.size:
            got = f"got {column[outside[0]]:g}"
            message = f"{name} must be in [{low:g}, {high:g}] by the stated reward range, {got}; state a wider one"
            raise SlateLogError(message, int(log.row[outside[0]]))


def _model_range(log: SlateLog, estimator: Estimator, reward_range: tuple[float, float]) -> tuple[float, float]:
    """Return what a model may say: for cascade-dr it may count the slots below, too."""
    low, high = reward_range
    if estimator is not Estimator.CASCADE_DR:
        return low, high
    n = int(log.rank().max()) + 1
    return min(low, n * low), max(high, n * high)


def _bounds(log: SlateLog, estimator: Estimator, params: EvaluationParams) -> tuple[float, float] | None:
    """Return between which values a slate's must lie, None if that is not known."""
    if params.reward_range is None or params.clip is None or estimator is Estimator.SNIPS:
        return None
    (low, high), clip, n = params.reward_range, params.clip, int(log.rank().max()) + 1
    slot = clip * min(low, 0.0), clip * max(high, 0.0)
    if estimator in NEEDS_MODEL:
        q_low, q_high = _model_range(log, estimator, params.reward_range)
        slot = clip * min(low - q_high, 0.0), clip * max(high - q_low, 0.0)
        if estimator is Estimator.CASCADE_DR:  # the weight of the slot above multiplies the model: 0 to clip, or 1
            above = max(clip, 1.0)
            q_low, q_high = above * min(q_low, 0.0), above * max(q_high, 0.0)
        slot = slot[0] + q_low, slot[1] + q_high
    return n * min(slot[0], 0.0), n * max(slot[1], 0.0)


def _interval_cautions(
    found: Terms, estimator: Estimator, bounds: tuple[float, float] | None, params: EvaluationParams
) -> list[Caution]:
    n = found.values.size
    if n == 1:
        return [Caution("one_slate", "one slate has no spread: there is no interval")]
    if found.values.max() == found.values.min():
        return [Caution("no_spread", "all slates have the same value: the interval says nothing")]
    if params.interval is Interval.EMPIRICAL_BERNSTEIN and bounds is None:
        if estimator is Estimator.SNIPS:
            message = "empirical Bernstein is for means, snips is a ratio: its interval is approximate"
        else:
            message = (
                "the range was taken from the log, where the largest weights may be missing: state clip and "
                "reward range for an interval that holds at any number of slates"
            )
        return [Caution("range_from_log", message)]
    return []
