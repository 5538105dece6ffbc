r"""User, target and context factors by SGD: sampled softmax with the logQ correction, row-wise Adagrad.

The user's query is :math:`q = P_u + \sum_k a_k C_{i_k}` over the last 20 positives, with
:math:`a_k = r^k / \sqrt{\sum r^k}`. The logit of item ``j`` is :math:`b_j + q \cdot E_j - \log Q_j`, where ``Q`` is the
probability with which ``j`` is drawn as a negative. Gradients of shared rows are summed in accumulators: the item stage
makes the step.

References
----------
.. [1] Bengio, Senecal (2008), IEEE TNN 19(4), "Adaptive importance sampling to accelerate training of a neural
   probabilistic language model".
.. [2] Duchi, Hazan, Singer (2011), JMLR 12, "Adaptive subgradient methods".
"""

import math

import numpy as np

from operators.arrays import Accumulators, Entities, Users, Work
from operators.elementary import add_scaled, dot, exponentials, logarithms
from operators.params import LearnParams
from state.arrays import Floats, Int32s
from state.kernel import inner_kernel, kernel
from state.layout import N_FACTORS


@kernel
def accumulator(acc: Accumulators, row: int) -> int:
    """Return the accumulator record of an entity row, a fresh one if it has none."""
    at = acc.slot[row]
    if at < 0:
        at = acc.n[0]
        acc.n[0] += 1
        acc.slot[row] = at
        acc.records[at].row = row
    return at


@kernel
def build_query(users: Users, u: int, entities: Entities, work: Work, recency: float) -> int:
    """Write the user's query vector to ``work.query`` and the rows it came from to ``work.sources``.

    Returns
    -------
    int
        Number of sources; ``work.coefficients`` holds their coefficients :math:`a_k`.
    """
    header = users.headers[u]
    n = 0
    total = 0.0
    a = 1.0
    for k in range(header.n_recent):
        row = header.recent[k]
        if row > 0:
            work.sources[n] = row
            work.coefficients[n] = a
            n += 1
        total += a
        a *= recency
    scale = 1.0 / math.sqrt(total) if total > 0.0 else 0.0
    query, headers = work.query, entities.headers
    n_factors = query.shape[0]
    for f in range(n_factors):
        query[f] = header.factors[f]
    for k in range(n):
        work.coefficients[k] *= scale
        add_scaled(query, work.coefficients[k], headers[work.sources[k]].context, n_factors)
    return n


@kernel
def factor_score(entities: Entities, row: int, work: Work) -> float:
    """Return ``b + q·E`` of an item row for the query in ``work``."""
    item = entities.headers[row]
    return float(item.bias) + dot(work.query, item.target)


@inner_kernel
def _share_out(entities: Entities, item: int, negatives: Int32s, n_negatives: int, work: Work, shares: Floats) -> bool:
    """Write the probabilities of an item and of its negatives, absent ones 0; False where they are not finite.

    The sample is corrected for: the logarithm of how likely a row is drawn is taken off its logit.
    """
    n_events, n_items = max(entities.totals[0], 1.0), max(entities.totals[1], 1.0)
    log_q = work.logs
    for k in range(n_negatives + 1):
        n = entities.headers[item if k == 0 else negatives[k - 1]].n
        log_q[k] = 0.5 * (n + 0.5) / n_events + 0.5 / n_items
    logarithms(log_q, n_negatives + 1)
    highest = -np.inf
    total = 0.0
    for k in range(n_negatives + 1):
        shares[k] = factor_score(entities, item if k == 0 else negatives[k - 1], work) - log_q[k]
        total += shares[k]
        if k == 0 or negatives[k - 1] != item:
            highest = max(highest, shares[k])
    if not math.isfinite(total):
        return False
    for k in range(1, n_negatives + 1):
        if negatives[k - 1] == item:
            shares[k] = -np.inf
    total = exponentials(shares, n_negatives + 1, highest)
    for k in range(n_negatives + 1):
        absent = k > 0 and negatives[k - 1] == item
        shares[k] = 0.0 if absent else shares[k] / total
    return True


@kernel
def sgd_step(
    users: Users,
    u: int,
    item: int,
    negatives: Int32s,
    n_negatives: int,
    n_sources: int,
    weight: float,
    entities: Entities,
    work: Work,
    acc: Accumulators,
    params: LearnParams,
) -> float:
    """Move the user's row towards one item and away from the negatives; sum the items' gradients.

    Parameters
    ----------
    users, u
        The user's table and row; ``factors`` is overwritten.
    item, negatives, n_negatives
        Entity row of the positive; rows of the negatives, of which those equal to ``item`` count as absent.
    n_sources
        From :func:`build_query`, called just before.
    weight
        Importance of the event, dimensionless.

    Returns
    -------
    float
        The log-loss of the positive among the sampled, before the step (the prequential loss), in nats.
    """
    shares = work.logits
    if not _share_out(entities, item, negatives, n_negatives, work, shares):
        return math.nan
    for f in range(N_FACTORS):
        work.gradient[f] = 0.0
    loss = -math.log(max(shares[0], 1e-12))
    square = dot(work.query, work.query) / N_FACTORS
    for k in range(n_negatives + 1):
        row = item if k == 0 else negatives[k - 1]
        g = weight * (shares[k] - (1.0 if k == 0 else 0.0))
        if g == 0.0:
            continue
        _add_target(entities, row, g, square, work, acc)
    _spread(users, u, n_sources, work, acc, params.rate)
    return loss


@inner_kernel
def _add_target(entities: Entities, row: int, g: float, square: float, work: Work, acc: Accumulators) -> None:
    """Add ``g`` times an item's target to the query's gradient, and the other way round; ``square`` is the query's."""
    target = entities.headers[row].target
    record = acc.records[accumulator(acc, row)]
    query = work.query
    add_scaled(work.gradient, g, target, query.shape[0])
    add_scaled(record.target, g, query, query.shape[0])
    record.target_sq += g * g * square
    record.bias += g
    record.bias_sq += g * g
    record.has_target = 1


@inner_kernel
def _spread(users: Users, u: int, n_sources: int, work: Work, acc: Accumulators, rate: float) -> None:
    """Give the query's gradient to the user's factors and to the context factors of the sources."""
    header = users.headers[u]
    gradient = work.gradient
    n_factors = gradient.shape[0]
    square = dot(gradient, gradient) / N_FACTORS
    header.factors_g += square
    add_scaled(header.factors, -rate / math.sqrt(header.factors_g), gradient, n_factors)
    for k in range(n_sources):
        record = acc.records[accumulator(acc, work.sources[k])]
        a = work.coefficients[k]
        add_scaled(record.context, a, gradient, n_factors)
        record.context_sq += a * a * square
        record.has_context = 1
