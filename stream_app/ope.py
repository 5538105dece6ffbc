"""Runs the off-policy estimators that a log allows, for each group of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from operators.ope import (
    Estimate,
    Estimator,
    EstimatorUnavailableError,
    EvaluationParams,
    SlateLogError,
    check_reward_range,
    evaluate,
)
from stream_app.ope_log import FileLog, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class GroupEstimate:
    """An estimate of one group of a log.

    Attributes
    ----------
    group
        The group's value, None for the whole log.
    estimate
        The estimate.
    n_slots
        Slots of the group: those at its position where the log is divided by position.
    """

    group: str | None
    estimate: Estimate
    n_slots: int

    def to_record(self, group_by: str | None, clip: float | None) -> dict[str, Any]:
        """Return the estimate as a flat record for scripts; what is not a number is None."""
        found = self.estimate
        spread = found.overlap
        return {
            "estimator": str(found.estimator),
            "group_by": group_by,
            "group": self.group,
            "value": found.value,
            "lower": _finite(found.lower),
            "upper": _finite(found.upper),
            "std_error": _finite(found.std_error),
            "interval": str(found.interval),
            "alpha": found.alpha,
            "clip": clip,
            "logged_value": found.logged_value,
            "value_per_slot": found.value * found.n_slates / self.n_slots,
            "n_slates": found.n_slates,
            "n_slots": self.n_slots,
            "ess": spread.ess,
            "ess_share": spread.ess_share,
            "max_weight": _finite(spread.max_weight),
            "mean_weight": _finite(spread.mean_weight),
            "max_slate_share": spread.max_slate_share,
            "min_propensity": spread.min_propensity,
            "zero_target_share": spread.zero_target_share,
            "n_clipped": found.n_clipped,
            "warnings": [{"code": caution.code, "message": caution.message} for caution in found.cautions],
        }


@dataclass(frozen=True)
class Evaluation:
    """All estimates of a log.

    Attributes
    ----------
    estimates
        By group, then by estimator.
    left_out
        Which estimators were not run, and why, in words.
    """

    estimates: list[GroupEstimate]
    left_out: list[str]


def evaluate_log(source: FileLog, estimators: Sequence[Estimator] | None, params: EvaluationParams) -> Evaluation:
    """Evaluate a log.

    Parameters
    ----------
    source
        The log.
    estimators
        Which ones; None for those that the log allows.
    params
        Clipping and interval.

    Raises
    ------
    LogError
        An estimator that was asked for cannot be computed, or a reward is outside the stated range.
    """
    estimates, left_out = [], list[str]()
    within = params
    if source.group is None and source.groups is not None and params.reward_range is not None:
        low, high = params.reward_range  # by position, the other slots count 0
        within = replace(params, reward_range=(min(low, 0.0), max(high, 0.0)))
    for group, log, n_slots in source.parts():
        for estimator in estimators or tuple(Estimator):
            try:
                check_reward_range(source.log, estimator, params)
                estimates.append(GroupEstimate(group, evaluate(log, estimator, within), n_slots))
            except EstimatorUnavailableError as error:
                message = f"{source.where(error.row)}: {error}" if error.row is not None else str(error)
                if estimators is not None:
                    raise LogError(message if error.row is not None else f"{source.path}: {message}") from error
                reason = message if group is None or error.row is None else f"{group}: {message}"
                if reason not in left_out:
                    left_out.append(reason)
            except SlateLogError as error:
                message = f"{source.where(error.row)}: {error}"
                raise LogError(message) from error
    return Evaluation(estimates, left_out)


def _finite(number: float) -> float | None:
    return number if abs(number) < float("inf") else None
