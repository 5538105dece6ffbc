"""Numbers of an evaluation, with standard errors, of all events and of groups of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.evaluation.protocol import LISTS
from stream_app.evaluation.tally import Bools, Floats, Int8s, ModelTally, Truths
from stream_app.records import path_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPLITS: Final = ("all", "repeat", "explore", "newcat")
"""All; had before; never had; of a category that is new to the user (a part of explore)."""
LEAST_USERS: Final = 10
"""Users from which on an error over users, and what is made of it, says anything."""

Int32s = npt.NDArray[np.int32]
Json = dict[str, Any]


def hits(ranks: Int8s) -> Floats:
    """Return 1 where the item was on the list."""
    return (ranks >= 0).astype(np.float64)


def gains(ranks: Int8s) -> Floats:
    """Return the normalized discounted gain of one relevant item: ``1 / log2(rank + 2)``, 0 where it was missed.

    References
    ----------
    .. [1] Järvelin, Kekäläinen (2002), ACM TOIS 20(4), "Cumulated gain-based evaluation of IR techniques".

    Examples
    --------
    >>> gains(np.array([0, 2, -1], np.int8))
    array([1. , 0.5, 0. ])
    """
    return np.where(ranks >= 0, 1.0 / np.log2(np.maximum(ranks, 0).astype(np.float64) + 2.0), 0.0)


def mean_and_error(values: Floats, users: Int32s) -> Json:
    """Return mean, its standard error over users and the number of values; None where there are too few.

    Parameters
    ----------
    users
        Number of each value's user: what happens to one user is alike, and so says less than as many users would.

    Examples
    --------
    >>> mean_and_error(np.array([1.0, 0.0] * 6), np.arange(12, dtype=np.int32))
    {'mean': 0.5, 'se': 0.150756, 'n': 12}
    >>> mean_and_error(np.array([1.0, 0.0]), np.arange(2, dtype=np.int32))
    {'mean': 0.5, 'se': None, 'n': 2}
    """
    n = int(values.size)
    if n == 0:
        return {"mean": None, "se": None, "n": 0}
    mean = float(values.mean())
    se = clustered_error(values - mean, users)
    return {"mean": round(mean, 6), "se": None if se is None else round(se, 6), "n": n}


def clustered_error(residuals: Floats, users: Int32s) -> float | None:
    """Return the standard error of a mean whose residuals these are, with those of one user moving together.

    None with fewer than :data:`LEAST_USERS` users: the residuals of one sum to nothing, those of a few to next to it.

    References
    ----------
    .. [1] Liang, Zeger (1986), Biometrika 73(1), "Longitudinal data analysis using generalized linear models".

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


def measured_on(name: str, truths: Truths) -> Bools:
    """Return which events a list is measured on: O on all, X and slate on crossing ones, E on those never had."""
    if name == "o":
        return np.ones_like(truths.crosses)
    if name == "e":
        return truths.crosses & ~truths.had
    return truths.crosses


def split_of(truths: Truths) -> dict[str, Bools]:
    """Return which events belong to each of :data:`SPLITS`."""
    return {
        "all": np.ones_like(truths.had),
        "repeat": truths.had,
        "explore": ~truths.had,
        "newcat": ~truths.had_category,
    }


def quality(tally: ModelTally, truths: Truths, where: Bools | None = None) -> Json:
    """Return hit rate and NDCG at ten of every list, by split.

    Parameters
    ----------
    where
        Only these events; all of them if None.
    """
    out: Json = {}
    splits = split_of(truths)
    for name in LISTS:
        on = measured_on(name, truths)
        if where is not None:
            on = on & where
        ranks, users = tally.ranks(name), truths.user
        wanted = ("all",) if name == "e" else SPLITS
        out[name] = {
            split: {
                "hr": mean_and_error(hits(ranks[on & splits[split]]), users[on & splits[split]]),
                "ndcg": mean_and_error(gains(ranks[on & splits[split]]), users[on & splits[split]]),
            }
            for split in wanted
        }
    return out


def spread(tally: ModelTally, truths: Truths, n_listable: int) -> Json:
    """Return, per list, categories of a list, share of the catalogue ever listed, and how unevenly it was listed."""
    out: Json = {}
    for name in LISTS:
        counts = np.sort(tally.listed(name)).astype(np.float64)
        counts = counts[counts > 0]
        out[name] = {
            "categories": mean_and_error(tally.n_categories(name).astype(np.float64), truths.user),
            "n_items": int(counts.size),
            "coverage": round(counts.size / max(n_listable, 1), 6),
            "gini": gini(counts, n_listable),
        }
    return out


def gini(counts: Floats, n_items: int) -> float | None:
    """Return the Gini index of how often each of ``n_items`` was listed; 0 is even, 1 is always the same one.

    Parameters
    ----------
    counts
        Of the items that were listed, ascending; the others count as 0.

    Examples
    --------
    >>> gini(np.array([5.0, 5.0]), 2), gini(np.array([10.0]), 4)
    (0.0, 0.75)
    """
    if counts.size == 0:
        return None
    n = max(n_items, counts.size)
    ranks = np.arange(n - counts.size + 1, n + 1)
    return round(float(2.0 * (ranks * counts).sum() / (n * counts.sum()) - (n + 1) / n), 6)


def probabilities(tally: ModelTally, truths: Truths) -> Json:
    """Return log-loss and AUC of the candidates' probabilities, and how often the true item was among them."""
    losses, aucs = tally.losses, tally.aucs
    has_loss, has_auc = np.isfinite(losses), np.isfinite(aucs)
    n, n_known = int(losses.size), int(np.count_nonzero(has_loss))
    return {
        "log_loss": mean_and_error(losses[has_loss], truths.user[has_loss]),
        "auc": mean_and_error(aucs[has_auc], truths.user[has_auc]),
        "candidate_recall": round(n_known / n, 6) if n and n_known else None,
    }


def by_group(tally: ModelTally, truths: Truths, groups: Mapping[str, Bools]) -> Json:
    """Return hit rates of all lists for groups of events."""
    out: Json = {}
    for label, where in groups.items():
        on = {name: measured_on(name, truths) & where for name in LISTS}
        out[label] = {name: mean_and_error(hits(tally.ranks(name)[on[name]]), truths.user[on[name]]) for name in LISTS}
    return out


def by_time(truths: Truths, n_parts: int = 20) -> dict[str, Bools]:
    """Return groups of events by their order, each as many events, numbered from 0."""
    n = truths.index.size
    part = np.minimum(np.arange(n) * n_parts // max(n, 1), n_parts - 1)
    return {str(k): part == k for k in range(n_parts) if (part == k).any()}


def by_activity(truths: Truths) -> dict[str, Bools]:
    """Return groups of events by how many events their user had before; 1 is the first slate a new user gets."""
    return _by_count(truths.n_before, (0, 1, 2, 5, 20, 100, 500, 2_000))


def by_item_age(truths: Truths) -> dict[str, Bools]:
    """Return groups of events by how many events their item had before."""
    return _by_count(truths.n_item_before, (0, 1, 10, 100, 1_000))


def by_category(truths: Truths, categories: Sequence[tuple[str, ...]], n_largest: int = 30) -> dict[str, Bools]:
    """Return groups of events by category, the largest ones by crossing events."""
    known = truths.category[truths.crosses]
    counts = np.bincount(known, minlength=len(categories))
    largest = np.lexsort((np.arange(counts.size), -counts))[:n_largest]
    found: dict[str, Bools] = {}
    for k in largest.tolist():
        if counts[k]:
            label = path_label(categories[k])
            label = label if label not in found else f"{label} {list(categories[k])}"  # a slash within a level
            found[label] = truths.category == k
    return found


def _by_count(counts: Int32s, edges: tuple[int, ...]) -> dict[str, Bools]:
    groups = {}
    for k, low in enumerate(edges):
        high = edges[k + 1] if k + 1 < len(edges) else None
        where = counts >= low
        if high is not None:
            where = where & (counts < high)
        label = f"{low}" if high == low + 1 else f"{low}-{high - 1}" if high is not None else f"{low}+"
        if where.any():
            groups[label] = where
    return groups


def cold_items(tally: ModelTally, first_events: Mapping[int, Sequence[int]], n_first: int) -> Json:
    """Return how soon new items were listed.

    Parameters
    ----------
    first_events
        Per new item that the catalogue knows, the positions in the file of its first events.
    n_first
        Only items with so many events are looked at: others had no time to be found.

    Returns
    -------
    dict
        How many items that were, and the shares that were on a list by their first event, by their second, and by
        the last of these.
    """
    whole = {item: at for item, at in first_events.items() if len(at) == n_first}
    listed = [(first, at) for item, at in whole.items() if (first := tally.first_listed(item)) is not None]
    n = max(len(whole), 1)
    return {
        "n": len(whole),
        "before_first_event": round(sum(seen <= at[0] for seen, at in listed) / n, 6),
        "before_second_event": round(sum(seen <= at[1] for seen, at in listed) / n, 6),
        "before_tenth_event": round(sum(seen <= at[-1] for seen, at in listed) / n, 6),
    }
