"""What others took together with what the user took last: conditional co-occurrence."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from stream_app.evaluation.baselines.popularity import CountedOrder
from stream_app.evaluation.protocol import is_positive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.evaluation.history import Before, UserHistory
    from stream_app.records import Event

N_NEIGHBOURS: Final = 64
"""Neighbours kept per item: twice as many are collected before the weakest half goes."""
N_RECENT: Final = 20
"""The user's last positives, with which an item is paired and from which it is recommended."""
LAG: Final = 0.95
"""Weight ratio of one step back among them."""


class CoOccurrence:
    """Ranks by the sum, over the user's last positives, of the share of their takers that took the item near them."""

    def __init__(self) -> None:
        self._popular = CountedOrder()
        self._near: dict[int, dict[int, float]] = {}
        self._count: dict[int, int] = {}
        self._recent: dict[str, deque[int]] = {}

    def rank(self, user_id: str, user: UserHistory, before: Before, time_ms: int) -> Iterator[int]:
        """Yield the neighbours, then the popular items."""
        del user, before, time_ms
        scores: dict[int, float] = {}
        weight = 1.0
        for past in self._recent.get(user_id, ()):
            per_taker = weight / self._count[past]
            for item, together in self._near.get(past, {}).items():
                scores[item] = scores.get(item, 0.0) + per_taker * together
            weight *= LAG
        yield from sorted(scores, key=lambda item: (-scores[item], item))
        yield from (item for item in self._popular if item not in scores)

    def learn(self, event: Event, item: int, user: UserHistory) -> None:
        """Pair a positive with the user's last ones, in both directions."""
        del user
        if not is_positive(event):
            return
        self._popular.add(item)
        self._count[item] = self._count.get(item, 0) + 1
        recent = self._recent.setdefault(event.user_id, deque(maxlen=N_RECENT))
        weight = 1.0
        for past in recent:
            if past != item:
                self._pair(item, past, weight)
                self._pair(past, item, weight)
            weight *= LAG
        if item in recent:
            recent.remove(item)
        recent.appendleft(item)

    def _pair(self, item: int, other: int, weight: float) -> None:
        near = self._near.setdefault(item, {})
        near[other] = near.get(other, 0.0) + weight
        if len(near) > 2 * N_NEIGHBOURS:
            strongest = sorted(near, key=lambda neighbour: (-near[neighbour], neighbour))[:N_NEIGHBOURS]
            self._near[item] = {neighbour: near[neighbour] for neighbour in strongest}

    def forget(self, user_id: str) -> None:
        """Erase a user's last positives."""
        self._recent.pop(user_id, None)

    def stars(self, event: Event, item: int) -> None:
        """Predict no ratings."""
        del event, item
