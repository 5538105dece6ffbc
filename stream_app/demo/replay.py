"""The order in which the demo replays purchases: whole baskets, many tills at once, one item after the other.

The real data holds one time per basket. Sent basket after basket, every slate would come when the shopper has left.
So the replay opens baskets in the order of their time and lets them run side by side, an item each in turn: a
household's slate can be read between two of its purchases, as in a shop.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import groupby
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HELD_BACK_PER_TILL = 8
"""How many baskets per till may wait for their household before a till stays empty instead."""


class Sessioned(Protocol):
    """What the replay needs of an event."""

    @property
    def user_id(self) -> str:
        """Return the household."""

    @property
    def session_id(self) -> str | None:
        """Return the basket; ``None`` makes a basket of its own."""


E = TypeVar("E", bound=Sessioned)


def baskets(events: Iterable[E]) -> Iterator[list[E]]:
    """Cut a stream into baskets: runs of neighbouring events of one household and one session.

    An event without a session is a basket of its own. Nothing is reordered, dropped or read ahead beyond a basket.
    """
    serial = 0

    def basket_key(event: E) -> tuple[str, str | int]:
        nonlocal serial
        if event.session_id is None:
            serial += 1
            return event.user_id, serial
        return event.user_id, event.session_id

    for _, run in groupby(events, key=basket_key):
        yield list(run)


def replay_order(stream: Iterable[list[E]], n_tills: int) -> Iterator[E]:
    """Run baskets side by side, ``n_tills`` at a time, one event of each in turn.

    Baskets are opened in the order in which they come. A basket whose household is still at a till is held back until
    that one is through, so the events of a household never change their order. Every event comes out exactly once.

    Parameters
    ----------
    stream
        Baskets, none of them empty.
    n_tills
        How many baskets are open at once, at least 1.

    Raises
    ------
    ValueError
        ``n_tills`` is below 1.
    """
    if n_tills < 1:
        message = f"n_tills must be at least 1, got {n_tills}"
        raise ValueError(message)
    return _run_tills(iter(stream), n_tills)


def _run_tills(source: Iterator[list[E]], n_tills: int) -> Iterator[E]:
    queue: _Queue[E] = _Queue(source, max_held=HELD_BACK_PER_TILL * n_tills)
    tills: deque[deque[E]] = deque()
    while True:
        while len(tills) < n_tills and (basket := queue.take()) is not None:
            tills.append(deque(basket))
        if not tills:
            return
        till = tills.popleft()
        event = till.popleft()
        if till:
            tills.append(till)
        else:
            queue.leave(event.user_id)
        yield event


class _Queue(Generic[E]):
    """Baskets that wait for a till, at most one open per household.

    Nothing is searched through: held baskets lie apart by household, and a household whose turn it is stands in a heap
    by the arrival of its first one.
    """

    def __init__(self, source: Iterator[list[E]], max_held: int) -> None:
        self._source = source
        self._max_held = max_held
        self._held: dict[str, deque[tuple[int, list[E]]]] = {}
        self._n_held = 0
        self._n_arrived = 0
        self._free: list[tuple[int, str]] = []
        self._at_till: set[str] = set()

    def take(self) -> list[E] | None:
        """Return the basket that came first of those whose household is free; ``None`` when there is none for now."""
        if self._free:
            return self._open_held()
        while self._n_held < self._max_held:
            upcoming = next(self._source, None)
            if upcoming is None:
                return None
            user_id = upcoming[0].user_id
            if user_id not in self._at_till:
                self._at_till.add(user_id)
                return upcoming
            self._held.setdefault(user_id, deque()).append((self._n_arrived, upcoming))
            self._n_arrived += 1
            self._n_held += 1
        return None

    def leave(self, user_id: str) -> None:
        """Note that the household is through."""
        self._at_till.discard(user_id)
        if user_id in self._held:
            heappush(self._free, (self._held[user_id][0][0], user_id))

    def _open_held(self) -> list[E]:
        _, user_id = heappop(self._free)
        baskets_held = self._held[user_id]
        _, basket = baskets_held.popleft()
        if not baskets_held:
            del self._held[user_id]
        self._n_held -= 1
        self._at_till.add(user_id)
        return basket
