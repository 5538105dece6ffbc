"""The most popular items, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.evaluation.protocol import is_positive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.evaluation.history import Before, UserHistory
    from stream_app.records import Event


class CountedOrder:
    """Items ordered by how often they were counted, at every moment; of equals the one that got there first leads.

    Examples
    --------
    >>> order = CountedOrder()
    >>> for item in (7, 3, 3, 5, 5, 5):
    ...     order.add(item)
    >>> list(order)
    [5, 3, 7]
    """

    def __init__(self) -> None:
        self._order: list[int] = []
        self._place: dict[int, int] = {}
        self._count: list[int] = []
        self._first_with: dict[int, int] = {}
        """Place of the first item with a count."""

    def add(self, item: int) -> None:
        """Count an item once: it changes places with the first of its count, in constant time."""
        place = self._place.get(item)
        if place is None:
            place = len(self._order)
            self._order.append(item)
            self._count.append(0)
            self._place[item] = place
            self._first_with.setdefault(0, place)
        count = self._count[place]
        first = self._first_with[count]
        other = self._order[first]
        self._order[first], self._order[place] = item, other
        self._place[item], self._place[other] = first, place
        self._count[first] = count + 1
        if first + 1 < len(self._order) and self._count[first + 1] == count:
            self._first_with[count] = first + 1
        else:
            del self._first_with[count]
        self._first_with.setdefault(count + 1, first)

    def __iter__(self) -> Iterator[int]:
        """Yield items, most counted first."""
        return iter(self._order)


class Popularity:
    """Ranks by how many positives an item has had so far."""

    def __init__(self) -> None:
        self.order = CountedOrder()

    def rank(self, user_id: str, user: UserHistory, before: Before, time_ms: int) -> Iterator[int]:
        """Yield items, most popular first."""
        del user_id, user, before, time_ms
        return iter(self.order)

    def learn(self, event: Event, item: int, user: UserHistory) -> None:
        """Count a positive."""
        del user
        if is_positive(event):
            self.order.add(item)

    def forget(self, user_id: str) -> None:
        """Do nothing: the counts are nobody's."""

    def stars(self, event: Event, item: int) -> None:
        """Predict no ratings."""
        del event, item
