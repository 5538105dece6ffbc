"""Score a user's candidates, and fill the slates of a batch of users."""

import math

import numpy as np

from operators.arrays import Entities, Users, Work
from operators.blend import score_features
from operators.category_model import collect_categories, forget_categories, predict_categories
from operators.context import context_categories, context_items, release_context
from operators.discovery import correct_discoveries
from operators.elementary import exponentials
from operators.factors import build_query
from operators.features import fill_features
from operators.params import LearnParams, SlateParams
from operators.perceptron import N_LIKELY, correct_all
from operators.reactions import correct_by_reactions
from operators.recall import forget_candidates, recall
from operators.refresh import refresh_lines
from operators.sessions import forget_sessions, log_votes, mark_sessions, vote
from operators.slate import pick, reason, remember_shown
from operators.user_profile import find_repeats
from state.arrays import Int32s, Row, Rows
from state.kernel import inner_kernel, kernel
from state.layout import N_SLATE

MAX_LISTED_CATEGORIES = 32
"""Context categories named in a slate at the most; all of them are excluded."""

SLATE = np.dtype(
    [
        ("n", "u1"),
        ("rows", "<i4", (N_SLATE,)),
        ("scores", "<f4", (N_SLATE,)),
        ("propensities", "<f8", (N_SLATE,)),
        ("reasons", "u1", (N_SLATE,)),
        ("sources", "<i4", (N_SLATE,)),
        ("n_categories", "u1"),
        ("categories", "<i4", (MAX_LISTED_CATEGORIES,)),
    ]
)
"""One slate: entity rows, probabilities and propensities of its slots, why and from which row, the context."""


@kernel
def gather(
    users: Users, u: int, entities: Entities, globals_: Row, work: Work, now_s: int, params: LearnParams
) -> tuple[int, int, int, int]:
    """Build the query, score the categories and recall the candidates of a user.

    Returns
    -------
    n, n_categories, n_context_categories, n_sources
        Candidates, listed categories, categories of the context, sources of the query. :func:`release` must follow.
    """
    n_categories, n_context_categories, n_context, n_sources = begin(users, u, entities, globals_, work, now_s, params)
    n = list_all(users, u, entities, work, n_categories, n_context, now_s)
    return n, n_categories, n_context_categories, n_sources


@inner_kernel
def begin(
    users: Users, u: int, entities: Entities, globals_: Row, work: Work, now_s: int, params: LearnParams
) -> tuple[int, int, int, int]:
    """Build the query and score the categories of a user: all of :func:`gather` but the candidates.

    Returns
    -------
    n_categories, n_context_categories, n_context, n_sources
        Listed categories, categories and items of the context, sources of the query. :func:`list_all` or :func:`end`
        must follow.
    """
    n_context_categories = context_categories(users, u, entities, work, now_s, params.session_gap_s)
    n_context = context_items(users, u, work, now_s, params.session_gap_s)
    n_sources = build_query(users, u, entities, work, params.recency)
    n_categories = collect_categories(users, u, entities, work, n_context_categories)
    predict_categories(users, u, entities, globals_, work, n_categories, n_context_categories, now_s)
    return n_categories, n_context_categories, n_context, n_sources


@inner_kernel
def list_all(
    users: Users, u: int, entities: Entities, work: Work, n_categories: int, n_context: int, now_s: int
) -> int:
    """Recall the candidates after :func:`begin`; return how many there are. :func:`release` must follow."""
    n = recall(users, u, entities, work, n_categories, n_context, now_s)
    refresh_lines(entities, work, n, now_s)
    find_repeats(users, u, work.repeat_pages)
    n_sessions = mark_sessions(users, u, entities, work)
    vote(users, u, entities, work)
    log_votes(work, n_categories)
    forget_sessions(work, n_sessions)
    return n


@kernel
def release(users: Users, u: int, entities: Entities, work: Work, n: int, n_categories: int) -> None:
    """Clear the marks that :func:`gather` left in the scratch space."""
    forget_candidates(users, u, entities, work, n)
    end(users, u, work, n_categories)


@inner_kernel
def end(users: Users, u: int, work: Work, n_categories: int) -> None:
    """Clear the marks that :func:`begin` left in the scratch space."""
    release_context(users, u, work)
    forget_categories(work, n_categories)


@kernel(allocates=True)
def score_all(
    users: Users, u: int, entities: Entities, globals_: Row, work: Work, n: int, n_context_categories: int, now_s: int
) -> float:
    """Write the logits of all gathered candidates to ``work.scored``; return the log of their summed exps.

    They are the blend's, corrected by the perceptron, by what reactions to slates taught, and among discoveries.
    """
    fill_features(users, u, entities, work, work.every[:n], n_context_categories, now_s)
    score_features(entities, globals_.blend, work, work.every[:n], work.scored)
    correct_all(entities, globals_, work, n, N_LIKELY, work.scored)
    correct_by_reactions(users, u, globals_, work, n)
    correct_discoveries(entities, globals_, work, n)
    highest, total = -1e30, 0.0
    for k in range(n):
        work.candidates[k].score = work.guess[k] = work.scored[k]
        total += work.scored[k]
        highest = max(highest, work.scored[k])
    if not math.isfinite(total):
        return math.nan
    return highest + math.log(max(exponentials(work.guess, n, highest), 1e-30))


@kernel
def fill_slates(
    users: Users,
    touched: Int32s,
    entities: Entities,
    globals_: Row,
    work: Work,
    learn: LearnParams,
    params: SlateParams,
    choices: Rows,
    out: Rows,
) -> None:
    """Fill one slate per user from the state as it is.

    Parameters
    ----------
    touched
        Rows of the users, shape ``(n,)``.
    choices
        How each slate is drawn, shape ``(n,)``, dtype :data:`operators.draw.CHOICE`.
    out
        Slates, shape ``(n,)``, dtype :data:`SLATE`; ``n`` is 0 where nothing may be recommended.
    """
    picked, propensities = work.picked, work.propensities
    for k in range(touched.shape[0]):
        u = touched[k]
        now_s = int(users.headers[u].last_s)
        n, n_categories, n_context, _ = gather(users, u, entities, globals_, work, now_s, learn)
        log_total = score_all(users, u, entities, globals_, work, n, n_context, now_s)
        m = 0
        if math.isfinite(log_total):
            m = pick(users, u, entities, work, n, now_s, params, choices[k], picked, propensities)
        slate = out[k]
        slate.n = m
        for j in range(m):
            c = work.candidates[picked[j]]
            slate.rows[j] = c.row
            slate.scores[j] = math.exp(c.score - log_total)
            slate.propensities[j] = propensities[j]
            slate.reasons[j] = reason(entities, work, picked[j])
            slate.sources[j] = c.source
        slate.n_categories = min(n_context, MAX_LISTED_CATEGORIES)
        for j in range(slate.n_categories):
            slate.categories[j] = work.category_context[j]
        if m > 0:
            remember_shown(users, u, work, picked, m)
        release(users, u, entities, work, n, n_categories)
