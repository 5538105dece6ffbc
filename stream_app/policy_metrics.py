"""The policy in ``/metrics``: its version, every arm's share, what the guardrails do, and rewards per group."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from stream_app.records.policy import PolicyState

_ARM_GAUGES = {
    "p_worse": "Probability that an arm earns less than the baseline",
    "held": "1 when an arm is held at the smallest share because of that",
    "share": "Share of slates that an arm gets, mean over the context cells",
}


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
    mean = GaugeMetricFamily("crossaisle_policy_group_reward_mean", "Mean reward of those slates", labels=labels)
    for group in state.groups:
        n.add_metric([group.group, group.arm], float(group.n))
        mean.add_metric([group.group, group.arm], group.mean)
    yield n
    yield mean
