"""Columns of an evaluation: one row per scored event with what was true, and per model where its lists had the item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from stream_app.evaluation.history import UNKNOWN
from stream_app.evaluation.protocol import LIST_SIZE, LISTS, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.evaluation.history import Before, Numbering

MISS: Final = -1
"""Rank of an item that is not in a list."""
NEVER: Final = np.iinfo(np.int64).max
"""Position of what did not happen."""
N_BINS: Final = 240
"""Bins of the candidates' probabilities, eight to a factor of two, from 2^-30 to 1."""
_BINS_PER_OCTAVE: Final = 8
_NO_CATEGORY: Final = -2
"""Category of an empty place of a list."""

Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Growing:
    """An array that is appended to by parts."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = dtype
        self._parts: list[np.ndarray] = []

    def extend(self, values: Sequence[float] | np.ndarray) -> None:
        """Append values."""
        self._parts.append(np.asarray(values, self._dtype))

    def array(self) -> np.ndarray:
        """Return all of it."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.zeros(0, self._dtype)]
        return self._parts[0]


@dataclass(frozen=True, slots=True)
class Truths:
    """What is true of the scored events; all arrays have one entry per event.

    Attributes
    ----------
    index
        Position in the file.
    time_ms
        Event time, milliseconds since 1970 UTC.
    category
        Number of the item's category, negative if unknown.
    crosses
        Whether its category is known and not in the context: what X and the slate are measured on.
    had, had_category
        Whether the user had the item, or its category, before.
    n_before, n_item_before
        Events of the user, and of the item, before.
    user
        Number of the user, for errors that know that one user's events are alike.
    """

    index: Int64s
    time_ms: Int64s
    category: Int32s
    crosses: Bools
    had: Bools
    had_category: Bools
    n_before: Int32s
    n_item_before: Int32s
    user: Int32s


class TruthColumns:
    """Collects :class:`Truths`."""

    def __init__(self) -> None:
        self._columns = {
            "index": Growing(np.int64),
            "time_ms": Growing(np.int64),
            "category": Growing(np.int32),
            "crosses": Growing(np.bool_),
            "had": Growing(np.bool_),
            "had_category": Growing(np.bool_),
            "n_before": Growing(np.int32),
            "n_item_before": Growing(np.int32),
            "user": Growing(np.int32),
        }
        self._users: dict[str, int] = {}

    def add(self, rows: Sequence[tuple[int, int, str, Before]]) -> None:
        """Append events, each as its position, time in milliseconds, user id and what was true before it."""
        users = self._users
        column = self._columns
        column["index"].extend([index for index, _, _, _ in rows])
        column["time_ms"].extend([time_ms for _, time_ms, _, _ in rows])
        column["user"].extend([users.setdefault(user_id, len(users)) for _, _, user_id, _ in rows])
        column["category"].extend([before.category for _, _, _, before in rows])
        column["crosses"].extend([before.crosses for _, _, _, before in rows])
        column["had"].extend([before.had for _, _, _, before in rows])
        column["had_category"].extend([before.had_category for _, _, _, before in rows])
        column["n_before"].extend([before.n_events for _, _, _, before in rows])
        column["n_item_before"].extend([before.n_item_events for _, _, _, before in rows])

    def truths(self) -> Truths:
        """Return all of it."""
        return Truths(**{name: column.array() for name, column in self._columns.items()})


class ModelTally:
    """What one model's answers were worth.

    Parameters
    ----------
    numbering
        Numbers of items and their categories.

    Attributes
    ----------
    bins_all, bins_true
        Candidates, and true items among them, per bin of probability; shape ``(N_BINS,)``.
    n_wrong
        Lists with an item that had no place there: one of the context, of its categories on X, E and slate, one that
        the catalogue does not know, or one twice.
    """

    def __init__(self, numbering: Numbering) -> None:
        self._numbering = numbering
        self._ranks = {name: Growing(np.int8) for name in LISTS}
        self._drawn = Growing(np.bool_)
        self._n_categories = {name: Growing(np.int8) for name in LISTS}
        self._loss = Growing(np.float32)
        self._auc = Growing(np.float32)
        self._listed = {name: np.zeros(0, np.int64) for name in LISTS}
        self._first_listed = np.zeros(0, np.int64)
        self.bins_all = np.zeros(N_BINS, np.int64)
        self.bins_true = np.zeros(N_BINS, np.int64)
        self.n_wrong = 0

    def add(self, answers: Sequence[Scored], truths: Sequence[Before]) -> None:
        """Append the answers of a batch."""
        if not answers:
            return
        index = np.array([answer.index for answer in answers], np.int64)
        true = np.array([before.item for before in truths], np.int32)
        self._drawn.extend(
            [
                before.item in {self._numbering.item(item_id) for item_id in answer.drawn}
                for answer, before in zip(answers, truths, strict=True)
                if answer.drawn is not None
            ]
        )
        for name in LISTS:
            items = self._matrix(name, answers)
            self._grow()
            found = items == true[:, None]
            self._ranks[name].extend(np.where(found.any(axis=1), found.argmax(axis=1), MISS))
            categories = np.where(items >= 0, self._numbering.categories_of()[items], _NO_CATEGORY)
            self._n_categories[name].extend(_n_distinct(categories))
            listed = items >= 0
            np.add.at(self._listed[name], items[listed], 1)
            np.minimum.at(self._first_listed, items[listed], np.broadcast_to(index[:, None], items.shape)[listed])
            self._check(name, items, categories, truths)
        self._loss.extend([np.nan if answer.loss is None else answer.loss for answer in answers])
        self._auc.extend([_auc(answer) for answer in answers])
        self._bin(answers)

    def _matrix(self, name: str, answers: Sequence[Scored]) -> Int32s:
        """Return the items of a list by number, shape ``(n, 10)``, -1 where it is shorter."""
        number = self._numbering.item
        items = np.full((len(answers), LIST_SIZE), -1, np.int32)
        for row, answer in enumerate(answers):
            ids = answer.lists.get(name, [])[:LIST_SIZE]
            items[row, : len(ids)] = [number(item_id) for item_id in ids]
        return items

    def _grow(self) -> None:
        wanted = len(self._numbering.item_ids) - self._first_listed.size
        if wanted > 0:
            wanted += self._first_listed.size
            self._first_listed = np.pad(self._first_listed, (0, wanted), constant_values=NEVER)
            self._listed = {name: np.pad(counts, (0, wanted)) for name, counts in self._listed.items()}

    def _check(self, name: str, items: Int32s, categories: Int32s, truths: Sequence[Before]) -> None:
        for row, of_row, before in zip(items.tolist(), categories.tolist(), truths, strict=True):
            known = [item for item in row if item >= 0]
            if (
                not before.context.isdisjoint(known)
                or (name != "o" and not before.context_categories.isdisjoint(of_row))
                or UNKNOWN in of_row
                or len(set(known)) < len(known)
            ):
                self.n_wrong += 1

    def listed(self, name: str) -> Int64s:
        """Return how often each item, by number, was on a list."""
        return self._listed[name]

    def first_listed(self, item: int) -> int | None:
        """Return the position in the file of the first event for which an item was on any list."""
        first = int(self._first_listed[item]) if item < self._first_listed.size else NEVER
        return None if first == NEVER else first

    def _bin(self, answers: Sequence[Scored]) -> None:
        known = [answer for answer in answers if answer.scores is not None and answer.scores.size]
        if not known:
            return
        scores = np.concatenate([answer.scores for answer in known if answer.scores is not None])
        self.bins_all += np.bincount(probability_bins(scores), minlength=N_BINS)
        true = [
            answer.scores[answer.true_at]
            for answer in known
            if answer.true_at is not None and answer.scores is not None
        ]
        if true:
            self.bins_true += np.bincount(probability_bins(np.array(true)), minlength=N_BINS)

    def ranks(self, name: str) -> Int8s:
        """Return the 0-based rank of the true item on a list per event, :data:`MISS` where it is not on it."""
        return self._ranks[name].array()

    def drawn_hits(self) -> Bools | None:
        """Return whether the true item was on the drawn slate per event; None if the model draws none."""
        hits = self._drawn.array()
        return hits if hits.size == self.ranks("slate").size else None

    def n_categories(self, name: str) -> Int8s:
        """Return the categories of a list per event."""
        return self._n_categories[name].array()

    @property
    def losses(self) -> Floats:
        """Log-loss per event in nats, NaN where the item was no candidate."""
        return self._loss.array().astype(np.float64)

    @property
    def aucs(self) -> Floats:
        """Share of the other candidates below the true item, per event, ties as half; NaN where it was none."""
        return self._auc.array().astype(np.float64)


def probability_bins(scores: np.ndarray) -> Int64s:
    """Return the bin of each probability.

    Examples
    --------
    >>> probability_bins(np.array([1.0, 0.5, 0.0]))
    array([239, 232,   0])
    """
    octaves = np.log2(np.maximum(np.asarray(scores, np.float64), 1e-12))
    bins = np.floor(octaves * _BINS_PER_OCTAVE).astype(np.int64) + N_BINS
    clipped: Int64s = np.clip(bins, 0, N_BINS - 1)
    return clipped


def bin_edges() -> Floats:
    """Return the lower edges of the bins and, last, 1; shape ``(N_BINS + 1,)``."""
    edges: Floats = 2.0 ** ((np.arange(N_BINS + 1) - N_BINS) / _BINS_PER_OCTAVE)
    return edges


def _n_distinct(categories: Int32s) -> Int64s:
    """Return how many different categories each row holds, empty places not counted.

    Examples
    --------
    >>> _n_distinct(np.array([[3, 1, 3, -2], [-2, -2, -2, -2]], np.int32))
    array([2, 0])
    """
    ordered = np.sort(categories, axis=1)
    new = np.ones(ordered.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    counts: Int64s = (new & (ordered != _NO_CATEGORY)).sum(axis=1)
    return counts


def _auc(answer: Scored) -> float:
    scores, at = answer.scores, answer.true_at
    if scores is None or at is None or scores.size < 2:  # noqa: PLR2004 - one candidate has no other
        return np.nan
    below = np.count_nonzero(scores < scores[at])
    equal = np.count_nonzero(scores == scores[at]) - 1
    return float((below + 0.5 * equal) / (scores.size - 1))
