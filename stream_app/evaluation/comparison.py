"""Compares two ways to fill the same lists, event by event: differences with errors over users, and paired tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from stream_app.evaluation.measures import LEAST_FOR_ERROR, Json, gains, hits, mean_and_error, measured_on
from stream_app.evaluation.protocol import LISTS

if TYPE_CHECKING:
    from stream_app.evaluation.measures import Int32s
    from stream_app.evaluation.ratings import RatingMeasures
    from stream_app.evaluation.tally import Floats, ModelTally, Truths

_Z95: Final = 1.959964
LEAST_USERS: Final = 10
"""Users from which on an error over users, and what is made of it, says anything."""
_ROUNDING: Final = 1e-12
"""A standard error of so small a part of what it belongs to is 0: what sums of equal numbers leave."""


def exploration(tally: ModelTally, truths: Truths) -> Json | None:
    """Return what drawing slates costs: their hit rate, less that of the same slates without exploration.

    Returns
    -------
    dict or None
        ``hr`` of the drawn slates; ``difference`` and its standard error over users; ``relative``, the difference as a
        share of the slate's hit rate, with its 95 % interval ``low``, ``high`` (linearized, over users; None with fewer
        than :data:`LEAST_USERS` of them). None if the model draws nothing.
    """
    drawn = tally.drawn_hits()
    if drawn is None:
        return None
    on = measured_on("slate", truths)
    a, b, users = drawn[on].astype(np.float64), hits(tally.ranks("slate")[on]), truths.user[on]
    return {"hr": mean_and_error(a), **_paired(a - b, users), **relative_change(a, b, users)}


def relative_change(a: Floats, b: Floats, users: Int32s) -> Json:
    """Return how much larger the sum of ``a`` is than that of ``b``, relative, with a 95 % interval over users.

    The ratio is linearized: its error is that of ``a - (1 + relative) b``, over the mean of ``b``.

    Examples
    --------
    >>> relative_change(np.array([1.0, 0.0, 1.0, 0.0]), np.ones(4), np.arange(4, dtype=np.int32))
    {'relative': -0.5, 'low': None, 'high': None}
    """
    if not b.any() or b.size < LEAST_FOR_ERROR:
        return {"relative": None, "low": None, "high": None}
    relative = float((a - b).sum() / b.sum())
    se = clustered_error(a - b - relative * b, users)
    if se is None:
        return {"relative": round(relative, 6), "low": None, "high": None}
    half = _Z95 * se / float(b.mean())
    return {"relative": round(relative, 6), "low": round(relative - half, 6), "high": round(relative + half, 6)}


def compare(ours: ModelTally, theirs: ModelTally, truths: Truths) -> Json:
    """Test, per list and event by event, whether the hit rates and gains of two models differ.

    The standard error of the mean difference is taken over users (all of a user's events move together), the test of
    hits also in the exact-pairs form of McNemar.

    Returns
    -------
    dict
        Per list and measure: ``difference``, ``se``, ``z``, ``p``; for hits also ``only_ours``, ``only_theirs`` and
        ``mcnemar_p``. With fewer than :data:`LEAST_USERS` users ``se``, ``z`` and ``p`` are None, unless nothing
        differs at all. Where every difference is the same, ``z`` is None and ``p`` is 0.

    References
    ----------
    .. [1] Liang, Zeger (1986), Biometrika 73(1), "Longitudinal data analysis using generalized linear models".
    .. [2] McNemar (1947), Psychometrika 12, "Note on the sampling error of the difference between proportions".
    """
    out: Json = {}
    for name in LISTS:
        on = measured_on(name, truths)
        a, b = ours.ranks(name)[on], theirs.ranks(name)[on]
        out[name] = {
            "hr": {**_paired(hits(a) - hits(b), truths.user[on]), **_mcnemar(hits(a), hits(b))},
            "ndcg": _paired(gains(a) - gains(b), truths.user[on]),
        }
    return out


def compare_ratings(ours: RatingMeasures, theirs: RatingMeasures) -> Json | None:
    """Test whether the errors of two models' predicted ratings differ, rating by rating; None if one predicts none.

    Returns
    -------
    dict or None
        ``mae`` and ``mse``, each with ``difference`` (below 0 where ours is better), ``se``, ``z``, ``p`` as in
        :func:`compare`.
    """
    a, b, users = ours.errors(), theirs.errors(), ours.users()
    if not a.size or a.size != b.size:
        return None
    return {"mae": _paired(np.abs(a) - np.abs(b), users), "mse": _paired(a**2 - b**2, users)}


def _paired(differences: Floats, users: Int32s) -> Json:
    n = int(differences.size)
    if n < LEAST_FOR_ERROR:
        return {"difference": None, "se": None, "z": None, "p": None, "n": n}
    mean = float(differences.mean())
    se = clustered_error(differences - mean, users) if differences.any() else 0.0
    if se is None:
        return {"difference": round(mean, 6), "se": None, "z": None, "p": None, "n": n}
    if se <= _ROUNDING * abs(mean):
        certain = mean != 0.0
        z, p = None if certain else 0.0, 0.0 if certain else 1.0
        return {"difference": round(mean, 6), "se": 0.0, "z": z, "p": p, "n": n}
    z = mean / se
    return {"difference": round(mean, 6), "se": round(se, 6), "z": round(z, 3), "p": _two_sided(z), "n": n}


def clustered_error(residuals: Floats, users: Int32s) -> float | None:
    """Return the standard error of a mean whose residuals these are, with those of one user moving together.

    None with fewer than :data:`LEAST_USERS` users: the residuals of one sum to nothing, those of a few to next to it.

    Examples
    --------
    >>> clustered_error(np.array([1.0, -1.0]), np.array([0, 1], np.int32)) is None
    True
    """
    of_user = np.bincount(users, residuals)
    n_users = int(np.unique(users).size)
    if n_users < LEAST_USERS:
        return None
    small = n_users / (n_users - 1)
    return math.sqrt(small * float((of_user**2).sum())) / residuals.size


def _mcnemar(a: Floats, b: Floats) -> Json:
    only_a, only_b = int(np.count_nonzero(a > b)), int(np.count_nonzero(b > a))
    z = (abs(only_a - only_b) - 1) / math.sqrt(only_a + only_b) if only_a + only_b else 0.0
    return {"only_ours": only_a, "only_theirs": only_b, "mcnemar_p": _two_sided(max(z, 0.0))}


def _two_sided(z: float) -> float:
    """Return the two-sided p-value of a standard normal.

    Examples
    --------
    >>> round(_two_sided(1.96), 3)
    0.05
    """
    return float(f"{math.erfc(abs(z) / math.sqrt(2.0)):.3g}")
