"""From partitions' statistics, as records, to the record of the policy."""

from typing import TYPE_CHECKING

import numpy as np

from operators.policy_context import CELLS, GROUPS, N_CELLS
from operators.policy_state import Learned, Observed, arrays_of, learn_policy, mean_and_variance
from operators.standing import N_STANDING
from state.layout import EPOCH_2000_S
from stream_app.decoding import UNREADABLE
from stream_app.policy_standing import final_sums, standing_state
from stream_app.policy_view import guard_of
from stream_app.policy_weights import weighted_sums
from stream_app.records.policy import (
    POLICY_FORMAT_VERSION,
    ArmState,
    GroupState,
    PolicyState,
    PolicyStatistics,
    decode_statistics,
    encode_policy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stream_app.settings import Settings


class PolicyRejectedError(ValueError):
    """Statistics of a partition cannot be used; the message says why."""


def checked_statistics(raw: bytes) -> PolicyStatistics:
    """Return the statistics in ``raw``.

    Raises
    ------
    PolicyRejectedError
        They cannot be read, are of another version, or hold sums that cannot be.
    """
    try:
        record = decode_statistics(raw)
    except UNREADABLE as error:
        message = f"policy statistics: {error}"
        raise PolicyRejectedError(message) from error
    where = f"policy statistics of partition {record.partition}"
    if record.format_version != POLICY_FORMAT_VERSION:
        message = f"{where}: format {record.format_version}, wanted {POLICY_FORMAT_VERSION}"
        raise PolicyRejectedError(message)
    for name, arm in record.arms.items():
        if len(arm.cells) != N_CELLS:
            message = f"{where}, arm {name}: {len(arm.cells)} cells, wanted {N_CELLS}"
            raise PolicyRejectedError(message)
        if not np.isfinite(arm.cells).all() or any(n < 0 for n, _, _ in arm.cells):
            message = f"{where}, arm {name}: sums must be finite and numbers of slates at least 0"
            raise PolicyRejectedError(message)
        if set(arm.final) != set(GROUPS) or set(arm.open) != set(GROUPS):
            message = f"{where}, arm {name}: groups {sorted(arm.final)}, wanted {sorted(GROUPS)}"
            raise PolicyRejectedError(message)
    return record


def observed(record: PolicyStatistics, names: list[str]) -> Observed:
    """Return the statistics of the arms with these names, as arrays."""
    arms = record.arms
    as_of_s, cells = weighted_sums(record)
    final = {n: np.array([a.final[g] for g in GROUPS]) for n, a in arms.items()}
    pending = {n: np.array([np.sum(a.open[g], axis=0) for g in GROUPS]) for n, a in arms.items()}
    groups = (len(GROUPS), 4)
    return Observed(
        as_of_s=as_of_s,
        cells=arrays_of(names, cells, (N_CELLS, 3)),
        final=arrays_of(names, final, groups).transpose(1, 0, 2),
        pending=arrays_of(names, pending, groups).transpose(1, 0, 2),
        standing=arrays_of(names, {n: final_sums(a.standing) for n, a in arms.items()}, (N_STANDING,)),
    )


def make_state(settings: "Settings", version: int, records: "Iterable[PolicyStatistics]") -> PolicyState:
    """Return the policy that follows from the newest statistics of every partition."""
    names = [arm.name for arm in settings.arms]
    records = list(records)
    partitions = [observed(record, names) for record in records]
    learned = learn_policy(partitions, len(names), settings.policy_half_life_days, guard_of(settings))
    return PolicyState(
        format_version=POLICY_FORMAT_VERSION,
        version=version,
        as_of_ms=(learned.as_of_s + EPOCH_2000_S) * 1000 if learned.as_of_s else 0,
        n_partitions=len(partitions),
        reward_cap=max([settings.reward_cap, *(record.reward_cap for record in records)]),
        noise=learned.posterior.noise,
        cells=list(CELLS),
        arms=[_arm_state(settings, learned, k) for k in range(len(names))],
        groups=[_group_state(names[k], learned, g, k) for g in range(len(GROUPS)) for k in range(len(names))],
        standing=[standing_state(names[k], learned.standing[k]) for k in range(len(names))],
    )


def _arm_state(settings: "Settings", learned: Learned, k: int) -> ArmState:
    arm = settings.arms[k]
    return ArmState(
        name=arm.name,
        temperature=arm.temperature,
        epsilon=arm.epsilon,
        discovery_slots=arm.discovery_slots,
        category_cap=arm.category_cap,
        n=float(learned.cells[k, :, 0].sum()),
        mean=float(learned.posterior.overall[k]),
        deviation=float(learned.posterior.overall_deviation[k]),
        p_worse=float(learned.worse[k]),
        held=bool(learned.held[k]),
        shares=learned.shares[:, k].tolist(),
        cell_means=learned.posterior.mean[k].tolist(),
    )


def _group_state(name: str, learned: Learned, g: int, k: int) -> GroupState:
    n, mean, variance = mean_and_variance(learned.final[g, k])
    n_pending, pending_mean, _ = mean_and_variance(learned.pending[g, k])
    return GroupState(
        group=GROUPS[g],
        arm=name,
        n=n,
        n_seen=round(float(learned.final[g, k, 3])),
        mean=mean,
        variance=variance,
        n_pending=n_pending,
        pending_mean=pending_mean,
    )


def encode_state(
    settings: "Settings",
    version: int,
    raws: "Iterable[bytes]",
    on_rejected: "Callable[[PolicyRejectedError], object] | None" = None,
) -> bytes:
    """Return the record of the policy that follows from the newest record of every partition.

    Parameters
    ----------
    on_rejected
        Told of each record that cannot be used: the policy then follows from the others. None: it is raised.

    Raises
    ------
    PolicyRejectedError
        A record cannot be used, and nobody is to be told.
    """
    records = []
    for raw in raws:
        try:
            records.append(checked_statistics(raw))
        except PolicyRejectedError as error:
            if on_rejected is None:
                raise
            on_rejected(error)
    records.sort(key=lambda record: record.partition)
    return encode_policy(make_state(settings, version, records))
