"""What all baselines share: their own history, and the four lists cut from one ranking by the rules of the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from operators.cap import cap_in_force
from stream_app.evaluation.history import UNKNOWN, Before, History, Numbering
from stream_app.evaluation.protocol import LIST_SIZE, Answers, Bools, Rated, Scored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.evaluation.history import UserHistory
    from stream_app.evaluation.source import Catalog
    from stream_app.records import Event


class Ranker(Protocol):
    """The method itself. Items are numbers of :class:`~stream_app.evaluation.history.Numbering`."""

    def rank(self, user_id: str, user: UserHistory, before: Before, time_ms: int) -> Iterable[int]:
        """Yield items best first, none twice; as many as are asked for, or as many as there are."""

    def learn(self, event: Event, item: int, user: UserHistory) -> None:
        """Learn from an event; ``user`` is its history before it."""

    def forget(self, user_id: str) -> None:
        """Erase a user."""

    def stars(self, event: Event, item: int) -> float | None:
        """Predict the value of a rating before it is learned; None if the method predicts none."""


class Cut:
    """Cuts the four lists from one ranking.

    Parameters
    ----------
    numbering
        Categories of items; an item without one is never listed.
    cap, discovery_slots
        Of the slate, as the settings say; a cap of 0 is none. The categories that decide which cap is in force are
        those of the catalogue outside the context: all that can be listed is a candidate.
    """

    def __init__(self, numbering: Numbering, catalog: Catalog, *, cap: int, discovery_slots: int) -> None:
        self._numbering = numbering
        self._catalog = catalog
        self._cap, self._discovery_slots = cap, discovery_slots
        self._listable: dict[int, bool] = {}
        items = filter(self._may_list, map(numbering.item, catalog.entries))
        self._categories = frozenset(numbering.category_of[item] for item in items)

    def lists(self, ranked: Iterable[int], before: Before, had: set[int]) -> dict[str, list[str]]:
        """Return item ids per list, and ask for no more of the ranking than is needed."""
        category_of = self._numbering.category_of
        x: list[int] = []
        o: list[int] = []
        e: list[int] = []
        n_categories = len(self._categories - before.context_categories)
        slate = Slate(cap_in_force(self._cap, LIST_SIZE, n_categories), self._discovery_slots)
        for item in ranked:
            if item in before.context or not self._may_list(item):
                continue
            category = category_of[item]
            if len(o) < LIST_SIZE:
                o.append(item)
            if category not in before.context_categories:
                new = item not in had
                if len(x) < LIST_SIZE:
                    x.append(item)
                if new and len(e) < LIST_SIZE:
                    e.append(item)
                slate.offer(item, category, new=new)
            if len(o) == len(x) == len(e) == LIST_SIZE and slate.full:
                break
        ids = self._numbering.item_ids
        lists = {"x": x, "o": o, "e": e, "slate": slate.items()}
        return {name: [ids[item] for item in items] for name, items in lists.items()}

    def _may_list(self, item: int) -> bool:
        may = self._listable.get(item)
        if may is None:
            entry = self._catalog.entries.get(self._numbering.item_ids[item])
            may = entry is not None and entry.available and self._numbering.category_of[item] != UNKNOWN
            self._listable[item] = may
        return may


class Slate:
    """A slate in the making: at most ``cap`` items of a category, the last slots kept for items never had.

    The cap is the one in force, see :func:`operators.cap.cap_in_force`.
    """

    def __init__(self, cap: int, discovery_slots: int) -> None:
        self._cap = cap
        self._n_kept = discovery_slots
        self._taken: list[int] = []
        self._waiting: list[tuple[int, int]] = []
        self._per_category: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """Whether nothing that is offered can change it any more."""
        return len(self._taken) == LIST_SIZE

    def offer(self, item: int, category: int, *, new: bool) -> None:
        """Offer the next best item."""
        if self.full or not self._has_room(category):
            return
        if new:
            self._n_kept = max(self._n_kept - 1, 0)
        elif len(self._taken) >= LIST_SIZE - self._n_kept:
            self._waiting.append((item, category))
            return
        self._take(item, category)

    def items(self) -> list[int]:
        """Return the slots in their order; slots kept for discoveries that never came go to the next best."""
        for item, category in self._waiting:
            if not self.full and self._has_room(category):
                self._take(item, category)
        self._waiting.clear()
        return self._taken

    def _has_room(self, category: int) -> bool:
        return self._cap == 0 or self._per_category.get(category, 0) < self._cap

    def _take(self, item: int, category: int) -> None:
        self._taken.append(item)
        self._per_category[category] = self._per_category.get(category, 0) + 1


class Baseline:
    """A ranker behind the interface of models.

    Parameters
    ----------
    name
        As of ``--model``.
    ranker
        The method.
    history
        Its own: nobody else may teach it.
    cut
        Makes the lists.
    """

    def __init__(self, name: str, ranker: Ranker, history: History, cut: Cut) -> None:
        self.name = name
        self._ranker, self._history, self._cut = ranker, history, cut

    def score_and_learn(self, events: Sequence[Event], first_index: int, scored: Bools) -> Answers:
        """Answer for the events that are to be scored, and learn all of them, one by one."""
        answers = Answers()
        for at, (event, wanted) in enumerate(zip(events, scored.tolist(), strict=True)):
            if event.type == "forget":
                self._ranker.forget(event.user_id)
                self._history.learn(event)
                continue
            if event.type == "impression":
                continue
            user = self._history.user(event.user_id)
            item = self._history.numbering.item(event.item_id or "")
            if wanted:
                before = self._history.before(event)
                ranked = self._ranker.rank(event.user_id, user, before, event.event_time_ms)
                answers.scored.append(Scored(first_index + at, self._cut.lists(ranked, before, user.items)))
            if event.type == "rating":
                stars = self._ranker.stars(event, item)
                if stars is not None:
                    answers.rated.append(Rated(first_index + at, stars))
            self._ranker.learn(event, item, user)
            self._history.learn(event)
        return answers

    def weights(self) -> dict[str, dict[str, float]]:
        """Return nothing: a baseline weighs no features."""
        return {}
