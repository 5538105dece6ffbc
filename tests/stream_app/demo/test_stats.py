"""What the demo counts is true: hits without hindsight, freshness by nearest rank, bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.demo.stats import Freshness, HitCounter, Offer, RateMeter

USERS = st.sampled_from(["u1", "u2", "u3"])
ITEMS = st.sampled_from(["a", "b", "c", "d", "e"])
SLATES = st.lists(ITEMS, unique=True, max_size=4)
STEPS = st.lists(st.one_of(st.tuples(st.just("slate"), USERS, SLATES), st.tuples(st.just("buys"), USERS, ITEMS)))


@given(STEPS)
def test_hits_equal_a_recount_from_the_whole_history(steps: list[tuple[str, str, object]]) -> None:
    """A purchase is a hit exactly when the last slate before it, found by searching backwards, holds the item."""
    counter = HitCounter()
    for at, (what, user, value) in enumerate(steps):
        if what == "slate":
            assert isinstance(value, list)
            counter.slate(user, [Offer(item, "because") for item in value], float(at))
        else:
            counter.purchase(user, str(value), float(at))
    scored = hits = 0
    for at, (what, user, value) in enumerate(steps):
        before = [items for kind, owner, items in steps[:at] if kind == "slate" and owner == user]
        if what == "buys" and before:
            newest = before[-1]
            assert isinstance(newest, list)
            scored += 1
            hits += value in newest
    assert (counter.n_scored, counter.n_hits) == (scored, hits)
    assert counter.rate == (hits / scored if scored else None)


def test_a_hit_says_place_reason_and_age() -> None:
    """A hit names the 0-based slot, the reason of that item and the age of the slate."""
    counter = HitCounter()
    counter.slate("u1", [Offer("a", "popular"), Offer("b", "goes with a")], 10.0)
    hit = counter.purchase("u1", "b", 12.5)
    assert hit is not None
    assert (hit.slot, hit.reason, hit.waited_s) == (1, "goes with a", 2.5)


def test_a_slate_after_the_purchase_does_not_count() -> None:
    """Nothing is scored with hindsight: a slate that comes after the purchase changes neither number."""
    counter = HitCounter()
    assert counter.purchase("u1", "a", 1.0) is None
    counter.slate("u1", [Offer("a", "popular")], 2.0)
    assert (counter.n_scored, counter.n_hits, counter.rate) == (0, 0, None)


def test_only_the_newest_hits_are_kept() -> None:
    """The list of newest hits is bounded; the count is not."""
    counter = HitCounter(keep_hits=2)
    counter.slate("u1", [Offer("a", "popular")], 0.0)
    for at in range(5):
        counter.purchase("u1", "a", float(at))
    assert counter.n_hits == 5
    assert [hit.at_s for hit in counter.newest] == [3.0, 4.0]


AGES = st.floats(min_value=0.0, max_value=1e6, allow_nan=False)


@given(st.lists(AGES, min_size=1, max_size=50), st.floats(min_value=0.0, max_value=1.0))
def test_quantiles_are_samples_and_grow_with_the_share(ages: list[float], share: float) -> None:
    """Every quantile is an age that occurred, the ends are the extremes, and a larger share never gives less."""
    freshness = Freshness()
    for offset, age in enumerate(ages):
        freshness.sent(0, offset, 0.0)
        assert freshness.slate(0, offset, age) == age
    middle = freshness.quantile(share)
    assert middle in ages
    low, high = freshness.quantile(0.0), freshness.quantile(1.0)
    assert (low, high) == (min(ages), max(ages))
    assert low is not None
    assert middle is not None
    assert high is not None
    assert low <= middle <= high


def test_a_slate_counts_once_and_only_for_a_known_event() -> None:
    """A repeated slate, or one for an event that this demo did not send, gives no age."""
    freshness = Freshness()
    freshness.sent(1, 7, 5.0)
    assert freshness.slate(0, 7, 6.0) is None
    assert freshness.slate(1, 7, 6.0) == 1.0
    assert freshness.slate(1, 7, 9.0) is None
    assert freshness.quantile(1.0) == 1.0


def test_pending_events_are_bounded_and_the_oldest_go_first() -> None:
    """Events without a slate do not pile up: beyond the bound the oldest is forgotten."""
    freshness = Freshness(max_pending=2)
    for offset in range(3):
        freshness.sent(0, offset, float(offset))
    assert freshness.slate(0, 0, 9.0) is None
    assert freshness.slate(0, 1, 9.0) == 8.0


def test_no_samples_no_quantile() -> None:
    """Without a slate there is no freshness, rather than zero."""
    assert Freshness().quantile(0.5) is None


def test_rate_is_that_of_the_window_alone() -> None:
    """A burst that has left the window no longer counts."""
    meter = RateMeter(window_s=2.0)
    assert meter.per_second() == 0.0
    meter.mark(0, 0.0)
    meter.mark(1_000, 1.0)
    assert meter.per_second() == 1_000.0
    for second in range(2, 6):
        meter.mark(1_000 + 10 * (second - 1), float(second))
    assert meter.per_second() == 10.0


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: HitCounter(keep_hits=0), "keep_hits"),
        (lambda: Freshness(max_pending=0), "max_pending"),
        (lambda: RateMeter(window_s=0.0), "window_s"),
        (lambda: Freshness().quantile(1.5), "share"),
    ],
)
def test_wrong_arguments_are_named(build: object, named: str) -> None:
    """A wrong argument raises at once and the message names it."""
    assert callable(build)
    with pytest.raises(ValueError, match=named):
        build()
