"""Small numeric kernels that others share: hashing to random numbers, decay, fixed point, start values of rows."""

import math

import numpy as np

from operators.params import COOC_DAYS, COOC_EPOCH_DAYS
from state.arrays import Floats, Int32s, Row, Rows
from state.kernel import inner_kernel, kernel
from state.layout import N_FACTORS

LN2 = math.log(2.0)
DAY_S = 86_400.0
FIXED_POINT = 256.0
FACTOR_SPREAD = 0.05
_LOWEST, _HIGHEST = -(2**31), 2**31
_LAST, _HALF = np.uint32(0xFFFFFFFF), np.uint32(0x80000000)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@kernel
def splitmix(x: np.uint64) -> np.uint64:
    """Return 64 well mixed bits of ``x`` (SplitMix64; Steele, Lea, Flood 2014)."""
    z = np.uint64(x) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def uniform(x: np.uint64) -> float:
    """Return a number in [0, 1) that depends on ``x`` alone."""
    return float(splitmix(x) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inner_kernel
def draw(p: np.ndarray, n: int, left: float, otherwise: int) -> int:
    """Return a number below ``n`` drawn in proportion to ``p``, given a random part ``left`` of the sum.

    Rounding may leave something of it; then ``otherwise`` is drawn.
    """
    for k in range(n):
        left -= p[k]
        if left < 0.0:
            return k
    return otherwise


@kernel
def decay(elapsed_s: float, half_life_days: float) -> float:
    """Return ``2 ** (-elapsed / half-life)``; 1 when time runs backwards."""
    if elapsed_s <= 0.0:
        return 1.0
    return math.exp(-LN2 * elapsed_s / (half_life_days * DAY_S))


@kernel
def growth(ahead_s: float, half_life_days: float) -> float:
    """Return ``2 ** (ahead / half-life)`` for either sign, held between 2**-60 and 2**60."""
    exponent = ahead_s / (half_life_days * DAY_S)
    return math.exp(LN2 * min(max(exponent, -60.0), 60.0))


@kernel
def forward_weight(t_s: float) -> float:
    """Return the forward-decay weight of an event at ``t_s`` for co-occurrence: ``2 ** ((t - 2020) / 120 days)``.

    A float32 holds it for dates from 1980 to 2060; beyond that it stays at the bound.
    """
    exponent = (t_s / DAY_S - COOC_EPOCH_DAYS) / COOC_DAYS
    return math.exp(LN2 * min(max(exponent, -120.0), 120.0))


@kernel(allocates=True)
def kth_largest(values: Floats, k: int) -> float:
    """Return the ``k``-th largest of float32 ``values`` (``k >= 1``), ``-inf`` where there are not more than ``k``.

    The answer is guessed, and the guess halved, until ``k`` values are not below it. To count those takes the processor
    sixteen comparisons at a time, and no branch whose way it could not foresee.
    """
    n = values.shape[0]
    if n <= k:
        return -np.inf
    bits = values.view(np.int32)
    keys = np.empty(n, np.int32)
    for j in range(n):
        keys[j] = _in_order(bits[j])
    low, high = _HIGHEST, _LOWEST
    for j in range(n):
        low, high = min(low, keys[j]), max(high, keys[j] + 1)
    found = n
    while high - low > 1 and found != k:
        middle = (low + high) >> 1
        not_below = _count_from(keys, np.int32(middle))
        if not_below >= k:
            low, found = middle, not_below
        else:
            high = middle
    if found == k:
        least = _HIGHEST
        for j in range(n):
            least = min(least, keys[j] if keys[j] >= low else _HIGHEST)
        low = least
    bits = np.empty(1, np.int32)
    bits[0] = _in_order(low)
    return float(bits.view(np.float32)[0])


@inner_kernel
def counted(n: np.uint32) -> np.uint32:
    """Return the count after ``n``: one more, or half of the range less where it ends, and never 0 again.

    What is left of it by a power of two below that stays in turn.
    """
    return n + np.uint32(1) if n < _LAST else _HALF


@inner_kernel
def _in_order(bits: int) -> int:
    """Return a whole number that rises with the float32 of these bits; the same again turns it back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@inner_kernel(fastmath={"reassoc"})
def _count_from(keys: Int32s, least: int) -> int:
    """Return how many of ``keys``, at most 16,777,216, are not below ``least``: a sum of float32 is the quickest."""
    total = _ZERO
    for j in range(keys.shape[0]):
        total += _ONE if keys[j] >= least else _ZERO
    return int(total)


@inner_kernel
def choose(values: Floats, least: float, out: Int32s) -> int:
    """Write the places of the values that are not below ``least`` to ``out``; return how many.

    ``out`` is one longer than ``values``: every place is written, and stays if its value is wanted. So there is no
    branch for the processor to guess.
    """
    n = 0
    for j in range(values.shape[0]):
        out[n] = j
        n += 1 if values[j] >= least else 0
    return n


@kernel
def to_fixed(value: float) -> np.uint16:
    """Return a count as 1/256 fixed point, saturated at 255.99."""
    return np.uint16(min(max(value * FIXED_POINT + 0.5, 0.0), 65535.0))


@inner_kernel
def start_entity(row: Row) -> None:
    """Fill the factors of a fresh entity row: normal with deviation .05, a function of its id alone.

    So the item stage and every replica start an item with the same numbers, without a record in between.
    """
    for k in range(N_FACTORS):
        a = max(uniform(row.id + np.uint64(2 * k + 1)), 1e-12)
        b = uniform(row.id ^ np.uint64(0xABCDEF1234567 + 2 * k))
        radius = FACTOR_SPREAD * math.sqrt(-2.0 * math.log(a))
        row.target[k] = radius * math.cos(2.0 * math.pi * b)
        row.context[k] = radius * math.sin(2.0 * math.pi * b)
    row.target_g = 1e-3
    row.context_g = 1e-3
    row.bias_g = 1e-3
    row.blend_bias_g = 0.01


@inner_kernel
def start_user(row: Row) -> None:
    """Fill the factors of a fresh user row; their deviation is a fifth of that of the item factors."""
    for k in range(N_FACTORS):
        a = max(uniform(row.id + np.uint64(7919 * (k + 1))), 1e-12)
        b = uniform(row.id ^ np.uint64(104729 * (k + 1)))
        row.factors[k] = 0.2 * FACTOR_SPREAD * math.sqrt(-2.0 * math.log(a)) * math.cos(2.0 * math.pi * b)
    row.factors_g = 1e-3


@kernel
def start_entities(headers: Rows, rows: Int32s) -> None:
    """Apply :func:`start_entity` to these rows."""
    for k in range(rows.shape[0]):
        start_entity(headers[rows[k]])


@kernel
def start_users(headers: Rows, rows: Int32s) -> None:
    """Apply :func:`start_user` to these rows."""
    for k in range(rows.shape[0]):
        start_user(headers[rows[k]])
