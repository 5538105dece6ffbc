"""What a commit interval gathers: whom events touched, the newest event of each, pages that went."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.interval import Interval
from stream_app.records import Event

BATCHES = st.lists(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=10), max_size=5)


def event(number: int) -> Event:
    """Return an event that its number tells from others."""
    return Event(f"e{number}", "view", "u", 1_700_000_000_000, "i")


@given(BATCHES)
def test_the_newest_teaching_event_of_each_user_stays(batches: list[list[tuple[int, bool]]]) -> None:
    """Over all batches: every user that was touched, and in the order of offsets the last event that taught each."""
    interval, offset = Interval(), 0
    touched: list[int] = []
    newest: dict[int, int] = {}
    for batch in batches:
        run = [(event(offset + k), offset + k) for k in range(len(batch))]
        taught = [k for k, (_, teaches) in enumerate(batch) if teaches]
        interval.note(np.array([user for user, _ in batch], np.int32), np.array(taught, np.int64), run)
        touched += [user for user, _ in batch]
        newest |= {batch[k][0]: offset + k for k in taught}
        offset += len(batch)
    assert list(interval.touched) == list(dict.fromkeys(touched))
    assert [at for _, at in interval.latest.values()] == sorted(newest.values())
    assert {user: at for user, (_, at) in interval.latest.items()} == newest
    assert all(found.event_id == f"e{at}" for found, at in interval.latest.values())


def test_an_erased_user_is_gone() -> None:
    """It gets no slate and no page is written for it; its pages are not read again, those of others are."""
    interval = Interval()
    interval.note(np.array([1, 2], np.int32), np.array([0, 1]), [(event(0), 0), (event(1), 1)])
    assert interval.without_gone([b"a", b"b"], [b"1", None]) == [b"1", None]
    interval.erase(1, [b"a"])
    assert list(interval.touched) == list(interval.latest) == [2]
    assert interval.without_gone([b"a", b"b"], [b"1", b"2"]) == [None, b"2"]
