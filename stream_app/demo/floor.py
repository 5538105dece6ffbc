"""The demo's shop floor: turns sold items and published slates into what the views show; no Kafka, no clock.

It knows the product titles, what lies in every household's basket, and which slate each household has. Times are
arguments, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.decoding import UNREADABLE
from stream_app.demo.state import ShownHit, ShownItem, ShownSlate
from stream_app.demo.stats import Freshness, HitCounter, Offer
from stream_app.demo.words import readable, short
from stream_app.records.event import FIRST_TIME_MS
from stream_app.watch import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.demo.state import DemoState
    from stream_app.reading import Record
    from stream_app.records import Slate

SHOW_EVERY_S: Final = 1.4
"""Slates come far faster than anyone reads: a new one is shown at most so often."""

SHOW_BASKET_OF: Final = 2
"""A slate for so many items in the basket is worth showing; after a while without, any slate is."""

PATIENCE_S: Final = 3.0


class Sale(msgspec.Struct, frozen=True):
    """What the demo needs of an event. Anything may be missing: the worker judges events, not the demo."""

    type: str = ""
    user_id: str = ""
    item_id: str = ""
    event_time_ms: int = 0
    session_id: str | None = None


class _Entry(msgspec.Struct, frozen=True):
    item_id: str = ""
    title: str | None = None


_SALE: Final = msgspec.json.Decoder(Sale)
_ENTRY: Final = msgspec.json.Decoder(_Entry)


def read_sale(record: Record) -> Sale:
    """Read the fields that the demo shows; an unreadable event gives an empty one, the worker will reject it."""
    try:
        return msgspec.convert(record, Sale, strict=False) if isinstance(record, dict) else _SALE.decode(record)
    except UNREADABLE:
        return Sale()


def read_titles(records: Iterable[Record]) -> dict[str, str]:
    """Read the titles of a catalogue by item; entries that cannot be read are left to the worker."""
    titles = {}
    for record in records:
        try:
            entry = msgspec.convert(record, _Entry, strict=False) if isinstance(record, dict) else _ENTRY.decode(record)
        except UNREADABLE:
            continue
        if entry.title:
            titles[entry.item_id] = readable(entry.title)
    return titles


class ShopFloor:
    """Keep the state of the shop up to date.

    Parameters
    ----------
    state
        Is written to.
    titles
        Titles by item; an item without one is shown by its id.
    """

    def __init__(self, state: DemoState, titles: Mapping[str, str]) -> None:
        self._state = state
        self._titles = titles
        self._baskets: dict[str, tuple[str | None, list[str]]] = {}
        self._purchases: Counter[str] = Counter()
        self._hits = HitCounter()
        self._freshness = Freshness()
        self._shown_s = float("-inf")

    def sold(self, sale: Sale, now_s: float, last_ms: int) -> None:
        """Take an event that is being sent: score it, then lay the item into the household's basket.

        Parameters
        ----------
        last_ms
            Latest time of an event that the worker takes, in milliseconds since 1970. An event of another time is
            rejected there, and says nothing about the time in the shop.
        """
        state = self._state
        state.n_events += 1
        if FIRST_TIME_MS <= sale.event_time_ms <= last_ms:
            state.shop_time_ms = max(sale.event_time_ms, state.shop_time_ms or 0)
        if not sale.user_id:
            return
        if sale.type == "purchase":
            self._score(sale, now_s)
        title = short(self._title(sale.item_id))
        basket = self._baskets.get(sale.user_id)
        if basket is None or basket[0] != sale.session_id or sale.session_id is None:
            self._baskets[sale.user_id] = (sale.session_id, [title])
            state.n_baskets += 1
        else:
            basket[1].append(title)
        self._purchases[sale.user_id] += 1
        state.n_households = len(self._purchases)

    def acknowledged(self, partition: int, offset: int, sent_s: float) -> None:
        """Note where in the log an event went that was sent at ``sent_s``."""
        self._freshness.sent(partition, offset, sent_s)

    def slate(self, slate: Slate, now_s: float, *, is_measured: bool = True) -> None:
        """Take a published slate: it is now what its household is shown. Its age counts if it ``is_measured``."""
        state = self._state
        state.n_slates += 1
        self._hits.slate(slate.user_id, [Offer(item.item_id, item.reason) for item in slate.items], now_s)
        age_s = self._freshness.slate(slate.as_of.partition, slate.as_of.offset, now_s) if is_measured else None
        basket = tuple(self._baskets.get(slate.user_id, (None, []))[1])
        waited_s = now_s - self._shown_s
        if waited_s < SHOW_EVERY_S or (len(basket) < SHOW_BASKET_OF and waited_s < PATIENCE_S):
            return
        self._shown_s = now_s
        items = tuple(
            ShownItem(self._title(item.item_id), self._reason(item.reason), is_new=item.reason != "repeat")
            for item in slate.items
        )
        state.slates.append(ShownSlate(slate.user_id, basket, items, now_s, age_s))

    def measure(self) -> None:
        """Bring freshness and the busiest household up to date; costs a sort, so call it once a second."""
        self._state.freshness_p50_s = self._freshness.quantile(0.5)
        self._state.freshness_p95_s = self._freshness.quantile(0.95)
        self._state.household = next((user for user, _ in self._purchases.most_common(1)), None)

    def _score(self, sale: Sale, now_s: float) -> None:
        hit = self._hits.purchase(sale.user_id, sale.item_id, now_s)
        self._state.n_scored, self._state.n_hits = self._hits.n_scored, self._hits.n_hits
        if hit is not None:
            title = self._title(hit.item_id)
            words = self._reason(hit.reason)
            self._state.hits.append(ShownHit(hit.user_id, title, hit.slot, words, hit.at_s, hit.waited_s))

    def _reason(self, reason: str) -> str:
        subject = reason.partition(":")[2]
        return explain(reason, {subject: short(self._title(subject))})

    def _title(self, item_id: str) -> str:
        return self._titles.get(item_id, item_id)
