"""Moves the time that accumulated popularities are as of, for a stream that jumps ahead within a commit interval."""

import numpy as np

from operators.arrays import Accumulators
from operators.params import POPULARITY_DAYS

MOST_AHEAD_S = 30 * 86_400
"""Events so much newer than the sums' time move it. From 180 days on, what they count for would be held down."""


def age(acc: Accumulators, passed_s: int) -> None:
    """Make the popularities as of ``passed_s`` seconds later, in place: each becomes what is left of it by then."""
    left = 2.0 ** (-passed_s / (86_400.0 * np.array(POPULARITY_DAYS)))
    records = acc.records[: int(acc.n[0])]
    records["popularity"] = records["popularity"] * left
