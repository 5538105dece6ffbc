"""Compares two ways to fill the same lists, event by event: differences with errors over users, and paired tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit

from stream_app.evaluation.measures import Json, clustered_error, gains, hits, mean_and_error, measured_on
from stream_app.evaluation.protocol import LISTS

if TYPE_CHECKING:
    from stream_app.evaluation.measures import Int32s
    from stream_app.evaluation.ratings import RatingMeasures
    from stream_app.evaluation.tally import Floats, ModelTally, Truths

_UPPER: Final = 0.975
"""Quantile at the upper end of a 95 % interval."""
_ROUNDING: Final = 1e-12
"""A standard error of so small a part of what it belongs to is 0: what sums of equal numbers leave."""


def exploration(tally: ModelTally, truths: Truths) -> Json | None:
    """Return what drawing slates costs: their hit rate, less that of the same slates without exploration.

    Returns
    -------
    dict or None
        ``hr`` of the drawn slates; ``difference`` and its standard error over users; ``relative``, the difference as a
        share of the slate's hit rate, with its 95 % interval ``low``, ``high`` (linearized, over users; None with fewer
        than :data:`~stream_app.evaluation.measures.LEAST_USERS` of them). None if the model draws nothing.
    """
    drawn = tally.drawn_hits()
    if drawn is None:
        return None
    on = measured_on("slate", truths)
    a, b, users = drawn[on].astype(np.float64), hits(tally.ranks("slate")[on]), truths.user[on]
    return {"hr": mean_and_error(a, users), **_paired(a - b, users), **relative_change(a, b, users)}


def relative_change(a: Floats, b: Floats, users: Int32s) -> Json:
    """Return how much larger the sum of ``a`` is than that of ``b``, relative, with a 95 % interval over users.

    The ratio is linearized: its error is that of ``a - (1 + relative) b``, over the mean of ``b``.

    Examples
    --------
    >>> relative_change(np.array([1.0, 0.0, 1.0, 0.0]), np.ones(4), np.arange(4, dtype=np.int32))
    {'relative': -0.5, 'low': None, 'high': None}
    """
    if not b.any():
        return {"relative": None, "low": None, "high": None}
    relative = float((a - b).sum() / b.sum())
    se = clustered_error(a - b - relative * b, users)
    if se is None:
        return {"relative": round(relative, 6), "low": None, "high": None}
    half = float(stdtrit(_freedom(users), _UPPER)) * se / float(b.mean())
    return {"relative": round(relative, 6), "low": round(relative - half, 6), "high": round(relative + half, 6)}


def compare(ours: ModelTally, theirs: ModelTally, truths: Truths) -> Json:
    """Test, per list and event by event, whether the hit rates and gains of two models differ.

    The standard error of the mean difference is taken over users (all of a user's events move together), and compared
    with Student's t for as many users as there are in effect. Beside it stands McNemar's exact test of hits, which
    takes all events as independent, and so is too sure.

    Returns
    -------
    dict
        Per list and measure: ``difference``, ``se``, ``z``, ``p``; for hits also ``only_ours``, ``only_theirs`` and
        ``mcnemar_p``. With fewer than :data:`~stream_app.evaluation.measures.LEAST_USERS` users ``se``, ``z`` and ``p``
        are None, unless nothing differs at all. Where every difference is the same, ``z`` is None and ``p`` is 0.

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
    if not n:
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
    p = float(f"{2.0 * stdtr(_freedom(users), -abs(z)):.3g}")
    return {"difference": round(mean, 6), "se": round(se, 6), "z": round(z, 3), "p": p, "n": n}


def _freedom(users: Int32s) -> float:
    """Return the degrees of freedom of an error over users: as if all had as many events as they have in effect.

    Examples
    --------
    >>> _freedom(np.repeat(np.arange(10, dtype=np.int32), 3))
    9.0
    """
    counts = np.bincount(users).astype(np.float64)
    return max(float(counts.sum() ** 2 / (counts**2).sum()) - 1.0, 1.0)


def _mcnemar(a: Floats, b: Floats) -> Json:
    """Return McNemar's exact test: whether each of the two is as often alone in being right as a coin would say.

    Examples
    --------
    >>> _mcnemar(np.ones(5), np.zeros(5))
    {'only_ours': 5, 'only_theirs': 0, 'mcnemar_p': 0.0625}
    """
    only_a, only_b = int(np.count_nonzero(a > b)), int(np.count_nonzero(b > a))
    p = min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return {"only_ours": only_a, "only_theirs": only_b, "mcnemar_p": float(f"{p:.3g}")}
