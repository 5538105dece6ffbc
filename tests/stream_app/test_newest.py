"""The newest slates: what a commit shows, what it erases, and what has no room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.newest import NewestSlates


def test_a_slate_shows_when_its_interval_is_committed() -> None:
    """Before the commit the one before it is the newest; an erased user has none."""
    newest = NewestSlates(10)
    newest.stage("ann", b"1")
    assert newest.get("ann") is None
    newest.commit()
    newest.stage("ann", b"2")
    assert newest.get("ann") == b"1"
    newest.commit()
    assert newest.get("ann") == b"2"
    newest.stage("ann", None)
    newest.commit()
    assert newest.get("ann") is None
    newest.stage("ann", None)
    newest.stage("ann", b"3")
    newest.commit()
    assert newest.get("ann") == b"3"


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(min_size=1)), max_size=8)), st.integers(0, 4))
def test_the_latest_users_are_kept(intervals: list[list[tuple[str, bytes]]], capacity: int) -> None:
    """At most as many as there is room for, those published last, each with its last slate."""
    newest = NewestSlates(capacity)
    expected: dict[str, bytes] = {}
    for interval in intervals:
        for user, slate in interval:
            newest.stage(user, slate)
        newest.commit()
        for user, slate in dict(interval).items():
            expected.pop(user, None)
            expected[user] = slate
    kept = dict(list(expected.items())[len(expected) - min(capacity, len(expected)) :])
    assert {user: newest.get(user) for user in "abcdef" if newest.get(user)} == kept
    assert len(newest) == len(kept)
