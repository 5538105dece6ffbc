"""The demo's replay loses nothing, repeats nothing, and never swaps a household's events."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.demo.replay import HELD_BACK_PER_TILL, baskets, replay_order

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Purchase:
    """The least that the replay needs of an event, with its place in the stream."""

    user_id: str
    session_id: str | None
    serial: int


STREAMS = st.lists(
    st.tuples(st.sampled_from(["u1", "u2", "u3", "u4"]), st.sampled_from(["s1", "s2", None])), max_size=60
).map(lambda rows: [Purchase(user, session, serial) for serial, (user, session) in enumerate(rows)])


@given(STREAMS)
def test_baskets_cut_and_do_not_change_the_stream(events: list[Purchase]) -> None:
    """Baskets laid end to end are the stream again; each is of one household and one session, and not empty."""
    cut = list(baskets(events))
    assert [event for basket in cut for event in basket] == events
    for basket in cut:
        assert len({(event.user_id, event.session_id) for event in basket}) == 1
        assert basket[0].session_id is not None or len(basket) == 1


@given(STREAMS, st.integers(min_value=1, max_value=6))
def test_replay_keeps_every_event_and_each_households_order(events: list[Purchase], n_tills: int) -> None:
    """The replay is a permutation that leaves the order within every household alone."""
    order = list(replay_order(baskets(events), n_tills))
    assert Counter(order) == Counter(events)
    by_user: dict[str, list[int]] = defaultdict(list)
    for event in order:
        by_user[event.user_id].append(event.serial)
    assert all(serials == sorted(serials) for serials in by_user.values())


@given(STREAMS, st.integers(min_value=1, max_value=6))
def test_no_more_baskets_are_open_than_there_are_tills(events: list[Purchase], n_tills: int) -> None:
    """At no moment have more baskets begun and not ended than ``n_tills``."""
    order = list(replay_order(baskets(events), n_tills))
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    place = {event.serial: at for at, event in enumerate(order)}
    for number, basket in enumerate(baskets(events)):
        first[number] = place[basket[0].serial]
        last[number] = place[basket[-1].serial]
    for at in range(len(order)):
        assert sum(first[number] <= at <= last[number] for number in first) <= n_tills


def test_baskets_take_turns() -> None:
    """With two tills two baskets give an item each in turn, and the third waits for a free till."""
    stream = [[Purchase(user, "s", 10 * number + place) for place in range(2)] for number, user in enumerate("abc")]
    assert [event.user_id for event in replay_order(stream, 2)] == ["a", "b", "a", "b", "c", "c"]


def test_a_household_waits_for_its_own_basket() -> None:
    """A household's second basket is held back while its first is open, and others go ahead meanwhile."""
    stream = [
        [Purchase("a", "s1", 0), Purchase("a", "s1", 1)],
        [Purchase("a", "s2", 2)],
        [Purchase("b", "s3", 3), Purchase("b", "s3", 4)],
    ]
    assert [event.serial for event in replay_order(stream, 2)] == [0, 3, 1, 4, 2]


def test_reading_ahead_is_bounded() -> None:
    """One household with endless baskets does not make the replay read the endless stream."""
    taken = 0

    def endless() -> Iterator[list[Purchase]]:
        nonlocal taken
        while True:
            taken += 1
            yield [Purchase("a", str(taken), taken)]

    order = replay_order(endless(), 3)
    assert next(order).serial == 1
    assert taken < 100


class CountedPurchase:
    """A purchase that counts how often anyone asks for its household."""

    n_asked = 0

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id
        self.session_id: str | None = None

    @property
    def user_id(self) -> str:
        """Return the household, and count."""
        type(self).n_asked += 1
        return self._user_id


@pytest.mark.parametrize("n_tills", [100, 1_000])
def test_a_till_that_stays_empty_costs_nothing(n_tills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With far more tills than households an event takes a few steps, however many baskets are held back."""
    monkeypatch.setattr(CountedPurchase, "n_asked", 0)
    n_events = 20 * n_tills
    order = replay_order(baskets(CountedPurchase(f"u{number % 9}") for number in range(n_events)), n_tills)
    assert sum(1 for _ in order) == n_events
    assert CountedPurchase.n_asked <= 5 * n_events


@given(STREAMS, st.integers(min_value=1, max_value=6))
def test_the_basket_that_came_first_is_opened_first(events: list[Purchase], n_tills: int) -> None:
    """The order is that of a search through all baskets held back, for the first whose household is free."""
    few = events[: 2 * HELD_BACK_PER_TILL]  # too few for the limit of what may be held back
    assert list(replay_order(baskets(few), n_tills)) == searched_order(list(baskets(few)), n_tills)


def searched_order(waiting: list[list[Purchase]], n_tills: int) -> list[Purchase]:
    """Replay by searching, with no limit of what may be held back."""
    tills: list[list[Purchase]] = []
    order: list[Purchase] = []
    while True:
        while len(tills) < n_tills:
            busy = {till[0].user_id for till in tills}
            found = next((basket for basket in waiting if basket[0].user_id not in busy), None)
            if found is None:
                break
            waiting.remove(found)
            tills.append(list(found))
        if not tills:
            return order
        till = tills.pop(0)
        order.append(till.pop(0))
        if till:
            tills.append(till)


def test_no_tills_is_refused() -> None:
    """Without a till nothing could ever be sold: refused by name before anything is read."""
    nothing: list[list[Purchase]] = []
    with pytest.raises(ValueError, match="n_tills"):
        replay_order(nothing, 0)
