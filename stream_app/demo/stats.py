"""What the demo counts: hits of past slates, freshness, rates; no clock, no Kafka, no terminal.

Every method that needs a time gets it as an argument in seconds of one monotonic clock, so that the same calls
always give the same numbers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILE_SAMPLES = 2_000
"""Freshness quantiles are taken over this many newest slates."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One item of a slate, as far as a hit needs it."""

    item_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A purchase of an item that was on the newest slate of its household.

    ``slot`` is the 0-based position on that slate, ``at_s`` the time of the purchase and ``waited_s`` the age of the
    slate then, both in seconds of the caller's clock.
    """

    user_id: str
    item_id: str
    slot: int
    reason: str
    at_s: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class _Standing:
    """The newest slate of one household."""

    offers: tuple[Offer, ...]
    at_s: float


class HitCounter:
    """Count purchases that were on the slate their household had when it bought.

    A purchase is *scored* when its household had a slate before the purchase was sent, and it is a *hit* when the
    bought item was on the newest of them. Slates that arrive later never count: nothing is scored with hindsight.

    Parameters
    ----------
    keep_hits
        How many of the newest hits :attr:`newest` keeps, at least 1.

    Raises
    ------
    ValueError
        ``keep_hits`` is below 1.
    """

    def __init__(self, keep_hits: int = 50) -> None:
        if keep_hits < 1:
            message = f"keep_hits must be at least 1, got {keep_hits}"
            raise ValueError(message)
        self._standing: dict[str, _Standing] = {}
        self.newest: deque[Hit] = deque(maxlen=keep_hits)
        self.n_scored = 0
        self.n_hits = 0

    @property
    def rate(self) -> float | None:
        """Share of scored purchases that were hits, in ``[0, 1]``; ``None`` before the first scored one."""
        return self.n_hits / self.n_scored if self.n_scored else None

    def slate(self, user_id: str, offers: Sequence[Offer], at_s: float) -> None:
        """Take ``offers`` as the newest slate of ``user_id``; it replaces the one before."""
        self._standing[user_id] = _Standing(tuple(offers), at_s)

    def purchase(self, user_id: str, item_id: str, at_s: float) -> Hit | None:
        """Score one purchase against the slate that the household has now.

        Returns
        -------
        Hit | None
            The hit; ``None`` when the item was not on the slate, or the household has no slate yet.
        """
        standing = self._standing.get(user_id)
        if standing is None:
            return None
        self.n_scored += 1
        for slot, offer in enumerate(standing.offers):
            if offer.item_id == item_id:
                hit = Hit(user_id, item_id, slot, offer.reason, at_s, at_s - standing.at_s)
                self.n_hits += 1
                self.newest.append(hit)
                return hit
        return None


class Freshness:
    """Seconds from sending an event to reading the slate that knows it.

    Parameters
    ----------
    max_pending
        How many sent events are remembered until their slate comes; the oldest are forgotten first.
    max_samples
        Over how many newest slates the quantiles are taken.

    Raises
    ------
    ValueError
        One of the two is below 1.
    """

    def __init__(self, max_pending: int = 50_000, max_samples: int = QUANTILE_SAMPLES) -> None:
        if max_pending < 1 or max_samples < 1:
            message = f"max_pending and max_samples must be at least 1, got {max_pending} and {max_samples}"
            raise ValueError(message)
        self._max_pending = max_pending
        self._pending: OrderedDict[tuple[int, int], float] = OrderedDict()
        self._samples: deque[float] = deque(maxlen=max_samples)

    def sent(self, partition: int, offset: int, at_s: float) -> None:
        """Remember when the event at this place of the log was sent."""
        self._pending[partition, offset] = at_s
        if len(self._pending) > self._max_pending:
            self._pending.popitem(last=False)

    def slate(self, partition: int, offset: int, at_s: float) -> float | None:
        """Take a slate that knows the log up to ``offset``, read at ``at_s``.

        Returns
        -------
        float | None
            Its age in seconds; ``None`` when the event was never seen, is forgotten, or had its slate before.
        """
        sent_s = self._pending.pop((partition, offset), None)
        if sent_s is None:
            return None
        age_s = max(0.0, at_s - sent_s)
        self._samples.append(age_s)
        return age_s

    def quantile(self, share: float) -> float | None:
        """Age in seconds that ``share`` of the newest slates stay at or below (nearest rank); ``None`` without any.

        Raises
        ------
        ValueError
            ``share`` is outside ``[0, 1]``.
        """
        if not 0.0 <= share <= 1.0:
            message = f"share must be in [0, 1], got {share}"
            raise ValueError(message)
        if not self._samples:
            return None
        ordered = sorted(self._samples)
        return ordered[min(len(ordered) - 1, max(0, round(share * (len(ordered) - 1))))]


class RateMeter:
    """Events a second over the last ``window_s`` seconds, from cumulative counts.

    Raises
    ------
    ValueError
        ``window_s`` is not above 0.
    """

    def __init__(self, window_s: float = 3.0) -> None:
        if window_s <= 0.0:
            message = f"window_s must be above 0, got {window_s}"
            raise ValueError(message)
        self._window_s = window_s
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, total: int, at_s: float) -> None:
        """Note that ``total`` had been counted at ``at_s``; neither may fall from call to call."""
        self._marks.append((at_s, total))
        while len(self._marks) > 2 and at_s - self._marks[1][0] >= self._window_s:  # noqa: PLR2004  # two marks make a rate
            self._marks.popleft()

    def per_second(self) -> float:
        """Events a second between the oldest and the newest mark of the window; 0.0 before the second mark."""
        if len(self._marks) < 2:  # noqa: PLR2004  # two marks make a rate
            return 0.0
        (first_s, first), (last_s, last) = self._marks[0], self._marks[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0
