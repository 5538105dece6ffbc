"""A partition's weighted sums, out of a record, as of its newest slate."""

from typing import TYPE_CHECKING

import numpy as np

from operators.policy_state import fade

if TYPE_CHECKING:
    from stream_app.records.policy import PolicyStatistics


def weighted_sums(record: "PolicyStatistics") -> tuple[int, dict[str, np.ndarray]]:
    """Return the time of the newest slate, and the sums of each arm as of it.

    Sums of earlier versions are as of a time up to 20 half-lives before, where a slate weighed 1 that is old by now. Of
    their newest slate the period is known: it is taken to be made at the beginning of that, so they count too much by
    less than ``2 ** (window / half-life)``, until the partition's next slate.

    Returns
    -------
    as_of_s
        In seconds since 2000 UTC; 0 before the first slate.
    cells
        By the arm's name, shape ``(N_CELLS, N_MOMENTS)``, float64.
    """
    as_of_s = max(record.as_of_s, record.period * record.window_s)
    cells = {
        name: fade(np.array(arm.cells), record.as_of_s, as_of_s, record.half_life_days)
        for name, arm in record.arms.items()
    }
    return as_of_s, cells
