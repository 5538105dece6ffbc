"""The blend: one softmax over two linear models, one for items the user had and one for new ones.

The features are those of :mod:`operators.features`. A new item's logit also has the biases of the item and of its
category; an item that the user had has a history of its own, and biases made its ranking worse.
"""

import math

import numpy as np

from operators.arrays import Accumulators, Entities, Users, Work
from operators.discovery import learn_discovery
from operators.elementary import LOG2_E, add_with_squares, exponentials, logarithms, powers_of_two
from operators.factors import accumulator
from operators.features import fill_features
from operators.newton import EVERY, EVERY_LATER, newton_learn
from operators.numeric import draw, uniform
from operators.params import P_LONG
from operators.perceptron_steps import learn_perceptron
from operators.weights import ACTIVE, COLUMN, N_BLEND, N_COLUMNS, SQUARE
from state.arrays import Floats, Int32s, Row
from state.kernel import inner_kernel, kernel

MAX_SAMPLE = 1280
BEGINNER_EVENTS = 4_096
"""Positive events of a partition until its blend hardly moves, so that steps are made less often."""
EVEN = 0.3
"""Part of the blend's sample that is even."""
OWN = 0.14
"""Square root of about how likely a user's next item is one that they had once."""
UNLISTED = -12.0
"""Rough log-probability of an item whose category is not even a candidate."""


@inner_kernel
def _spread_weights(weights: Floats, plain: Floats, square: Floats) -> None:
    """Write the weights of features, and of their squares, to the features' columns, shapes ``(2, N_COLUMNS)``."""
    for head in range(2):
        for k in range(N_BLEND):
            if SQUARE[k]:
                square[head, COLUMN[k]] = weights[head, k]
            else:
                plain[head, COLUMN[k]] = weights[head, k]


@inner_kernel(fastmath={"reassoc", "contract"})
def _weigh(plain: Floats, square: Floats, x: Floats) -> float:
    total = np.float32(0.0)
    for k in range(N_COLUMNS):
        total += plain[k] * x[k] + square[k] * (x[k] * x[k])
    return float(total)


@kernel(allocates=True)
def score_features(entities: Entities, weights: Floats, work: Work, which: Int32s, out: Floats) -> None:
    """Write the logits of the candidates ``which``, shape ``(n,)``, whose features are filled, to ``out``.

    Parameters
    ----------
    weights
        Of items that the user had, and of new ones, shape ``(2, N_BLEND)``.
    """
    candidates, serving, headers, features = work.candidates, entities.serving, entities.headers, work.features
    category_of, category_rows = entities.category, entities.category_rows
    plain, square = np.zeros((2, N_COLUMNS), np.float32), np.zeros((2, N_COLUMNS), np.float32)
    _spread_weights(weights, plain, square)
    for j in range(which.shape[0]):
        c = candidates[which[j]]
        head = 0 if c.had else 1
        out[j] = _weigh(plain[head], square[head], features[which[j]])
        if head:
            out[j] += serving[c.row].bias + headers[category_rows[category_of[c.row]]].blend_bias


@inner_kernel(allocates=True)
def learn_blend(
    users: Users,
    u: int,
    entities: Entities,
    globals_: Row,
    work: Work,
    acc: Accumulators,
    n: int,
    true: int,
    n_sample: int,
    n_context_categories: int,
    now_s: int,
    weight: float,
    memory: float,
) -> tuple[float, float]:
    """Make one softmax step of the blend towards candidate ``true``, and of the perceptron and the discoveries on it.

    The denominator is estimated with about ``n_sample`` candidates: the true one, and others drawn the likelier the
    more a rough guess expects them, whose terms are weighted by the inverse of that likelihood.

    Returns
    -------
    loss
        Log-loss of the true candidate before the step, in nats, with what the perceptron adds; NaN if no step could be
        made.
    auc
        Share of the other candidates that scored below it, as the sample tells, in [0, 1]; NaN if there were none.
    """
    picked = np.empty(MAX_SAMPLE, np.int32)
    p = np.empty(MAX_SAMPLE, np.float32)
    inverse, lift = np.empty(MAX_SAMPLE, np.float32), np.empty(MAX_SAMPLE, np.float32)
    corrected = np.empty(MAX_SAMPLE, np.float32)
    m = _sample(entities, work, n, true, min(n_sample, MAX_SAMPLE) - 1, uniform(globals_.draws), picked, inverse)
    lift[:m] = inverse[:m]
    logarithms(lift, m)
    globals_.draws += np.uint64(1)
    highest = -1e30
    fill_features(users, u, entities, work, picked[:m], n_context_categories, now_s)
    score_features(entities, globals_.blend, work, picked[:m], p)
    corrected[:m] = p[:m]
    loss = learn_perceptron(entities, globals_, work, picked, corrected, lift, m, weight)
    auc = _share_below(corrected, inverse, m)
    learn_discovery(entities, globals_, work, picked, corrected, lift, m, weight, memory)
    total = 0.0
    for k in range(m):
        p[k] += lift[k]
        total += p[k]
        highest = max(highest, p[k])
    if not math.isfinite(total):
        return math.nan, math.nan
    total = exponentials(p, m, highest)
    _blend_step(entities, globals_, work, acc, picked, p, m, total, weight, memory)
    return loss, auc


@inner_kernel
def _share_below(scores: Floats, inverse: Floats, m: int) -> float:
    """Return the share of the others below the first one, each weighted by the inverse of how likely it was drawn."""
    below, total = 0.0, 0.0
    for k in range(1, m):
        w = inverse[k]
        total += w
        below += w if scores[k] < scores[0] else 0.5 * w if scores[k] == scores[0] else 0.0
    return below / total if total > 0.0 else math.nan


@kernel
def _sample(
    entities: Entities,
    work: Work,
    n: int,
    true: int,
    wanted: int,
    start: float,
    picked: Int32s,
    inverse: Floats,
) -> int:
    """Write the true candidate and a systematic sample of the others to ``picked``; return how many.

    An even sample of fifty seldom holds any of the few candidates that have most of the probability, and when it does
    they weigh for twenty. The guess is the square root of P(category) times the item's share of it, or of the user's
    own count; a part of the sample is even, so that nothing is never seen. ``inverse`` gets the inverse inclusion
    probabilities.
    """
    candidates, serving, category_of = work.candidates, entities.serving, entities.category
    where_of, log_p, category_user, guess = work.category_position, work.category_log_p, work.category_user, work.guess
    total = 0.0
    for k in range(n):
        c = candidates[k]
        where = where_of[category_of[c.row]]
        z = log_p[where] + serving[c.row].popularity[P_LONG] - category_user[where, 2] if where >= 0 else UNLISTED
        guess[k] = 0.5 * LOG2_E * z
    powers_of_two(guess, n)
    for k in range(n):
        c = candidates[k]
        if c.had:
            guess[k] += OWN * math.sqrt(c.slow + 0.05)
        total += guess[k]
    even, drawn = wanted * EVEN / n, wanted * (1.0 - EVEN) / total
    picked[0] = true
    inverse[0] = 1.0
    m = 1
    passed = start
    for k in range(n):
        if k == true:
            continue
        likelihood = min(drawn * guess[k] + even, 1.0)
        passed += likelihood
        if passed >= 1.0 and m <= wanted:
            passed -= 1.0
            picked[m] = k
            inverse[m] = 1.0 / likelihood
            m += 1
    return m


@inner_kernel(allocates=True)
def _blend_step(
    entities: Entities,
    globals_: Row,
    work: Work,
    acc: Accumulators,
    picked: np.ndarray,
    p: Floats,
    m: int,
    total: float,
    weight: float,
    memory: float,
) -> None:
    gradient, gradient_sq = np.zeros((2, N_COLUMNS), np.float32), np.zeros((2, N_COLUMNS), np.float32)
    for k in range(m):
        g = weight * (p[k] / total - (1.0 if k == 0 else 0.0))
        _add_features(gradient, gradient_sq, work, picked[k], g)
    drawn = draw(p, m, uniform(globals_.draws) * total, m - 1)
    fisher, fisher_sq = gradient.copy(), gradient_sq.copy()
    if drawn != 0:
        _learn_biases(entities, work, acc, picked[0], -weight)
        _learn_biases(entities, work, acc, picked[drawn], weight)
        _add_features(fisher, fisher_sq, work, picked[0], weight)
        _add_features(fisher, fisher_sq, work, picked[drawn], -weight)
    weights, g = np.empty(ACTIVE.size, np.float32), np.empty(ACTIVE.size, np.float32)
    s = np.empty(ACTIVE.size, np.float32)
    for k in range(ACTIVE.size):
        head, f = ACTIVE[k] // N_BLEND, ACTIVE[k] % N_BLEND
        weights[k] = globals_.blend[head, f]
        if SQUARE[f]:
            g[k], s[k] = gradient_sq[head, COLUMN[f]], fisher_sq[head, COLUMN[f]]
        else:
            g[k], s[k] = gradient[head, COLUMN[f]], fisher[head, COLUMN[f]]
    every = EVERY if globals_.ring_n < np.uint32(BEGINNER_EVENTS) else EVERY_LATER
    newton_learn(weights, globals_.blend_gram, globals_.blend_pending, g, s, weight, memory, every)
    for k in range(ACTIVE.size):
        globals_.blend[ACTIVE[k] // N_BLEND, ACTIVE[k] % N_BLEND] = weights[k]


@inner_kernel
def _add_features(out: Floats, square: Floats, work: Work, at: int, g: float) -> None:
    """Add ``g`` times a candidate's features, and times their squares, to its head, shapes ``(2, N_COLUMNS)``."""
    head = 0 if work.candidates[at].had else 1
    add_with_squares(out[head], square[head], g, work.features[at])


@inner_kernel
def _learn_biases(entities: Entities, work: Work, acc: Accumulators, at: int, g: float) -> None:
    """Add ``g`` to the bias gradients of a new candidate's item and category.

    The true candidate's bias rises, and that of one candidate drawn with the model's own probability falls: the same
    in the mean as the whole softmax gradient, at two records an event.
    """
    if work.candidates[at].had:
        return
    row = work.candidates[at].row
    _bias(acc, row, g)
    _bias(acc, entities.category_rows[entities.category[row]], g)


@inner_kernel
def _bias(acc: Accumulators, row: int, g: float) -> None:
    record = acc.records[accumulator(acc, row)]
    record.blend_bias += g
    record.blend_bias_sq += g * g
