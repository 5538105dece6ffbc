"""The demo's shop floor: baskets, slates in words, and no hindsight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream_app.demo.floor import SHOW_EVERY_S, Sale, ShopFloor, read_sale, read_titles
from stream_app.demo.state import DemoState
from stream_app.records import AsOf, Slate, SlateItem

if TYPE_CHECKING:
    from stream_app.reading import Record

TIME_MS = 1_483_272_000_000
LAST_MS = TIME_MS + 3_600_000
"""Latest time of an event that the worker takes."""
TITLES = {"b": "Bananas, 40 lb", "m": "Milk, 1 ga"}


def make_slate(user: str, *items: tuple[str, str], offset: int = 0) -> Slate:
    """Make a slate from items and their reasons."""
    return Slate(
        slate_id=f"0-{offset}",
        user_id=user,
        as_of=AsOf(partition=0, offset=offset),
        event_time_ms=0,
        emitted_at_ms=0,
        policy="greedy",
        policy_version=0,
        context_categories=[],
        items=[SlateItem(item_id=i, category="c", score=0.0, propensity=1.0, reason=why) for i, why in items],
    )


def sale(user: str, item: str, session: str | None = "s1", kind: str = "purchase") -> Sale:
    """Make an event as the demo reads it."""
    return Sale(type=kind, user_id=user, item_id=item, event_time_ms=TIME_MS, session_id=session)


@pytest.fixture
def state() -> DemoState:
    """Make an empty state."""
    return DemoState({}, [])


@pytest.fixture
def floor(state: DemoState) -> ShopFloor:
    """Make a floor that knows bananas and milk."""
    return ShopFloor(state, TITLES)


def test_a_slate_is_shown_with_its_basket_titles_and_reasons(state: DemoState, floor: ShopFloor) -> None:
    """Ids become titles, codes become words, and the basket is the one of the household's present session."""
    floor.sold(sale("u", "x", session="before"), 0.0, LAST_MS)
    floor.sold(sale("u", "b"), 1.0, LAST_MS)
    floor.sold(sale("u", "unknown"), 2.0, LAST_MS)
    floor.acknowledged(0, 7, 2.0)
    floor.slate(make_slate("u", ("m", "together:b"), ("b", "repeat"), offset=7), 2.5)
    shown = state.slates[-1]
    assert shown.basket == ("Bananas", "unknown")
    assert [(item.title, item.reason, item.is_new) for item in shown.items] == [
        ("Milk, 1 ga", "goes with Bananas", True),
        ("Bananas, 40 lb", "had before", False),
    ]
    assert shown.age_s == 0.5
    assert (state.n_events, state.n_slates, state.n_baskets, state.n_households) == (3, 1, 2, 1)


def test_a_purchase_counts_for_the_slate_before_it_only(state: DemoState, floor: ShopFloor) -> None:
    """A hit is on the slate that was read before the purchase, and is shown with its title and reason."""
    floor.sold(sale("u", "m"), 0.0, LAST_MS)
    floor.slate(make_slate("u", ("m", "together:b")), 1.0)
    assert (state.n_scored, state.n_hits) == (0, 0)
    floor.sold(sale("u", "b"), 2.0, LAST_MS)
    floor.sold(sale("u", "m"), 3.0, LAST_MS)
    assert (state.n_scored, state.n_hits, state.hit_rate) == (2, 1, 0.5)
    hit = state.hits[-1]
    assert (hit.user_id, hit.title, hit.slot, hit.reason) == ("u", "Milk, 1 ga", 0, "goes with Bananas")


def test_only_purchases_are_scored(state: DemoState, floor: ShopFloor) -> None:
    """Looking at an item of the slate is no hit."""
    floor.slate(make_slate("u", ("m", "popular")), 1.0)
    floor.sold(sale("u", "m", kind="view"), 2.0, LAST_MS)
    assert state.n_scored == 0


def test_slates_are_shown_slowly_enough_to_read(state: DemoState, floor: ShopFloor) -> None:
    """Of many slates in a moment one is shown, while all are counted."""
    for item in "xyz":
        floor.sold(sale("u", item), 0.0, LAST_MS)
    for number in range(100):
        floor.slate(make_slate("u", ("m", "popular")), 10.0 + number * SHOW_EVERY_S / 200)
    assert state.n_slates == 100
    assert len(state.slates) == 1


def test_without_measured_events_there_is_no_freshness(state: DemoState, floor: ShopFloor) -> None:
    """Freshness comes from acknowledged events alone, and the busiest household is the one with most of them."""
    floor.measure()
    assert (state.freshness_p50_s, state.household) == (None, None)
    for item in "ab":
        floor.sold(sale("busy", item), 0.0, LAST_MS)
    floor.sold(sale("calm", "a"), 0.0, LAST_MS)
    floor.acknowledged(0, 1, 1.0)
    floor.slate(make_slate("busy", ("m", "popular"), offset=1), 1.25)
    floor.measure()
    assert (state.freshness_p50_s, state.freshness_p95_s, state.household) == (0.25, 0.25, "busy")


def test_events_that_cannot_be_read_are_left_to_the_worker() -> None:
    """The demo sends what it cannot read as it is: its own view of it is empty, and no error."""
    for record in (b"not JSON", b"\xff\xfe", b"[1]", b'{"user_id": 7}', {"user_id": ["u"]}):
        assert read_sale(record) == Sale()
    assert read_sale(b'{"user_id":"u","unknown":1}') == Sale(user_id="u")
    assert read_sale({"user_id": "u", "event_time_ms": 5}) == Sale(user_id="u", event_time_ms=5)


@pytest.mark.parametrize("wrong_ms", [1_483_272_000_000_000, LAST_MS + 1, -1, 0, 10**40])
def test_an_event_whose_time_the_worker_rejects_does_not_tell_the_time(
    state: DemoState, floor: ShopFloor, wrong_ms: int
) -> None:
    """Microseconds, or a time before the year 2000, are sent and counted; the shop's time stays that of the others."""
    wrong = Sale("purchase", "u", "m", wrong_ms)
    floor.sold(wrong, 0.0, LAST_MS)
    assert state.shop_time_ms is None
    floor.sold(sale("u", "m"), 1.0, LAST_MS)
    floor.sold(wrong, 2.0, LAST_MS)
    assert (state.n_events, state.shop_time_ms) == (3, TIME_MS)


def test_an_unreadable_event_is_counted_and_nobodys(state: DemoState, floor: ShopFloor) -> None:
    """An event without a household is one event more, and no household, basket or purchase."""
    floor.sold(Sale(), 0.0, LAST_MS)
    assert (state.n_events, state.n_households, state.n_baskets, state.n_scored) == (1, 0, 0, 0)


def test_titles_are_read_from_lines_and_rows() -> None:
    """A catalogue of any format gives titles; capitals are made readable, and what has no title is left out."""
    records: list[Record] = [
        b'{"item_id":"a","title":"SOFT DRINKS"}',
        b"broken",
        {"item_id": "c", "title": "Tea"},
        {"item_id": "d"},
    ]
    assert read_titles(records) == {"a": "Soft drinks", "c": "Tea"}
