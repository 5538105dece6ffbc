"""What the user took most often lately, filled with what is popular."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from stream_app.evaluation.baselines.popularity import CountedOrder
from stream_app.evaluation.protocol import is_positive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.evaluation.history import Before, UserHistory
    from stream_app.records import Event

HALF_LIFE_MS: Final = 120 * 86_400_000.0


class PersonalFrequency:
    """Ranks a user's items by a count that halves in 120 days, then all others by popularity."""

    def __init__(self) -> None:
        self._popular = CountedOrder()
        self._counts: dict[str, dict[int, tuple[float, int]]] = {}
        """Per user and item: log2 of the count as of the time 0, and the count's number of events."""

    def rank(self, user_id: str, user: UserHistory, before: Before, time_ms: int) -> Iterator[int]:
        """Yield the user's items, then the popular ones. All counts halve at one pace, so the order needs no clock."""
        del user, before, time_ms
        own = self._counts.get(user_id, {})
        yield from sorted(own, key=own.__getitem__, reverse=True)
        yield from (item for item in self._popular if item not in own)

    def learn(self, event: Event, item: int, user: UserHistory) -> None:
        """Count a positive."""
        del user
        if not is_positive(event):
            return
        self._popular.add(item)
        own = self._counts.setdefault(event.user_id, {})
        now = event.event_time_ms / HALF_LIFE_MS
        known = own.get(item)
        own[item] = (now, 1) if known is None else (_log2_sum(known[0], now), known[1] + 1)

    def forget(self, user_id: str) -> None:
        """Erase a user's counts."""
        self._counts.pop(user_id, None)

    def stars(self, event: Event, item: int) -> None:
        """Predict no ratings."""
        del event, item


def _log2_sum(a: float, b: float) -> float:
    """Return the log2 of the sum of two numbers given by their log2.

    Examples
    --------
    >>> _log2_sum(3.0, 3.0)
    4.0
    """
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log2(1.0 + 2.0 ** (low - high))
