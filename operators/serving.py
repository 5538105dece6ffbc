"""What the blend reads of an item, side by side in one cache line: decayed popularities as logarithms, rates, content.

An item's header is six cache lines, and its logarithms cost more than the rest of a feature vector. A line is filled
when it is first wanted after its header changed or an hour of event time has passed; within the hour all users see the
same numbers, so a line never hangs on who looked first.
"""

import numpy as np

from operators.elementary import logarithms, powers_of_two
from operators.numeric import DAY_S
from operators.params import CONTENT_TABLES, CONTENT_VALUES, N_OVERALL, POPULARITY_DAYS
from state.arrays import Floats, Int32s, Rows
from state.kernel import kernel
from state.layout import N_POPULARITIES

HOUR_S = 3600
N_ATTRIBUTES = 4
"""Brand, price band and kind within the category; department."""
BRAND, PRICE, KIND, DEPARTMENT = 0, 1, 2, 3
N_TAGS = 4
"""Tags of an item that are looked at."""
GAP_PRIOR = 3.0
USUAL_LOG_GAP = 3.0
"""``log(1 + days)`` between two of the same, before anything is known of an item: about 19 days."""

_POPULARITY_PRIOR = np.float32(0.1)
_RATES = np.array([-1.0 / (days * DAY_S) for days in POPULARITY_DAYS])
"""What the exponents of two lose in a second, in the order of the header."""

SERVING = np.dtype(
    [
        ("hour", "<u4"),  # since 2000, plus one; 0 is: fill it anew
        ("popularity", "<f4", (3,)),  # log(decayed + 0.1), in the order of the header
        ("first", "<f4", (2,)),
        ("repeat", "<f4"),
        ("usual", "<f4"),
        ("bias", "<f4"),
        ("attributes", "<i4", (N_ATTRIBUTES,)),  # dense numbers, 0 is none
        ("tagged", "u1"),  # whether it has tags
        ("embedded", "u1"),  # whether it has a content vector
        ("untried", "u1"),  # whether nobody had it yet
        ("_pad", "u1"),
        ("signature", "u1", (CONTENT_TABLES,)),  # of the content vector
    ]
)


@kernel
def fill_lines(serving: Rows, headers: Rows, rows: Int32s, n: int, hour: int, numbers: Floats) -> None:
    """Fill items' lines from their headers, as of the beginning of an hour.

    Parameters
    ----------
    serving
        Records of :data:`SERVING`; their attributes stay.
    headers
        Records of :data:`state.layout.ENTITY_HEADER`.
    rows, n
        Which of both; the first ``n`` count.
    hour
        Hours since 2000, plus one.
    numbers
        Scratch space, shape ``(N_POPULARITIES * n,)`` or more.
    """
    now_s = float(hour - 1) * HOUR_S
    for j in range(n):
        passed = now_s - float(headers[rows[j]].t_s)
        for k in range(N_POPULARITIES):
            numbers[N_POPULARITIES * j + k] = passed * _RATES[k]
    powers_of_two(numbers, N_POPULARITIES * n)
    for j in range(n):
        popularity = headers[rows[j]].popularity
        for k in range(N_POPULARITIES):
            at = N_POPULARITIES * j + k
            numbers[at] = popularity[k] * numbers[at] + _POPULARITY_PRIOR
    logarithms(numbers, N_POPULARITIES * n)
    for j in range(n):
        line, header = serving[rows[j]], headers[rows[j]]
        for k in range(N_OVERALL):
            line.popularity[k] = numbers[N_POPULARITIES * j + k]
        for k in range(N_OVERALL, N_POPULARITIES):
            line.first[k - N_OVERALL] = numbers[N_POPULARITIES * j + k]
        line.repeat = header.n_repeat / (header.n + 5.0)
        line.usual = (header.log_gaps + GAP_PRIOR * USUAL_LOG_GAP) / (header.n_repeat + GAP_PRIOR)
        line.bias = header.blend_bias
        line.untried = 1 if header.n == 0 else 0
        line.hour = hour


@kernel
def count_attributes(
    serving: Rows, tags: Int32s, rows: Int32s, events: np.ndarray, totals: np.ndarray, n_numbers: int
) -> None:
    """Add events of items to the totals of their attributes.

    Parameters
    ----------
    rows, events
        Entity rows and how many events they have more (or, below zero, less) than before, shape ``(n,)``, float64.
    totals
        Events per dense number of an attribute, per value of each byte of a signature, and per bit that is set, one
        behind the other, float64; overwritten.
    n_numbers
        How many numbers attributes have.
    """
    for k in range(rows.shape[0]):
        for j in range(N_ATTRIBUTES):
            totals[serving[rows[k]].attributes[j]] += events[k]
        for j in range(N_TAGS):
            totals[tags[rows[k], j]] += events[k]
        if serving[rows[k]].embedded:
            for j in range(CONTENT_TABLES):
                value = serving[rows[k]].signature[j]
                totals[n_numbers + CONTENT_VALUES * j + value] += events[k]
                for b in range(8):
                    at = n_numbers + CONTENT_TABLES * CONTENT_VALUES + 8 * j + b
                    totals[at] += events[k] * ((value >> b) & 1)
