"""Standing off-policy estimates as records: a partition's sums, and what the policy agent makes of all of them."""

import math
from typing import TYPE_CHECKING

import numpy as np

from operators.exposure import N_OPEN
from operators.ope.standing import POOR_OVERLAP, standing_of
from operators.standing import N_STANDING
from stream_app.records.policy import EstimateState, StandingState, StandingStatistics

if TYPE_CHECKING:
    from operators.standing import StandingSums


def standing_statistics(sums: "StandingSums", arm: int) -> StandingStatistics:
    """Return the record of an arm's sums."""
    return StandingStatistics(
        since=int(sums.since[arm]), final=sums.final[arm].tolist(), open=sums.open[:, arm].tolist()
    )


def is_readable(record: StandingStatistics | None) -> bool:
    """Tell whether a record holds the sums of this version, all finite; another version may sum something else."""
    if record is None or len(record.open) != N_OPEN:
        return False
    rows = [record.final, *record.open]
    return all(len(row) == N_STANDING for row in rows) and bool(np.isfinite(rows).all())


def restore_standing(record: StandingStatistics | None, sums: "StandingSums", arm: int, *, same_window: bool) -> None:
    """Take up an arm's sums; it begins with none where there is no record that this version can read.

    Parameters
    ----------
    same_window
        Whether the periods are as long as they were; else those that are not final become so.
    """
    if record is None or not is_readable(record):
        return
    sums.since[arm] = record.since
    sums.final[arm] = record.final
    if same_window:
        sums.open[:, arm] = record.open
    else:
        sums.final[arm] += np.sum(record.open, axis=0)


def final_sums(record: StandingStatistics | None) -> np.ndarray:
    """Return an arm's sums of slates that can earn nothing more; zeros where there are none to read."""
    if record is None or not is_readable(record):
        return np.zeros(N_STANDING)
    return np.array(record.final)


def standing_state(arm: str, sums: np.ndarray) -> StandingState:
    """Return what all partitions' sums say of an arm."""
    found = standing_of(sums)
    estimates = [
        EstimateState(str(e.estimator), e.value, _known(e.lower), _known(e.upper), _known(e.std_error))
        for e in found.estimates
    ]
    return StandingState(
        arm=arm,
        n=found.n_slates,
        effective_n=found.effective_slates,
        mean_weight=found.mean_weight,
        estimates=estimates,
        warnings=list(found.warnings),
        poor_overlap=not POOR_OVERLAP.isdisjoint(found.warnings),
    )


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
