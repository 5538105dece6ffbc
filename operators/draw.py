"""One slot of a slate as a draw: Plackett-Luce at a temperature, mixed with a uniform share, propensity exact.

The probability of taking candidate ``i`` of the eligible set ``S`` is

    p(i | S) = (1 - epsilon) * exp(z_i / T) / sum_{j in S} exp(z_j / T) + epsilon / |S|

so no propensity is below ``epsilon / |S|``. At ``T = 0`` the softmax is the best candidate alone, ties broken by the
smaller id; with ``epsilon = 0`` as well, that is the greedy slate, whose propensities are 1.

References
----------
.. [1] Plackett (1975), Applied Statistics 24(2), "The analysis of permutations".
.. [2] Swaminathan et al. (2017), NeurIPS, "Off-policy evaluation for slate recommendation".
"""

import math

import numpy as np

from operators.arms import Arm
from operators.numeric import splitmix, uniform
from operators.params import SlateParams
from state.arrays import Floats, Int32s, Rows, UInt64s
from state.kernel import inner_kernel, kernel

CHOICE = np.dtype(
    [
        ("key", "<u8"),
        ("temperature", "<f8"),
        ("epsilon", "<f8"),
        ("discovery_slots", "u1"),
        ("category_cap", "u1"),
    ]
)
"""How one slate is drawn: the policy's numbers, and the key that all its random numbers are a function of."""

SMALLEST_WEIGHT = 1e-150
"""When the largest weight left is below this, weights are taken anew relative to the best candidate left."""


def make_choices(arms: tuple[Arm, ...], which: Int32s, keys: UInt64s) -> Rows:
    """Return how slates are drawn, dtype :data:`CHOICE`, for arm numbers and keys of shape ``(n,)``."""
    choices = np.zeros(which.shape[0], CHOICE)
    for field in ("temperature", "epsilon", "discovery_slots", "category_cap"):
        choices[field] = np.array([getattr(arm, field) for arm in arms])[which]
    choices["key"] = keys
    return choices


def greedy_choices(n: int, params: SlateParams) -> Rows:
    """Return ``n`` choices that take the best: temperature 0, epsilon 0, slots and cap as ``params`` says."""
    choices = np.zeros(n, CHOICE)
    choices["discovery_slots"] = params.discovery_slots
    choices["category_cap"] = params.category_cap
    return choices


@kernel
def draw_key(seed: int, user: np.uint64, partition: int, offset: int) -> np.uint64:
    """Return the key of a slate's random numbers: a function of seed, user and the event it answers, and of no more."""
    key = splitmix(np.uint64(seed))
    key = splitmix(key ^ np.uint64(user))
    key = splitmix(key ^ np.uint64(partition))
    return splitmix(key ^ np.uint64(offset))


@kernel(allocates=True)
def draw_keys(seed: int, users: UInt64s, partition: int, offsets: UInt64s) -> UInt64s:
    """Return :func:`draw_key` of each user and offset, shape ``(n,)``."""
    out = np.empty(users.shape[0], np.uint64)
    for k in range(users.shape[0]):
        out[k] = draw_key(seed, users[k], partition, offsets[k])
    return out


@kernel
def set_weights(scores: Floats, eligible: Int32s, n: int, temperature: float, weights: np.ndarray) -> None:
    """Write ``exp((z - best z) / T)`` of the eligible candidates to ``weights``, indexed by candidate, float64."""
    best = -np.inf
    for k in range(n):
        best = max(best, scores[eligible[k]])
    for k in range(n):
        weights[eligible[k]] = math.exp((float(scores[eligible[k]]) - best) / temperature)


@inner_kernel
def _best(scores: Floats, ids: UInt64s, eligible: Int32s, n: int) -> int:
    best = 0
    for k in range(1, n):
        a, b = eligible[k], eligible[best]
        if scores[a] > scores[b] or (scores[a] == scores[b] and ids[a] < ids[b]):
            best = k
    return best


@kernel
def _softmax(weights: np.ndarray, eligible: Int32s, n: int, total: float, x: float) -> int:
    rest = x * total
    last = 0
    for k in range(n):
        weight = weights[eligible[k]]
        if weight > 0.0:
            last = k
            if rest < weight:
                return k
        rest -= weight
    return last


@inner_kernel
def _total(scores: Floats, eligible: Int32s, n: int, weights: np.ndarray, temperature: float) -> float:
    total = 0.0
    largest = 0.0
    for k in range(n):
        total += weights[eligible[k]]
        largest = max(largest, weights[eligible[k]])
    if largest >= SMALLEST_WEIGHT:
        return total
    set_weights(scores, eligible, n, temperature, weights)
    total = 0.0
    for k in range(n):
        total += weights[eligible[k]]
    return total


@kernel
def weigh_slot(
    scores: Floats, ids: UInt64s, eligible: Int32s, n: int, weights: np.ndarray, temperature: float
) -> tuple[int, float]:
    """Return the position of the best eligible candidate at temperature 0, else the sum of the weights.

    Parameters
    ----------
    scores, ids
        Logits and ids of all candidates, shape ``(n_candidates,)``.
    eligible
        Numbers of the eligible candidates; the first ``n`` count, ``n >= 1``.
    weights
        Of :func:`set_weights`, shape ``(n_candidates,)``, float64; taken anew where the best ones are gone. Not looked
        at when ``temperature`` is 0.
    temperature
        At least 0.
    """
    if temperature <= 0.0:
        return _best(scores, ids, eligible, n), 1.0
    return 0, _total(scores, eligible, n, weights, temperature)


@kernel
def slot_propensity(
    at: int, best: int, total: float, eligible: Int32s, n: int, weights: np.ndarray, temperature: float, epsilon: float
) -> float:
    """Return the probability with which :func:`draw_slot` draws position ``at``; the rest as there."""
    likelihood = weights[eligible[at]] / total if temperature > 0.0 else 1.0 if at == best else 0.0
    return min((1.0 - epsilon) * likelihood + epsilon / n, 1.0)  # rounding may pass 1 by a bit


@kernel
def draw_slot(
    best: int,
    total: float,
    eligible: Int32s,
    n: int,
    weights: np.ndarray,
    temperature: float,
    epsilon: float,
    key: np.uint64,
) -> int:
    """Draw one of the eligible candidates; return its position in ``eligible``.

    Parameters
    ----------
    best, total
        Of :func:`weigh_slot`.
    eligible, n, weights, temperature
        Given there.
    epsilon
        In [0, 1].
    key
        The draw is a function of it and of the arguments before.
    """
    x = uniform(splitmix(key ^ np.uint64(0x5851F42D4C957F2D)))
    if uniform(key) < epsilon:
        return min(int(x * n), n - 1)
    if temperature <= 0.0:
        return best
    return _softmax(weights, eligible, n, total, x)
