r"""Which of the things a user never had: a correction of the blend's logits among those, learned from first times.

The blend learns from every event, and most events are repeats: what its weights of new items say best is how likely a
new one is at all, beside what the user has. Which of the new ones it is, is another question, with other weights. With
the blend's logit :math:`b_i` and the features :math:`x_i` of :mod:`operators.features`, among the set :math:`N` of
candidates that the user never had and whose category is not in the context,

.. math:: P(i \mid N) \propto \exp((1 + a) \, b_i + d \cdot x_i),

where :math:`a` and :math:`d` are 0 until something is learned. What the blend gives to all of :math:`N` together stays
as it is: the logits in it are shifted so that the sum of their exponentials is what it was before. So this changes the
order within :math:`N`, and how sharp it is, and no probability of anything else.

References
----------
.. [1] McFadden (1978), "Modelling the choice of residential location": nested choices, each with weights of its own.
"""

import math

import numpy as np

from operators.arrays import Entities, Work
from operators.elementary import SMALLEST, add_with_squares, exponentials
from operators.newton import EVERY, newton_learn
from operators.numeric import draw, uniform
from operators.weights import COLUMN, N_COLUMNS, N_DISCOVERY, OF_NEW, SQUARE
from state.arrays import Floats, Int32s, Row
from state.kernel import inner_kernel

AT_LOGIT = OF_NEW.size
"""Where the weight of the blend's logit stands: behind those of the features."""


@inner_kernel
def _is_discovery(entities: Entities, work: Work, k: int) -> bool:
    """Tell whether the user never had a candidate and its category is not in the context."""
    c = work.candidates[k]
    where = work.category_position[entities.category[c.row]]
    return not c.had and not (where >= 0 and work.category_bit[where] != np.uint64(0))


@inner_kernel
def _spread_weights(weights: Floats, plain: Floats, square: Floats) -> None:
    """Write the weights of features, and of their squares, to the features' columns, shapes ``(N_COLUMNS,)``."""
    for k in range(OF_NEW.size):
        if SQUARE[OF_NEW[k]]:
            square[COLUMN[OF_NEW[k]]] = weights[k]
        else:
            plain[COLUMN[OF_NEW[k]]] = weights[k]


@inner_kernel(fastmath={"reassoc", "contract"})
def _weigh(plain: Floats, square: Floats, x: Floats) -> float:
    total = np.float32(0.0)
    for k in range(N_COLUMNS):
        total += x[k] * (plain[k] + square[k] * x[k])
    return float(total)


@inner_kernel
def _log_sum(logits: Floats, n: int, numbers: Floats) -> float:
    """Return the logarithm of the summed exponentials of the first ``n`` logits; ``numbers`` is scratch space."""
    highest = -np.inf
    for k in range(n):
        highest = max(highest, logits[k])
        numbers[k] = logits[k]
    return highest + math.log(exponentials(numbers, n, highest))


@inner_kernel(allocates=True)
def correct_discoveries(entities: Entities, globals_: Row, work: Work, n: int) -> None:
    """Correct the logits in ``work.scored`` of the ``n`` candidates, whose features are filled."""
    plain, square = np.zeros(N_COLUMNS, np.float32), np.zeros(N_COLUMNS, np.float32)
    _spread_weights(globals_.discovery, plain, square)
    part = 1.0 + globals_.discovery[AT_LOGIT]
    which = np.empty(n, np.int32)
    before, after, numbers = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    m = 0
    for k in range(n):
        if _is_discovery(entities, work, k):
            which[m] = k
            before[m] = work.scored[k]
            after[m] = part * work.scored[k] + _weigh(plain, square, work.features[k])
            m += 1
    if m == 0:
        return
    shift = _log_sum(before, m, numbers) - _log_sum(after, m, numbers)
    if math.isfinite(shift):
        for j in range(m):
            work.scored[which[j]] = after[j] + shift


@inner_kernel(allocates=True)
def learn_discovery(
    entities: Entities,
    globals_: Row,
    work: Work,
    picked: Int32s,
    logits: Floats,
    lift: Floats,
    m: int,
    weight: float,
    memory: float,
) -> float:
    """Make one softmax step towards the first candidate of the blend's sample, if it is a discovery.

    Parameters
    ----------
    picked, lift, m
        The sample: numbers of candidates with features, the true one first, and the logarithms of their inverse
        inclusion probabilities. Those that are no discoveries are passed over.
    logits
        Of blend and perceptron, without ``lift`` and without what reactions teach, shape ``(m,)``.
    weight
        Importance of the event, above 0, dimensionless.
    memory
        Events that are remembered, of those that teach this.

    Returns
    -------
    float
        Log-loss among the sampled discoveries before the step, in nats; NaN where no step was made.
    """
    if not _is_discovery(entities, work, picked[0]):
        return math.nan
    plain, square = np.zeros(N_COLUMNS, np.float32), np.zeros(N_COLUMNS, np.float32)
    _spread_weights(globals_.discovery, plain, square)
    part = 1.0 + globals_.discovery[AT_LOGIT]
    p = np.full(m, -np.inf, np.float32)
    highest = -np.inf
    total = 0.0
    for k in range(m):
        if _is_discovery(entities, work, picked[k]):
            p[k] = part * logits[k] + lift[k] + _weigh(plain, square, work.features[picked[k]])
            total += p[k]
            highest = max(highest, p[k])
    if not math.isfinite(total):
        return math.nan
    total = exponentials(p, m, highest)
    for k in range(m):
        if p[k] <= SMALLEST:  # no discovery, or as good as none
            p[k] = 0.0
    _step(globals_, work, picked, logits, p, m, total, weight, memory)
    return -math.log(max(p[0] / total, 1e-12))


@inner_kernel(allocates=True)
def _step(
    globals_: Row, work: Work, picked: Int32s, logits: Floats, p: Floats, m: int, total: float, weight: float,
    memory: float,
) -> None:  # fmt: skip
    plain, square = np.zeros(N_COLUMNS, np.float32), np.zeros(N_COLUMNS, np.float32)
    of_logit = 0.0
    for k in range(m):
        if p[k] > 0.0:
            g = weight * (p[k] / total - (1.0 if k == 0 else 0.0))
            add_with_squares(plain, square, g, work.features[picked[k]])
            of_logit += g * logits[k]
    gradient, drawn_gradient = np.empty(N_DISCOVERY, np.float32), np.empty(N_DISCOVERY, np.float32)
    _collect(plain, square, gradient)
    gradient[AT_LOGIT] = of_logit
    drawn = draw(p, m, uniform(globals_.draws) * total, 0)
    globals_.draws += np.uint64(1)
    add_with_squares(plain, square, weight, work.features[picked[0]])
    add_with_squares(plain, square, -weight, work.features[picked[drawn]])
    _collect(plain, square, drawn_gradient)
    drawn_gradient[AT_LOGIT] = of_logit + weight * (logits[0] - logits[drawn])
    newton_learn(
        globals_.discovery, globals_.discovery_gram, globals_.discovery_pending, gradient, drawn_gradient, weight,
        memory, EVERY,
    )  # fmt: skip


@inner_kernel
def _collect(plain: Floats, square: Floats, out: Floats) -> None:
    for k in range(OF_NEW.size):
        out[k] = square[COLUMN[OF_NEW[k]]] if SQUARE[OF_NEW[k]] else plain[COLUMN[OF_NEW[k]]]
