"""How the perceptron learns from the blend's sample: RMSprop, a mean of its weights, and Adagrad for categories.

What it is, and why, is in :mod:`operators.perceptron`.
"""

import math

import numpy as np

from operators.arrays import Entities, Work
from operators.elementary import exponentials
from operators.numeric import counted
from operators.perceptron import CENTRE, IS_HAD_ONLY, SPREAD, find_vectors, forward
from operators.weights import N_HIDDEN, N_NETWORK, N_PLAIN, OF_HAD, OF_NONE, OF_ONE
from operators.wide import AT_ONCE, add_products
from state.arrays import Floats, Int32s, Row
from state.kernel import inner_kernel

RATE = np.float32(8e-4)
"""Length of a step, in weights, where the gradient is as long as it usually is."""
MEMORY = 2_000.0
"""Steps that the usual length of a gradient is a mean over."""
MEAN_MEMORY, MEAN_SHARE = 10_000.0, 0.02
"""Steps that the weights are a mean over; at first less, a fiftieth of all so far, so that a beginner learns fast."""
GATE_MEMORY, GATE_PRIOR = 20_000.0, 50.0
"""Steps that the weight of all of it is learned from, and what stands beside their information (1 / variance)."""
LARGEST_GATE = 1.5
CATEGORY_RATE, CATEGORY_PRIOR = 0.05, 10.0
"""Step of a category's vector at a gradient of 1, before it had any; mean squares of gradients that it begins with."""
SHORTEST = np.float32(1e-6)
"""Gradients below it are as good as none."""
LEAST = 1e-3
"""An alternative less likely than this teaches nothing: it takes time, and moves nothing."""


@inner_kernel(allocates=True)
def learn_perceptron(
    entities: Entities,
    globals_: Row,
    work: Work,
    picked: Int32s,
    logits: Floats,
    lift: Floats,
    m: int,
    weight: float,
) -> float:
    """Make one softmax step towards the first candidate of the blend's sample.

    Parameters
    ----------
    picked, lift, m
        The sample: numbers of candidates with features, the true one first, and the logarithms of their inverse
        inclusion probabilities.
    logits
        The blend's, without ``lift``, shape ``(m,)``; overwritten with those that slates take, of before the step.
    weight
        Importance of the event, above 0, dimensionless.

    Returns
    -------
    float
        Log-loss of the true candidate before the step, in nats; NaN if no step could be made.
    """
    weights, hidden = np.empty((N_NETWORK + 4, N_HIDDEN), np.float32), np.empty((m, N_HIDDEN), np.float32)
    said, p = np.empty(m, np.float32), np.empty(m, np.float32)
    mean_said, vectors = np.empty(m, np.float32), np.empty(m, np.int32)
    of_category = globals_.network_category
    find_vectors(entities, work, picked[:m], vectors)
    forward(
        globals_.mean_network, globals_.mean_network_out, of_category, work, picked[:m], vectors, weights, mean_said,
        hidden,
    )  # fmt: skip
    gate = float(globals_.network_gate[0])
    total = _expected(logits, lift, mean_said, gate, m, p)
    if not math.isfinite(total):
        return math.nan
    loss = -math.log(max(p[0] / total, 1e-12))
    _learn_gate(globals_, mean_said, p, total, m, weight)
    forward(
        globals_.network, globals_.network_out, of_category, work, picked[:m], vectors, weights, said, hidden
    )  # fmt: skip
    total = _expected(logits, lift, said, 1.0, m, p)
    for k in range(m):
        logits[k] += gate * mean_said[k]
    if not math.isfinite(total):
        return loss
    _slopes(p, total, m)
    gradient, out_gradient = np.zeros((N_NETWORK, N_HIDDEN), np.float32), np.zeros((2, N_HIDDEN), np.float32)
    _collect(work, picked, p, m, weight, hidden, weights[N_NETWORK + 2 :], of_category, vectors, gradient, out_gradient)
    for k in range(m):
        if p[k] != 0.0:
            row = vectors[k]
            _step_category(of_category[row], globals_.network_category_sq[row : row + 1], weight * p[k], hidden[k])
    _move(globals_, gradient, out_gradient)
    return loss


@inner_kernel
def _expected(logits: Floats, lift: Floats, said: Floats, gate: float, m: int, p: Floats) -> float:
    """Write what the sample stands for to ``p``, shape ``(m,)``, as parts of the sum that is returned."""
    highest, total = -np.inf, 0.0
    for k in range(m):
        p[k] = logits[k] + lift[k] + gate * said[k]
        total += p[k]
        highest = max(highest, p[k])
    return exponentials(p, m, highest) if math.isfinite(total) else math.nan


@inner_kernel
def _slopes(p: Floats, total: float, m: int) -> None:
    """Turn the parts of ``total``, the true candidate's first, into slopes of the log-loss by logit, which sum to 0.

    Without the unlikely ones those of the others would not, and what all logits have in common would rise for ever.
    """
    likely = 0.0
    for k in range(1, m):
        p[k] = p[k] / total if p[k] >= LEAST * total else 0.0
        likely += p[k]
    p[0] = -likely


@inner_kernel(allocates=True)
def _collect(
    work: Work,
    picked: Int32s,
    slopes: Floats,
    m: int,
    weight: float,
    hidden: Floats,
    out: Floats,
    of_category: Floats,
    vectors: Int32s,
    gradient: Floats,
    out_gradient: Floats,
) -> None:
    """Sum up the gradients of the weights of features, shape ``(N_NETWORK, N_HIDDEN)``, and of the output."""
    sums, back = np.zeros((2, N_HIDDEN), np.float32), np.empty((AT_ONCE, N_HIDDEN), np.float32)
    at = np.zeros(AT_ONCE, np.int32)
    n = 0
    for k in range(m):
        if slopes[k] == 0.0:
            continue
        head, of_one = 0 if work.candidates[picked[k]].had else 1, back[n]
        g = np.float32(weight * slopes[k])
        _back(g, hidden[k], out[head], of_category[vectors[k]], out_gradient[head], of_one)
        for j in range(of_one.shape[0]):
            sums[head, j] += of_one[j]
        at[n] = picked[k]
        n += 1
        if n == AT_ONCE:
            _add_back(work.features, at, back, gradient)
            n = 0
    if n > 0:
        back[n:], at[n:] = 0.0, at[0]
        _add_back(work.features, at, back, gradient)
    _unscale(gradient, sums)


@inner_kernel
def _move(globals_: Row, gradient: Floats, out_gradient: Floats) -> None:
    """Make a step of all weights but those of categories, and move their means."""
    globals_.network_n = counted(globals_.network_n)
    fresh = np.float32(1.0 / (1.0 - math.exp(-float(globals_.network_n) / MEMORY)))
    share = np.float32(1.0 / min(MEAN_MEMORY, 1.0 + MEAN_SHARE * float(globals_.network_n)))
    for f in range(N_NETWORK):
        _step(globals_.network[f], globals_.network_sq[f], gradient[f], fresh)
        _approach(globals_.mean_network[f], globals_.network[f], share)
    for head in range(2):
        _step(globals_.network_out[head], globals_.network_out_sq[head], out_gradient[head], fresh)
        _approach(globals_.mean_network_out[head], globals_.network_out[head], share)


@inner_kernel
def _learn_gate(globals_: Row, said: Floats, p: Floats, total: float, m: int, weight: float) -> None:
    """Make a Newton step of how much the perceptron counts, from what was expected with it as it counts."""
    mean, square = 0.0, 0.0
    for k in range(m):
        part = p[k] / total
        mean += part * said[k]
        square += part * said[k] * said[k]
    gate = globals_.network_gate
    gate[1] = gate[1] * (1.0 - 1.0 / GATE_MEMORY) + weight * max(square - mean * mean, 0.0)
    gate[0] = min(max(gate[0] - weight * (mean - said[0]) / (gate[1] + GATE_PRIOR), 0.0), LARGEST_GATE)


@inner_kernel
def _back(g: np.float32, hidden: Floats, out: Floats, of_category: Floats, out_gradient: Floats, back: Floats) -> None:
    """Add one candidate's gradient of the output's weights, and write that of its hidden units to ``back``."""
    for j in range(back.shape[0]):
        unit = hidden[j]
        out_gradient[j] += g * max(unit, np.float32(0.0))
        back[j] = g * (out[j] + of_category[j]) if unit > np.float32(0.0) else np.float32(0.0)


@inner_kernel
def _add_back(features: Floats, at: Int32s, back: Floats, gradient: Floats) -> None:
    """Add the gradients by features of four candidates; features that one has not are 0."""
    x0, x1, x2, x3 = features[at[0]], features[at[1]], features[at[2]], features[at[3]]
    add_products(x0, x1, x2, x3, back, gradient, N_PLAIN)


@inner_kernel(fastmath={"reassoc", "contract"})
def _step_category(weights: Floats, squares: Floats, g: float, hidden: Floats) -> None:
    """Make one candidate's step of its category's vector; ``squares``, shape ``(1,)``, sums up mean squares."""
    total = np.float32(0.0)
    for j in range(hidden.shape[0]):
        unit = max(hidden[j], np.float32(0.0))
        total += unit * unit
    squares[0] += np.float32(g * g / hidden.shape[0]) * total
    step = np.float32(CATEGORY_RATE * g / math.sqrt(squares[0] + CATEGORY_PRIOR))
    for j in range(hidden.shape[0]):
        weights[j] -= step * max(hidden[j], np.float32(0.0))


@inner_kernel
def _unscale(gradient: Floats, sums: Floats) -> None:
    """Turn the gradient by features as they are into that of the weights."""
    for f in range(N_PLAIN):
        part = np.float32(1.0) / SPREAD[f]
        for j in range(sums.shape[1]):
            both = sums[0, j] if IS_HAD_ONLY[f] else sums[0, j] + sums[1, j]
            gradient[f, j] = (gradient[f, j] - CENTRE[f] * both) * part
    for j in range(sums.shape[1]):
        gradient[OF_ONE, j] = sums[0, j] + sums[1, j]
        gradient[OF_HAD, j] = sums[0, j]
        gradient[OF_NONE, j] = 0.0


@inner_kernel(fastmath={"contract"})
def _step(weights: Floats, squares: Floats, gradient: Floats, fresh: np.float32) -> None:
    """Make a step of RMSprop; ``fresh`` makes up for the squares' start at 0."""
    share = np.float32(1.0 / MEMORY)
    for j in range(gradient.shape[0]):
        g = gradient[j]
        squares[j] += share * (g * g - squares[j])
        weights[j] -= RATE * g / (math.sqrt(fresh * squares[j]) + SHORTEST)


@inner_kernel(fastmath={"contract"})
def _approach(mean: Floats, weights: Floats, share: np.float32) -> None:
    for j in range(mean.shape[0]):
        mean[j] += share * (weights[j] - mean[j])
