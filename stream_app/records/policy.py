"""Records of the policy: what a partition has observed, and what the policy agent makes of all partitions."""

from typing import Annotated

import msgspec

POLICY_FORMAT_VERSION = 1
"""Format of both records."""


class StandingStatistics(msgspec.Struct, frozen=True):
    """What one partition knows of "always this arm", summed over the slates of the group that learns, without weights.

    Attributes
    ----------
    since
        Offset plus 1 of the first slate that is counted; 0 before there is one.
    final
        Sums of slates that can earn nothing more; :mod:`operators.standing` names them in their order.
    open
        The same of each of the last four periods, which are not final; period ``b`` stands at ``b % 4``.
    """

    since: Annotated[int, msgspec.Meta(ge=0, description="Offset plus 1 of the first slate counted; 0 before one.")]
    final: Annotated[list[float], msgspec.Meta(description="Sums of slates gone by.")]
    open: Annotated[list[list[float]], msgspec.Meta(description="Sums of the last four periods.")]


class ArmStatistics(msgspec.Struct, frozen=True):
    """What one partition has observed of one arm.

    Attributes
    ----------
    cells
        Per context cell: decayed number of slates, sum of their rewards, sum of the squares.
    final
        Per group: number of slates that can earn nothing more, sum of their rewards, sum of the squares, and how many
        of them somebody saw.
    open
        Per group, the same of each of the last four periods, which are not final; period ``b`` stands at ``b % 4``.
    standing
        For the estimate of what it would earn if it filled all slates; None in records from before there was one.
    """

    cells: Annotated[list[tuple[float, float, float]], msgspec.Meta(description="Decayed sums per context cell.")]
    final: Annotated[
        dict[str, tuple[float, float, float, float]], msgspec.Meta(description="Sums per group, of slates gone by.")
    ]
    open: Annotated[
        dict[str, list[tuple[float, float, float, float]]],
        msgspec.Meta(description="Sums per group of the last four periods."),
    ]
    standing: Annotated[
        StandingStatistics | None, msgspec.Meta(description="Sums for its off-policy estimate, without weights.")
    ] = None


class PolicyStatistics(msgspec.Struct, frozen=True):
    """All that one partition has observed, cumulative: the newest record of a partition replaces the ones before it.

    Attributes
    ----------
    format_version
        Version of this record.
    partition
        Partition of the events topic.
    as_of_s
        Time of the newest slate, which weighs 1 in ``cells``, in seconds since 2000 UTC; 0 before the first. In records
        of earlier versions up to 20 half-lives before that.
    half_life_days
        Half-life of an observation's weight, in days.
    window_s
        Length of a period, in seconds: the attribution window.
    period
        Number of the newest period: its slates' time divided by ``window_s``.
    arms
        By the arm's name.
    reward_cap
        Every counted slate's reward lies between this and its negative: the largest cap that rewards were held by; 0 in
        records from before there was this field.
    """

    format_version: Annotated[int, msgspec.Meta(description="Version of this record.")]
    partition: Annotated[int, msgspec.Meta(description="Partition of the events topic.")]
    as_of_s: Annotated[
        int, msgspec.Meta(description="Time of the newest slate, which weighs 1, seconds since 2000 UTC.")
    ]
    half_life_days: Annotated[float, msgspec.Meta(gt=0, description="Half-life of an observation's weight.")]
    window_s: Annotated[int, msgspec.Meta(ge=1, description="Length of a period in seconds.")]
    period: Annotated[int, msgspec.Meta(description="Number of the newest period.")]
    arms: Annotated[dict[str, ArmStatistics], msgspec.Meta(description="By the arm's name.")]
    reward_cap: Annotated[float, msgspec.Meta(ge=0, description="The largest cap that its rewards were held by.")] = 0.0


class ArmState(msgspec.Struct, frozen=True):
    """One arm: what it is, what it has earned, and how often it fills slates.

    Attributes
    ----------
    name, temperature, epsilon, discovery_slots, category_cap
        See :class:`operators.arms.Arm`.
    n
        Decayed number of its slates.
    mean, deviation
        Posterior of a slate's reward over the contexts as they occur.
    p_worse
        Probability that it earns less than the baseline.
    held
        Whether it is held at the smallest share because of that.
    shares
        Probability of being chosen, per context cell.
    cell_means
        Posterior mean of a slate's reward, per context cell; empty in records from before there was this field.
    """

    name: Annotated[str, msgspec.Meta(description="Its name.")]
    temperature: Annotated[float, msgspec.Meta(description="Of the draw; 0 takes the best.")]
    epsilon: Annotated[float, msgspec.Meta(description="Share of uniform draws.")]
    discovery_slots: Annotated[int, msgspec.Meta(description="Slots kept for items the user never had.")]
    category_cap: Annotated[
        int, msgspec.Meta(description="Items of one category at the most, more where categories are few; 0 is no cap.")
    ]
    n: Annotated[float, msgspec.Meta(description="Decayed number of its slates.")]
    mean: Annotated[float, msgspec.Meta(description="Posterior mean of a slate's reward.")]
    deviation: Annotated[float, msgspec.Meta(description="Posterior standard deviation of that mean.")]
    p_worse: Annotated[float, msgspec.Meta(description="Probability that it earns less than the baseline.")]
    held: Annotated[bool, msgspec.Meta(description="Held at the smallest share because of that.")]
    shares: Annotated[list[float], msgspec.Meta(description="Probability of being chosen, per context cell.")]
    cell_means: Annotated[
        list[float], msgspec.Meta(description="Posterior mean of a slate's reward, per context cell.")
    ] = []


class GroupState(msgspec.Struct, frozen=True):
    """What the slates of one arm in one group have earned, without weights.

    Attributes
    ----------
    group, arm
        ``learned`` or ``holdout``; the arm's name.
    n, n_seen, mean, variance
        Slates that can earn nothing more, how many of them somebody saw, mean and variance of their rewards.
    n_pending, pending_mean
        Slates that may still earn something, and the mean of what they have earned so far.
    """

    group: Annotated[str, msgspec.Meta(description="learned or holdout.")]
    arm: Annotated[str, msgspec.Meta(description="The arm's name.")]
    n: Annotated[int, msgspec.Meta(description="Slates that can earn nothing more.")]
    n_seen: Annotated[int, msgspec.Meta(description="How many of them somebody saw.")]
    mean: Annotated[float, msgspec.Meta(description="Mean of their rewards.")]
    variance: Annotated[float, msgspec.Meta(description="Variance of their rewards.")]
    n_pending: Annotated[int, msgspec.Meta(description="Slates that may still earn something.")]
    pending_mean: Annotated[float, msgspec.Meta(description="Mean of what those have earned so far.")]


class EstimateState(msgspec.Struct, frozen=True):
    """An off-policy estimate of what an arm would earn per slate.

    Attributes
    ----------
    estimator
        ``ips``, ``snips`` or ``dr``.
    value
        Estimated reward of a slate.
    lower, upper, std_error
        Its 95 % interval and its standard error; None for a single slate.
    """

    estimator: Annotated[str, msgspec.Meta(description="ips, snips or dr.")]
    value: Annotated[float, msgspec.Meta(description="Estimated reward of a slate.")]
    lower: Annotated[float | None, msgspec.Meta(description="Lower end of its 95 % interval.")] = None
    upper: Annotated[float | None, msgspec.Meta(description="Upper end.")] = None
    std_error: Annotated[float | None, msgspec.Meta(description="Its standard error.")] = None


class StandingState(msgspec.Struct, frozen=True):
    """What one arm would earn if it filled all slates, by those of the group that learns that can earn nothing more.

    Attributes
    ----------
    arm
        The arm's name.
    n, effective_n
        Slates that it might have filled, and how many of its own they are worth.
    mean_weight
        Mean of their weights, 1 on average; 0 without slates.
    estimates
        None before one of these slates was the arm's.
    warnings
        What makes them less trustworthy, as codes of ``crossaisle ope``.
    poor_overlap
        Whether one of the warnings says that too few slates are the arm's, or not those that it would have filled.
    """

    arm: Annotated[str, msgspec.Meta(description="The arm's name.")]
    n: Annotated[int, msgspec.Meta(description="Slates that it might have filled.")]
    effective_n: Annotated[float, msgspec.Meta(description="How many of its own they are worth (Kish).")]
    mean_weight: Annotated[float, msgspec.Meta(description="Mean of their weights, 1 on average.")]
    estimates: Annotated[list[EstimateState], msgspec.Meta(description="None before a slate of the arm.")]
    warnings: Annotated[list[str], msgspec.Meta(description="Codes as those of `crossaisle ope`.")]
    poor_overlap: Annotated[bool, msgspec.Meta(description="Too few of the slates are the arm's to trust this.")]


class PolicyState(msgspec.Struct, frozen=True):
    """The policy that all workers follow. Record key: ``policy``.

    Attributes
    ----------
    format_version
        Version of this record.
    version
        Counts up with every change; slates name it.
    as_of_ms
        Time of the newest observation, in milliseconds since 1970 UTC; 0 before the first.
    n_partitions
        Partitions of events that it is the sum of.
    reward_cap
        A slate's reward lies between this and its negative.
    noise
        Variance of one slate's reward around the mean of its cell.
    cells
        Names of the context cells: activity, habit, quarter of the day.
    arms
        The first one is the baseline.
    groups
        For comparing the users whose arms are learned with those on a fixed arm.
    standing
        For each arm, what it would earn if it filled all slates; empty in records from before there was this field.
    """

    format_version: Annotated[int, msgspec.Meta(description="Version of this record.")]
    version: Annotated[int, msgspec.Meta(description="Counts up with every change.")]
    as_of_ms: Annotated[int, msgspec.Meta(description="Time of the newest observation, ms since 1970 UTC.")]
    n_partitions: Annotated[int, msgspec.Meta(description="Partitions of events that it is the sum of.")]
    reward_cap: Annotated[float, msgspec.Meta(description="A slate's reward lies between this and its negative.")]
    noise: Annotated[float, msgspec.Meta(description="Variance of one slate's reward around its cell's mean.")]
    cells: Annotated[list[str], msgspec.Meta(description="Names of the context cells.")]
    arms: Annotated[list[ArmState], msgspec.Meta(description="The first one is the baseline.")]
    groups: Annotated[list[GroupState], msgspec.Meta(description="Rewards per group and arm.")]
    standing: Annotated[
        list[StandingState], msgspec.Meta(description="Off-policy estimates: each arm, if it filled all slates.")
    ] = []


_encoder = msgspec.json.Encoder()
_statistics = msgspec.json.Decoder(PolicyStatistics)
_state = msgspec.json.Decoder(PolicyState)


def encode_policy(record: PolicyStatistics | PolicyState) -> bytes:
    """Return a record as JSON."""
    return _encoder.encode(record)


def decode_statistics(raw: bytes) -> PolicyStatistics:
    """Return the statistics in ``raw``.

    Raises
    ------
    msgspec.DecodeError
        The bytes are no statistics of a partition.
    """
    return _statistics.decode(raw)


def decode_policy_state(raw: bytes) -> PolicyState:
    """Return the policy in ``raw``.

    Raises
    ------
    msgspec.DecodeError
        The bytes are no policy.
    """
    return _state.decode(raw)
