"""What ``crossaisle policy`` shows: the newest policy-state as rows, with intervals."""

from typing import TYPE_CHECKING, Any

from operators.confidence import confidence_sequence
from operators.policy_context import GROUPS
from operators.policy_posterior import Z95
from stream_app.decoding import decode_or_none
from stream_app.inspect import read_latest
from stream_app.policy_view import POLICY_STATE_KEY
from stream_app.records.policy import GroupState, PolicyState, decode_policy_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.settings import Settings


class NoPolicyError(LookupError):
    """No policy has been published; the message says when one is."""


async def read_policy(settings: "Settings") -> PolicyState:
    """Return the newest record of policy-state.

    Raises
    ------
    NoPolicyError
        There is none, or none that can be read.
    stream_app.inspect.UnknownIdError
        The topic does not exist.
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    newest: bytes | None = None
    async for record in read_latest(settings, settings.topic_policy_state):
        if record.key == POLICY_STATE_KEY:
            newest = record.value
    if newest is None:
        message = (
            f"topic {settings.topic_policy_state}: no policy yet; a worker publishes one soon after its first slates. "
            "Start one with: crossaisle worker"
        )
        raise NoPolicyError(message)
    state = decode_or_none(decode_policy_state, newest)
    if state is None:
        message = (
            f"topic {settings.topic_policy_state}: the newest policy cannot be read; ask with the version that wrote it"
        )
        raise NoPolicyError(message)
    return state


def policy_rows(state: PolicyState, alpha: float) -> "list[dict[str, Any]]":
    """Return what the command prints, one dict per row; ``kind`` says what it is.

    Parameters
    ----------
    alpha
        Probability that an interval of a group's mean is ever wrong, in (0, 1).

    Returns
    -------
    list of dict
        ``low`` and ``high`` of a group are None where the rewards were counted under a higher cap that is not known.
    """
    head = {"kind": "policy", "version": state.version, "as_of_ms": state.as_of_ms, "n_partitions": state.n_partitions}
    return [head, *_arm_rows(state), *_standing_rows(state), *_group_rows(state, alpha)]


def _arm_rows(state: PolicyState) -> "list[dict[str, Any]]":
    return [
        {
            "kind": "arm",
            "arm": arm.name,
            "baseline": k == 0,
            "n": arm.n,
            "mean": arm.mean,
            "low": arm.mean - Z95 * arm.deviation,
            "high": arm.mean + Z95 * arm.deviation,
            "p_worse": arm.p_worse,
            "held": arm.held,
            "share": sum(arm.shares) / max(len(arm.shares), 1),
        }
        for k, arm in enumerate(state.arms)
    ]


def _standing_rows(state: PolicyState) -> "list[dict[str, Any]]":
    return [
        {
            "kind": "ope",
            "arm": arm.arm,
            "estimator": found.estimator,
            "value": found.value,
            "low": found.lower,
            "high": found.upper,
            "std_error": found.std_error,
            "n": arm.n,
            "effective_n": arm.effective_n,
            "mean_weight": arm.mean_weight,
            "warnings": arm.warnings,
            "poor_overlap": arm.poor_overlap,
        }
        for arm in state.standing
        for found in arm.estimates
    ]


def _pooled(groups: "Sequence[GroupState]") -> tuple[int, float, float]:
    """Return number, mean and variance of several arms' slates together."""
    n = sum(g.n for g in groups)
    if n == 0:
        return 0, 0.0, 0.0
    mean = sum(g.n * g.mean for g in groups) / n
    square = sum(g.n * (g.variance + g.mean**2) for g in groups) / n
    return n, mean, max(square - mean**2, 0.0)


def _interval(pooled: tuple[int, float, float], alpha: float, cap: float) -> "tuple[float, float] | tuple[None, None]":
    """Return the confidence sequence of slates of this number, mean and variance; Nones where the cap cannot be theirs.

    Records from before statistics held their largest cap may have been counted under a higher one than that of today.
    """
    _, mean, variance = pooled
    if variance + mean**2 > cap**2 * (1.0 + 1e-9):
        return None, None
    return confidence_sequence(*pooled, alpha, -cap, cap)


def _difference(high: float | None, low: float | None) -> float | None:
    return None if high is None or low is None else high - low


def _group_rows(state: PolicyState, alpha: float) -> "list[dict[str, Any]]":
    cap = state.reward_cap
    rows: list[dict[str, Any]] = []
    halves: dict[str, tuple[float, float] | tuple[None, None]] = {}
    for name in GROUPS:
        members = [g for g in state.groups if g.group == name]
        pooled = _pooled(members)
        low, high = _interval(pooled, alpha, cap)
        halves[name] = _interval(pooled, alpha / 2, cap)
        n_pending = sum(g.n_pending for g in members)
        n_seen = sum(g.n_seen for g in members)
        row = {"kind": "group", "group": name, "n": pooled[0], "mean": pooled[1], "low": low, "high": high}
        rows.append({**row, "n_seen": n_seen, "n_pending": n_pending, "alpha": alpha})
        for g in members:
            low, high = _interval((g.n, g.mean, g.variance), alpha, cap)
            row = {"kind": "group_arm", "group": name, "arm": g.arm, "n": g.n, "mean": g.mean}
            rows.append({**row, "low": low, "high": high, "n_seen": g.n_seen, "n_pending": g.n_pending, "alpha": alpha})
    learned, holdout = (halves[name] for name in GROUPS)
    means = {row["group"]: row["mean"] for row in rows if row["kind"] == "group"}
    difference = {"kind": "difference", "of": "learned - holdout", "mean": means[GROUPS[0]] - means[GROUPS[1]]}
    ends = {"low": _difference(learned[0], holdout[1]), "high": _difference(learned[1], holdout[0])}
    rows.append({**difference, **ends, "alpha": alpha})
    return rows
