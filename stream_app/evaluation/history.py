"""What is true before an event: the context, what the user had, and which categories. Exact, of every user and session.

The worker keeps bounded state of the same things; an evaluation must not ask it what is true.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from stream_app.evaluation.source import Catalog
    from stream_app.records import Event

CONTEXT_EVENTS: Final = 10
"""Events of context for an event without a session, at the most."""
CONTEXT_MS: Final = 86_400_000
"""How far back these lie at the most, in milliseconds."""
UNKNOWN: Final = -1
"""Number of the category of an item that the catalogue does not know."""


@dataclass(frozen=True, slots=True)
class Before:
    """What holds just before one event. Items and categories are numbers of :class:`Numbering`.

    Attributes
    ----------
    item, category
        Of the event; the category may be :data:`UNKNOWN`.
    context
        Items of the same session, or of the user's last events where there is no session.
    context_categories
        Their categories, without :data:`UNKNOWN`.
    had, had_category
        Whether the user had the item, or another one of its category, before.
    n_events, n_item_events
        Events of the user, and of the item, before this one.
    """

    item: int
    category: int
    context: frozenset[int]
    context_categories: frozenset[int]
    had: bool
    had_category: bool
    n_events: int
    n_item_events: int

    @property
    def crosses(self) -> bool:
        """Whether the event is one that X is measured on: its category is known, and not in the context."""
        return self.category != UNKNOWN and self.category not in self.context_categories


class Numbering:
    """Small numbers for item ids and categories, in the order of the catalogue, then of the events.

    Parameters
    ----------
    catalog
        Gives items and their categories.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._number: dict[str, int] = {}
        self._category_number: dict[tuple[str, ...], int] = {}
        self.item_ids: list[str] = []
        self.category_of: list[int] = []
        self.categories: list[tuple[str, ...]] = []
        for item_id in catalog.entries:
            self.item(item_id)
        self.n_catalog = len(self.item_ids)
        self._categories_of = np.zeros(0, np.int32)

    def item(self, item_id: str) -> int:
        """Return the number of an item; a new one if it has none."""
        number = self._number.get(item_id)
        if number is None:
            number = len(self.item_ids)
            self._number[item_id] = number
            self.item_ids.append(item_id)
            self.category_of.append(self._category(item_id))
        return number

    def categories_of(self) -> npt.NDArray[np.int32]:
        """Return the category of every item by number."""
        if self._categories_of.size < len(self.category_of):
            self._categories_of = np.array(self.category_of, np.int32)
        return self._categories_of

    def _category(self, item_id: str) -> int:
        path = self._catalog.category(item_id)
        if path is None:
            return UNKNOWN
        number = self._category_number.setdefault(path, len(self.categories))
        if number == len(self.categories):
            self.categories.append(path)
        return number


@dataclass(slots=True)
class UserHistory:
    """All that a user did."""

    items: set[int] = field(default_factory=set)
    categories: set[int] = field(default_factory=set)
    sessions: dict[str, list[int]] = field(default_factory=dict)
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=CONTEXT_EVENTS))
    """Event time in milliseconds and item of the last events."""
    n_events: int = 0


_NOBODY = UserHistory()


class History:
    """Histories of all users, event by event. Impressions are no deeds of the user and leave it as it is.

    Parameters
    ----------
    numbering
        Numbers of items and categories; new items get one.
    """

    def __init__(self, numbering: Numbering) -> None:
        self.numbering = numbering
        self._users: dict[str, UserHistory] = {}
        self.item_events: dict[int, int] = {}
        """Events per item so far."""

    @property
    def n_users(self) -> int:
        """Users with a history."""
        return len(self._users)

    def user(self, user_id: str) -> UserHistory:
        """Return a user's history, an empty one if there is none; it must not be changed."""
        return self._users.get(user_id, _NOBODY)

    def before(self, event: Event) -> Before:
        """Return what holds before an event that names an item."""
        user = self.user(event.user_id)
        number = self.numbering
        item = number.item(event.item_id or "")
        if event.session_id:
            context = frozenset(user.sessions.get(event.session_id, ()))
        else:
            since_ms = event.event_time_ms - CONTEXT_MS
            context = frozenset(past for time_ms, past in user.recent if time_ms >= since_ms)
        category = number.category_of[item]
        return Before(
            item=item,
            category=category,
            context=context,
            context_categories=frozenset(number.category_of[past] for past in context) - {UNKNOWN},
            had=item in user.items,
            had_category=category in user.categories,
            n_events=user.n_events,
            n_item_events=self.item_events.get(item, 0),
        )

    def learn(self, event: Event) -> int | None:
        """Take an event into its user's history; ``forget`` erases it.

        Returns
        -------
        int or None
            The number of the item that the event counts for; None for an impression and for ``forget``, which may
            name an item, but are no deeds.
        """
        if event.type == "forget":
            self._users.pop(event.user_id, None)
            return None
        if event.type == "impression":
            return None
        user = self._users.setdefault(event.user_id, UserHistory())
        item = self.numbering.item(event.item_id or "")
        user.items.add(item)
        user.categories.add(self.numbering.category_of[item])
        user.recent.append((event.event_time_ms, item))
        if event.session_id:
            user.sessions.setdefault(event.session_id, []).append(item)
        user.n_events += 1
        self.item_events[item] = self.item_events.get(item, 0) + 1
        return item
