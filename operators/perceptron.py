r"""A small perceptron over the blend's features: what a sum of the features, each by itself, cannot say.

With the blend's logit :math:`b_i` and the features :math:`x_i` of :mod:`operators.features`, in units of
:data:`SPREAD` from :data:`CENTRE`,

.. math:: l_i = b_i + \alpha \, o_i, \qquad o_i = (v_{h(i)} + u_{k(i)}) \cdot \max(0, W^T z_i), \qquad
   z_i = ((x_i - c) / s, [\text{had}], 1),

with :data:`N_HIDDEN` hidden units that all items share, a :math:`v` for items that the user had and one for new ones,
and a :math:`u` for each category [4]_: what is bought once a week is not what is bought once a year. Features that only
items have which the user had (:data:`operators.weights.HAD_ONLY`) are 0 in :math:`z` of the others.

It learns what the blend leaves over (:mod:`operators.perceptron_steps`), from the blend's sample, by RMSprop [1]_; the
blend learns as if it were not there [2]_. At first :math:`W` is drawn, and :math:`v` and :math:`u` are 0, so that it
changes nothing until something is learned. Steps of one length keep it moving, and shake it where little can be
foreseen. So slates and measures take the mean of its weights over the latest steps [3]_. A category is met seldom, and
has to be learned from then: each :math:`u` has a rate of its own, by Adagrad, and no mean. How much all of it counts is
learned as well: :math:`\alpha`, by Newton's steps, is 1 where it is right about how sure it is, and 0 where it says
nothing.

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

import numpy as np

from operators.arrays import Entities, Work
from operators.numeric import kth_largest
from operators.weights import HAD_ONLY, N_HIDDEN, N_NETWORK, N_PLAIN, OF_HAD, OF_NONE, OF_ONE
from operators.wide import WIDTH, sum_rows, whole_rows
from state.arrays import Floats, Int32s, Row
from state.kernel import inner_kernel

N_LIKELY = 64
"""Candidates of a head, outside the context, that the perceptron is asked about."""
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
IS_HAD_ONLY = np.isin(np.arange(N_NETWORK), HAD_ONLY)


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
        head = 0 if IS_HAD_ONLY[f] else 1
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
def find_vectors(entities: Entities, work: Work, which: Int32s, out: Int32s) -> None:
    """Write the number of the vector of each candidate's category to ``out``, shape ``(n,)``."""
    candidates, category_of, vectors = work.candidates, entities.category, entities.category_vectors
    for k in range(which.shape[0]):
        out[k] = vectors[category_of[candidates[which[k]].row]]


@inner_kernel
def forward(
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
        From :func:`find_vectors`, rows of ``of_category``.
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
    find_vectors(entities, work, which, vectors)
    forward(
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


assert WIDTH == N_HIDDEN, "the hidden units of a candidate are one row"  # noqa: S101
