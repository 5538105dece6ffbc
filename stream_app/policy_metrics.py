"""The policy in ``/metrics``: version, shares, guardrails, rewards per group, and what an arm would earn by itself."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric

from operators.ope import Estimator
from operators.policy_posterior import Z95

if TYPE_CHECKING:
    from stream_app.records.policy import PolicyState, StandingState

_ARM_GAUGES = {
    "p_worse": "Probability that an arm earns less than the baseline",
    "held": "1 when an arm is held at the smallest share, for it probably earns less than the baseline",
    "share": "Share of slates that an arm gets, mean over the context cells",
}


class ArmReport(NamedTuple):
    """What a policy's arm has earned so far, over all partitions."""

    name: str
    n_slates: float
    """Slates it filled."""
    reward: float
    """Mean reward of a slate."""
    low: float
    """Lower end of the interval of the mean."""
    high: float
    """Upper end."""
    standing: float | None = None
    """Estimate of what it would earn per slate if it filled all of them; None where there is none to trust."""
    standing_low: float | None = None
    """Lower end of that estimate's interval."""
    standing_high: float | None = None
    """Upper end."""


def arm_reports(state: "PolicyState") -> list[ArmReport]:
    """Return the arms with 95 % intervals: of their posteriors, and of what they would earn in all slates (snips)."""
    slates = {arm.name: 0 for arm in state.arms}
    for group in state.groups:
        slates[group.arm] = slates.get(group.arm, 0) + group.n + group.n_pending
    trusted = (arm for arm in state.standing if not arm.poor_overlap)
    found = {arm.arm: e for arm in trusted for e in arm.estimates if e.estimator == Estimator.SNIPS}
    reports = []
    for arm in state.arms:
        half = Z95 * arm.deviation
        report = ArmReport(arm.name, float(slates[arm.name]), arm.mean, arm.mean - half, arm.mean + half)
        if (estimate := found.get(arm.name)) is not None:
            report = report._replace(standing=estimate.value, standing_low=estimate.lower, standing_high=estimate.upper)
        reports.append(report)
    return reports


def policy_metrics(version: int, state: "PolicyState | None") -> Iterable[Metric]:
    """Yield the metric families of the policy that a worker follows; only its version before there is a record."""
    yield GaugeMetricFamily("crossaisle_policy_version", "Version of the policy that is followed", value=float(version))
    if state is None:
        return
    for name, text in _ARM_GAUGES.items():
        gauge = GaugeMetricFamily(f"crossaisle_policy_{name}", text, labels=["arm"])
        for arm in state.arms:
            values = {
                "p_worse": arm.p_worse,
                "held": float(arm.held),
                "share": sum(arm.shares) / max(len(arm.shares), 1),
            }
            gauge.add_metric([arm.name], values[name])
        yield gauge
    labels = ["group", "arm"]
    n = GaugeMetricFamily("crossaisle_policy_group_slates", "Slates that can earn nothing more", labels=labels)
    text = "Mean reward of the slates that can earn nothing more"
    mean = GaugeMetricFamily("crossaisle_policy_group_reward_mean", text, labels=labels)
    for group in state.groups:
        n.add_metric([group.group, group.arm], float(group.n))
        mean.add_metric([group.group, group.arm], group.mean)
    yield n
    yield mean
    yield from _standing_metrics(state.standing)


def _standing_metrics(arms: "Iterable[StandingState]") -> Iterable[Metric]:
    slates = GaugeMetricFamily("crossaisle_ope_slates", "Slates that an arm's estimate is made of", labels=["arm"])
    effective = GaugeMetricFamily(
        "crossaisle_ope_effective_slates", "How many slates of its own an arm's estimate is worth", labels=["arm"]
    )
    poor = GaugeMetricFamily(
        "crossaisle_ope_poor_overlap",
        "1 when an arm filled too few slates for its estimate to be trusted",
        labels=["arm"],
    )
    labels = ["arm", "estimator"]
    text = "Estimated reward of a slate if an arm filled all of them"
    value = GaugeMetricFamily("crossaisle_ope_value", text, labels=labels)
    text = "end of the 95 % interval of crossaisle_ope_value"
    lower = GaugeMetricFamily("crossaisle_ope_value_lower", f"Lower {text}", labels=labels)
    upper = GaugeMetricFamily("crossaisle_ope_value_upper", f"Upper {text}", labels=labels)
    for arm in arms:
        slates.add_metric([arm.arm], float(arm.n))
        effective.add_metric([arm.arm], arm.effective_n)
        poor.add_metric([arm.arm], float(arm.poor_overlap))
        for found in arm.estimates:
            for family, number in ((value, found.value), (lower, found.lower), (upper, found.upper)):
                if number is not None:
                    family.add_metric([arm.arm, found.estimator], number)
    yield from (slates, effective, poor, value, lower, upper)
