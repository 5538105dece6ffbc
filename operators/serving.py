"""What the blend reads of an item, side by side in one cache line: decayed popularities as logarithms, rates, content.

An item's header is six cache lines, and its logarithms cost more than the rest of a feature vector. A line is filled
when it is first wanted after its header changed or an hour of event time has passed; within the hour all users see the
same numbers, so a line never hangs on who looked first.
"""

import math

import numpy as np
from numba import njit

from operators.numeric import decay
from operators.params import P_FIRST_LONG, P_FIRST_SHORT, P_LONG, P_MIDDLE, P_SHORT, POPULARITY_DAYS
from state.arrays import Int32s, Row, Rows

HOUR_S = 3600
N_ATTRIBUTES = 4
"""Brand, price band and kind within the category; department."""
BRAND, PRICE, KIND, DEPARTMENT = 0, 1, 2, 3
N_TAGS = 4
"""Tags of an item that are looked at."""
GAP_PRIOR = 3.0
USUAL_LOG_GAP = 3.0
"""``log(1 + days)`` between two of the same, before anything is known of an item: about 19 days."""

SERVING = np.dtype(
    [
        ("hour", "<u4"),  # since 2000, plus one; 0 is: fill it anew
        ("popularity", "<f4", (3,)),  # log(decayed + 0.1), in the order of the header
        ("first", "<f4", (2,)),
        ("repeat", "<f4"),
        ("usual", "<f4"),
        ("bias", "<f4"),
        ("attributes", "<i4", (N_ATTRIBUTES,)),  # dense numbers, 0 is none
        ("_pad", "u1", (12,)),
    ]
)


@njit(cache=True, nogil=True)
def fill_line(line: Row, header: Row, hour: int) -> None:
    """Fill an item's line from its header, as of the beginning of an hour.

    Parameters
    ----------
    line
        One record of :data:`SERVING`; its attributes stay.
    header
        One record of :data:`state.layout.ENTITY_HEADER`.
    hour
        Hours since 2000, plus one.
    """
    passed = float(hour - 1) * HOUR_S - float(header.t_s)
    for k in (P_SHORT, P_MIDDLE, P_LONG):
        line.popularity[k] = math.log(header.popularity[k] * decay(passed, POPULARITY_DAYS[k]) + 0.1)
    for k in (P_FIRST_SHORT, P_FIRST_LONG):
        line.first[k - P_FIRST_SHORT] = math.log(header.popularity[k] * decay(passed, POPULARITY_DAYS[k]) + 0.1)
    line.repeat = header.n_repeat / (header.n + 5.0)
    line.usual = (header.log_gaps + GAP_PRIOR * USUAL_LOG_GAP) / (header.n_repeat + GAP_PRIOR)
    line.bias = header.blend_bias
    line.hour = hour


@njit(cache=True, nogil=True)
def count_attributes(serving: Rows, tags: Int32s, rows: Int32s, events: np.ndarray, totals: np.ndarray) -> None:
    """Add events of items to the totals of their attributes.

    Parameters
    ----------
    rows, events
        Entity rows and how many events they have more (or, below zero, less) than before, shape ``(n,)``, float64.
    totals
        Events per dense number of an attribute, float64; overwritten.
    """
    for k in range(rows.shape[0]):
        for j in range(N_ATTRIBUTES):
            totals[serving[rows[k]].attributes[j]] += events[k]
        for j in range(N_TAGS):
            totals[tags[rows[k], j]] += events[k]
