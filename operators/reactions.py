r"""What reactions to slates teach: a correction of the blend's logits, learned from slates alone.

The blend says what a user takes next by themselves. What they take of what is shown differs: some things are bought by
habit and need no slate, some were shown ten times and ignored. Of each event that names the user's newest slate the
question is which of its items was taken, given that one was. With the logit :math:`b_i` of the blend and the
perceptron (:mod:`operators.perceptron`), the features
:math:`x_i` of :mod:`operators.features` without the squares and those of content vectors, :math:`s_i` slates in a row
before this one that showed the item without a reaction, and the place :math:`k_i`,

.. math:: P(i) \propto \exp(b_i + h \cdot x_i + a \log(1 + s_i) + g_{k_i}).

The places' :math:`g` take up how much a place is looked at, and are left out where slates are ranked: an item earns
nothing by having been on top. Whether a user looks at slates at all, or takes many things, cancels out. Without
reactions all of it stays 0. Items of the slate that were taken already are no alternatives.

Slates are ranked by :math:`b + h x + a \log(1 + s) + c`, with one :math:`c` for all items that the user had and one for
all new ones, such that either kind stays as likely as the blend says. What is learned, is learned within a slate. Where
slates hold one kind alone, no reaction says what the other kind would have earned; a correction that could lift
a whole kind keeps slates that way, whatever they earn (``docs/quality.md``).

References
----------
.. [1] McFadden (1974), "Conditional logit analysis of qualitative choice behavior".
.. [2] Joachims, Granka, Pan, Hembrooke, Gay (2005), SIGIR, "Accurately interpreting clickthrough data as implicit
   feedback".
"""

import math

import numpy as np

from operators.arrays import Entities, Users, Work
from operators.blend import score_features
from operators.elementary import exponentials
from operators.features import fill_features
from operators.newton import EVERY, newton_learn
from operators.numeric import draw, uniform
from operators.perceptron import correct_logits
from operators.weights import N_REACTED, N_REACTION, N_REACTION_PLACES
from state.arrays import Floats, Row
from state.kernel import inner_kernel, kernel
from state.layout import N_EXPOSURES, N_SLATE, USER_EXPOSURES

TYPE_IMPRESSION = 0
AT_SHOWN = 2 * N_REACTED
"""Where the two weights of the slates in a row stand, for items the user had and for new ones."""
AT_PLACES = AT_SHOWN + 2


@kernel
def reacted_place(users: Users, u: int, e: Row) -> np.int64:
    """Return the place of the event's item in the user's newest slate; -1 if this is no first reaction to that slate.

    Parameters
    ----------
    e
        One record of :data:`operators.arrays.EVENT`.
    """
    header = users.headers[u]
    if e.slate == np.uint64(0) or e.reward <= 0.0 or e.type == TYPE_IMPRESSION or header.n_exposures == 0:
        return np.int64(-1)
    at = header.heads[USER_EXPOSURES]
    for _ in range((np.int64(header.exposure_at) + N_EXPOSURES - 1) % N_EXPOSURES):
        at = users.exposures[at].next
    if users.exposures[at].offset + np.uint64(1) != e.slate:
        return np.int64(-1)
    for k in range(np.int64(header.n_shown)):
        if header.shown[k] == e.row and header.shown_times[k] > 0:
            return np.int64(k)
    return np.int64(-1)


@inner_kernel(allocates=True)
def correct_by_reactions(users: Users, u: int, globals_: Row, work: Work, n: int) -> None:
    """Add what reactions taught to the logits of the candidates, whose features are filled, in ``work.scored``.

    Those that the user had stay as likely together as they were, and so do the new ones.
    """
    if not np.any(globals_.reaction):
        return
    before = work.scored[:n].copy()
    for k in range(n):
        at = 0 if work.candidates[k].had else N_REACTED
        work.scored[k] += _dot(globals_.reaction[at : at + N_REACTED], work.features[k])
    _add_shown(users, u, globals_, work)
    old, new = np.empty(n, np.float32), np.empty(n, np.float32)
    for had in range(2):
        m, highest_old, highest_new = 0, -1e30, -1e30
        for k in range(n):
            if work.candidates[k].had == had:
                old[m], new[m] = before[k], work.scored[k]
                highest_old, highest_new = max(highest_old, old[m]), max(highest_new, new[m])
                m += 1
        if m > 0:
            shift = highest_old + math.log(exponentials(old, m, highest_old))
            shift -= highest_new + math.log(exponentials(new, m, highest_new))
            for k in range(n):
                if work.candidates[k].had == had:
                    work.scored[k] += shift


@inner_kernel(fastmath={"reassoc", "contract"})
def _dot(weights: Floats, x: Floats) -> float:
    total = np.float32(0.0)
    for f in range(weights.shape[0]):
        total += weights[f] * x[f]
    return float(total)


@inner_kernel
def _add_shown(users: Users, u: int, globals_: Row, work: Work) -> None:
    """Add to the logits of the last slate's items what it says that nobody reacted to them, however often."""
    header = users.headers[u]
    for k in range(np.int64(header.n_shown)):
        if header.shown_times[k] > 0:
            row = header.shown[k]
            at = work.position[row] if row > 0 else -1
            if at >= 0:
                head = AT_SHOWN if work.candidates[at].had else AT_SHOWN + 1
                work.scored[at] += globals_.reaction[head] * math.log(1.0 + header.shown_times[k])


@kernel(allocates=True)
def learn_reaction(
    users: Users,
    u: int,
    entities: Entities,
    globals_: Row,
    work: Work,
    place: np.int64,
    n_context_categories: int,
    now_s: int,
    weight: float,
    memory: float,
) -> float:
    """Make one step towards the item at a place of the user's newest slate, against the others there.

    Parameters
    ----------
    place
        From :func:`reacted_place`; candidates are gathered.
    weight
        Importance of the reaction, above 0.
    memory
        Reactions that are remembered.

    Returns
    -------
    float
        Log-loss of the choice before the step, in nats; NaN where the item is no candidate, or alone.
    """
    header = users.headers[u]
    at = np.full(N_SLATE, -1, np.int64)
    p = np.zeros(N_SLATE, np.float64)
    which, scores = np.empty(N_SLATE, np.int32), np.empty(N_SLATE, np.float32)
    n = 0
    for k in range(np.int64(header.n_shown)):
        row = header.shown[k]
        position = work.position[row] if row > 0 else -1
        if position < 0 or header.shown_times[k] == 0:
            continue
        at[k] = which[n] = position
        n += 1
    if at[place] < 0 or n < 2:  # noqa: PLR2004 - one is no choice
        return math.nan
    fill_features(users, u, entities, work, which[:n], n_context_categories, now_s)
    score_features(entities, globals_.blend, work, which[:n], scores[:n])
    correct_logits(entities, globals_, work, which[:n], scores[:n])
    highest, total = -1e30, 0.0
    n = 0
    for k in range(np.int64(header.n_shown)):
        if at[k] >= 0:
            p[k] = scores[n] + globals_.reaction[AT_PLACES + k]
            p[k] += _correction(globals_, work, at[k], header.shown_times[k])
            highest = max(highest, p[k])
            n += 1
    for k in range(np.int64(header.n_shown)):
        p[k] = math.exp(p[k] - highest) if at[k] >= 0 else 0.0
        total += p[k]
    if not math.isfinite(total):
        return math.nan
    gradient = np.zeros(N_REACTION, np.float32)
    for k in range(np.int64(header.n_shown)):
        if at[k] >= 0:
            g = weight * (p[k] / total - (1.0 if k == place else 0.0))
            _add_gradient(gradient, g, work, at[k], header.shown_times[k])
            gradient[AT_PLACES + k] += g
    fisher = gradient.copy()
    drawn = np.int64(draw(p, int(header.n_shown), total * uniform(globals_.draws), int(place)))
    globals_.draws += np.uint64(1)
    for taken, g in ((place, weight), (drawn, -weight)):
        _add_gradient(fisher, g, work, at[taken], header.shown_times[taken])
        fisher[AT_PLACES + taken] += g
    newton_learn(
        globals_.reaction, globals_.reaction_gram, globals_.reaction_pending, gradient, fisher, weight, memory, EVERY
    )  # fmt: skip
    return -math.log(max(p[place] / total, 1e-12))


@inner_kernel
def _correction(globals_: Row, work: Work, at: int, shown_times: int) -> float:
    head = 0 if work.candidates[at].had else 1
    out = globals_.reaction[AT_SHOWN + head] * math.log(float(shown_times))
    for f in range(N_REACTED):
        out += globals_.reaction[head * N_REACTED + f] * work.features[at, f]
    return out


@inner_kernel
def _add_gradient(gradient: Floats, g: float, work: Work, at: int, shown_times: int) -> None:
    head = 0 if work.candidates[at].had else 1
    gradient[AT_SHOWN + head] += g * math.log(float(shown_times))
    for f in range(N_REACTED):
        gradient[head * N_REACTED + f] += g * work.features[at, f]


assert AT_PLACES + N_REACTION_PLACES == N_REACTION, "places come last"  # noqa: S101
