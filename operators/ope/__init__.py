"""Off-policy evaluation: what a policy would have earned, estimated from a log of another policy's slates."""

from operators.ope.estimators import NEEDS_MODEL, NEEDS_WHOLE_SLATES, Estimator, EstimatorUnavailableError
from operators.ope.evaluate import Estimate, EvaluationParams, check_reward_range, evaluate
from operators.ope.intervals import Interval
from operators.ope.log import SlateLog, SlateLogError, slate_log
from operators.ope.overlap import Caution, Overlap

__all__ = [
    "NEEDS_MODEL",
    "NEEDS_WHOLE_SLATES",
    "Caution",
    "Estimate",
    "Estimator",
    "EstimatorUnavailableError",
    "EvaluationParams",
    "Interval",
    "Overlap",
    "SlateLog",
    "SlateLogError",
    "check_reward_range",
    "evaluate",
    "slate_log",
]
