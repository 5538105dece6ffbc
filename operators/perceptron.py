r"""A small perceptron over the blend's features: what a sum of the features, each by itself, cannot say.

With the blend's logit :math:`b_i` and the features :math:`x_i` of :mod:`operators.features`, in units of
:data:`SPREAD` from :data:`CENTRE`,

.. math:: l_i = b_i + \alpha \, o_i, \qquad o_i = (v_{h(i)} + u_{k(i)}) \cdot \max(0, W^T z_i), \qquad
   z_i = ((x_i - c) / s, [\text{had}], 1),

with :data:`N_HIDDEN` hidden units that all items share, a :math:`v` for items that the user had and one for new ones,
and a :math:`u` for each category [4]_: what is bought once a week is not what is bought once a year. Features that only
items have which the user had (:data:`operators.weights.HAD_ONLY`) are 0 in :math:`z` of the others. It learns what the
blend leaves over, from the blend's sample, by RMSprop [1]_; the blend learns as if it were not there [2]_. At first
:math:`W` is drawn, and :math:`v` and :math:`u` are 0, so that it changes nothing until something is learned. Steps of
one length keep it moving, and shake it where little can be foreseen. So slates and measures take the mean of its
weights over the latest steps [3]_. A category is met seldom, and has to be learned from then: each :math:`u` has a rate
of its own, by Adagrad, and no mean. How much all of it counts is learned as well: :math:`\alpha`, by Newton's steps, is
1 where it is right about how sure it is, and 0 where it says nothing.

References
----------
.. [1] Tieleman, Hinton (2012), "Lecture 6.5: RMSprop", Neural Networks for Machine Learning.
.. [2] Cheng et al. (2016), DLRS, "Wide & deep learning for recommender systems": a linear model and a network whose
   logits are summed up.
.. [3] Polyak, Juditsky (1992), SIAM Journal on Control and Optimization 30, "Acceleration of stochastic approximation
   by averaging"; here the mean forgets.
.. [4] Ha, Dai, Le (2017), ICLR, "HyperNetworks": weights of a layer that follow from an embedding of what it is about;
   here they are the embedding.
"""

import math

import numpy as np

from operators.arrays import Entities, Work
from operators.elementary import exponentials
from operators.numeric import counted, kth_largest
from operators.weights import HAD_ONLY, N_HIDDEN, N_NETWORK, N_PLAIN, OF_HAD, OF_NONE, OF_ONE
from operators.wide import AT_ONCE, WIDTH, add_products, sum_rows, whole_rows
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
N_LIKELY = 64
"""Candidates of a head, outside the context, that the perceptron is asked about."""
LEAST = 1e-3
"""An alternative less likely than this teaches nothing: it takes time, and moves nothing."""
CENTRE = np.array(
    [
        0.2, -2.0, -3.0, -3.3, 4.0, 0.8, 2.8, -3.7, 1.9, 0.2, -3.7, 0.05, 0.3, 0.4, 0.5, 1.6, 1.2, 3.6, 0.9, 0.6,
        -0.9, 0.0, 2.3, 0.0, 2.1, -2.2, 0.9, 0.6, 0.5, 2.1, 1.1, 5.2, 0.6, 1.0, 1.3, 3.0, 0.3, 6.0, -0.5, -4.8,
        -6.1, -3.6, 0.1, 0.4, 0.4, 3.4, 0.0, -1.5, -1.4, -0.5, 0.8, 0.0, 0.0, 0.0, -4.1, 0.0, 0.0,
    ],
    np.float32,
)  # fmt: skip
"""About the mean of each feature over the candidates of Complete Journey and Instacart, shape ``(N_NETWORK,)``."""
SPREAD = np.array(
    [
        0.8, 1.6, 2.5, 2.3, 1.5, 1.6, 1.6, 1.4, 0.9, 0.2, 1.5, 0.2, 0.45, 0.2, 0.2, 0.9, 0.6, 1.1, 1.3, 0.8,
        1.8, 1.0, 1.6, 0.1, 0.9, 0.8, 1.3, 0.7, 1.4, 1.3, 1.0, 1.5, 1.1, 0.7, 1.6, 0.3, 1.5, 3.8, 3.0, 5.4,
        4.2, 2.4, 0.3, 0.7, 0.8, 1.5, 0.5, 1.9, 1.8, 2.6, 1.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
    ],
    np.float32,
)  # fmt: skip
"""About their standard deviations, shape ``(N_NETWORK,)``."""


_COMMON = [k for k in range(N_PLAIN) if k not in HAD_ONLY and k != OF_ONE]
_NEW_ROWS = whole_rows([*_COMMON, *[OF_NONE] * (len(_COMMON) % 2)])
_HAD_ROWS = whole_rows([*_COMMON, *HAD_ONLY.tolist(), *[OF_NONE] * ((len(_COMMON) + HAD_ONLY.size) % 2)])
"""Features that are other than 0 for new items, and for those that the user had: an even number."""
_IS_HAD_ONLY = np.isin(np.arange(N_NETWORK), HAD_ONLY)


@inner_kernel
def _scale(network: Floats, weights: Floats, start: Floats) -> None:
    """Write the weights of features as they are, and what the hidden units of either head begin with.

    Parameters
    ----------
    weights, start
        Shapes ``(N_NETWORK, N_HIDDEN)`` and ``(2, N_HIDDEN)``; overwritten.
    """
    for j in range(start.shape[1]):
        start[1, j] = network[OF_ONE, j]
        start[0, j] = network[OF_HAD, j]
    for f in range(N_NETWORK):
        part = np.float32(1.0) / SPREAD[f]
        head = 0 if _IS_HAD_ONLY[f] else 1
        for j in range(start.shape[1]):
            weights[f, j] = network[f, j] * part
            start[head, j] -= CENTRE[f] * weights[f, j]
    for j in range(start.shape[1]):
        start[0, j] += start[1, j]


@inner_kernel(fastmath={"reassoc", "contract"})
def _output(hidden: Floats, weights: Floats, of_category: Floats) -> float:
    total = np.float32(0.0)
    for j in range(hidden.shape[0]):
        total += max(hidden[j], np.float32(0.0)) * (weights[j] + of_category[j])
    return float(total)


@inner_kernel
def _find_vectors(entities: Entities, work: Work, which: Int32s, out: Int32s) -> None:
    """Write the number of the vector of each candidate's category to ``out``, shape ``(n,)``."""
    candidates, category_of, vectors = work.candidates, entities.category, entities.category_vectors
    for k in range(which.shape[0]):
        out[k] = vectors[category_of[candidates[which[k]].row]]


@inner_kernel
def _forward(
    network: Floats,
    network_out: Floats,
    of_category: Floats,
    work: Work,
    which: Int32s,
    vectors: Int32s,
    weights: Floats,
    said: Floats,
    hidden: Floats,
) -> None:
    """Write what the perceptron says of the candidates ``which``, and keep their hidden units.

    Parameters
    ----------
    vectors
        From :func:`_find_vectors`, rows of ``of_category``.
    said
        Shape ``(n,)``; overwritten.
    weights
        Shape ``(N_NETWORK + 4, N_HIDDEN)``: overwritten with those of :func:`_scale`, starts, and those of the output.
    hidden
        Shape ``(n, N_HIDDEN)``, or ``(1, N_HIDDEN)`` where nobody wants to see them; overwritten.
    """
    start, out = weights[N_NETWORK : N_NETWORK + 2], weights[N_NETWORK + 2 :]
    _scale(network, weights[:N_NETWORK], start)
    for head in range(2):
        for j in range(out.shape[1]):
            out[head, j] = network_out[head, j]
    for k in range(which.shape[0]):
        units = hidden[min(k, hidden.shape[0] - 1)]
        x = work.features[which[k]]
        if work.candidates[which[k]].had:
            sum_rows(x, _HAD_ROWS, weights, start[0], units)
            said[k] = _output(units, out[0], of_category[vectors[k]])
        else:
            sum_rows(x, _NEW_ROWS, weights, start[1], units)
            said[k] = _output(units, out[1], of_category[vectors[k]])


@inner_kernel(allocates=True)
def correct_logits(entities: Entities, globals_: Row, work: Work, which: Int32s, logits: Floats) -> None:
    """Add to the blend's logits of the candidates ``which``, shape ``(n,)``, whose features are filled."""
    n = which.shape[0]
    said, hidden = np.empty(n, np.float32), np.empty((1, N_HIDDEN), np.float32)
    weights, vectors = np.empty((N_NETWORK + 4, N_HIDDEN), np.float32), np.empty(n, np.int32)
    _find_vectors(entities, work, which, vectors)
    _forward(
        globals_.mean_network, globals_.mean_network_out, globals_.network_category, work, which, vectors, weights,
        said, hidden,
    )  # fmt: skip
    for k in range(n):
        logits[k] += globals_.network_gate[0] * said[k]


@inner_kernel(allocates=True)
def correct_all(entities: Entities, globals_: Row, work: Work, n: int, n_likely: int, logits: Floats) -> None:
    """Add to the blend's logits of all ``n`` candidates, whose features are filled.

    The perceptron is asked about those alone that may get to the top: of either head the ``n_likely`` that the blend
    likes best outside the context, and what it likes as much inside. The others get what it says of those in the mean.
    """
    candidates = work.candidates
    which = np.empty(n, np.int32)
    m = _likely(entities, work, n, n_likely, logits, which)
    said = logits[which[:m]]
    correct_logits(entities, globals_, work, which[:m], said)
    total, count = np.zeros(2, np.float64), np.zeros(2, np.int64)
    for j in range(m):
        had = candidates[which[j]].had
        total[had] += said[j] - logits[which[j]]
        count[had] += 1
    j = 0
    for k in range(n):
        if j < m and which[j] == k:
            logits[k] = said[j]
            j += 1
        else:
            logits[k] += total[candidates[k].had] / count[candidates[k].had]


@inner_kernel(allocates=True)
def _likely(entities: Entities, work: Work, n: int, n_likely: int, logits: Floats, which: Int32s) -> int:
    """Write the numbers of the candidates that the perceptron is asked about to ``which``; return how many."""
    candidates, category_of = work.candidates, entities.category
    where_of, bits = work.category_position, work.category_bit
    least, outside = np.empty(2, np.float32), np.empty(n, np.float32)
    for had in range(2):
        m = 0
        for k in range(n):
            if candidates[k].had == had:
                where = where_of[category_of[candidates[k].row]]
                outside[m] = logits[k]
                m += 0 if where >= 0 and bits[where] != np.uint64(0) else 1
        least[had] = kth_largest(outside[:m], n_likely)
    m = 0
    for k in range(n):
        which[m] = k
        m += 1 if logits[k] >= least[candidates[k].had] else 0
    return m


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
    _find_vectors(entities, work, picked[:m], vectors)
    _forward(
        globals_.mean_network, globals_.mean_network_out, of_category, work, picked[:m], vectors, weights, mean_said,
        hidden,
    )  # fmt: skip
    gate = float(globals_.network_gate[0])
    total = _expected(logits, lift, mean_said, gate, m, p)
    if not math.isfinite(total):
        return math.nan
    loss = -math.log(max(p[0] / total, 1e-12))
    _learn_gate(globals_, mean_said, p, total, m, weight)
    _forward(
        globals_.network, globals_.network_out, of_category, work, picked[:m], vectors, weights, said, hidden
    )  # fmt: skip
    total = _expected(logits, lift, said, 1.0, m, p)
    for k in range(m):
        logits[k] += gate * mean_said[k]
    if not math.isfinite(total):
        return loss
    gradient, out_gradient = np.zeros((N_NETWORK, N_HIDDEN), np.float32), np.zeros((2, N_HIDDEN), np.float32)
    sums, back = np.zeros((2, N_HIDDEN), np.float32), np.empty((AT_ONCE, N_HIDDEN), np.float32)
    at = np.zeros(AT_ONCE, np.int32)
    _slopes(p, total, m)
    n_back = 0
    for k in range(m):
        if p[k] == 0.0:
            continue
        head = 0 if work.candidates[picked[k]].had else 1
        out, own, of_one = weights[N_NETWORK + 2 + head], of_category[vectors[k]], back[n_back]
        _back(np.float32(weight * p[k]), hidden[k], out, own, out_gradient[head], of_one)
        for j in range(of_one.shape[0]):
            sums[head, j] += of_one[j]
        at[n_back] = picked[k]
        n_back += 1
        if n_back == AT_ONCE:
            _add_back(work.features, at, back, gradient)
            n_back = 0
    if n_back > 0:
        back[n_back:] = 0.0
        _add_back(work.features, at, back, gradient)
    _unscale(gradient, sums)
    for k in range(m):
        if p[k] != 0.0:
            at = vectors[k]
            _step_category(of_category[at], globals_.network_category_sq[at : at + 1], weight * p[k], hidden[k])
    globals_.network_n = counted(globals_.network_n)
    fresh = 1.0 / (1.0 - math.exp(-float(globals_.network_n) / MEMORY))
    for f in range(N_NETWORK):
        _step(globals_.network[f], globals_.network_sq[f], gradient[f], np.float32(fresh))
    for head in range(2):
        _step(globals_.network_out[head], globals_.network_out_sq[head], out_gradient[head], np.float32(fresh))
    share = np.float32(1.0 / min(MEAN_MEMORY, 1.0 + MEAN_SHARE * float(globals_.network_n)))
    for f in range(N_NETWORK):
        _approach(globals_.mean_network[f], globals_.network[f], share)
    for head in range(2):
        _approach(globals_.mean_network_out[head], globals_.network_out[head], share)
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
            both = sums[0, j] if _IS_HAD_ONLY[f] else sums[0, j] + sums[1, j]
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


assert WIDTH == N_HIDDEN, "the hidden units of a candidate are one row"  # noqa: S101
