"""When a task commits: one interval apart, soon after calm, and never so late that the broker ends the transaction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.load import STRETCH
from stream_app.rhythm import GATHER_SHARE, Rhythm

NOW_S = 5_000.0


def test_the_first_record_after_a_rest_waits_for_a_few_more_only() -> None:
    """With nothing to keep a distance from, what comes within a tenth of an interval is committed together."""
    rhythm = Rhythm(2.0, 5.0)
    assert rhythm.due_s is None
    rhythm.note_read(NOW_S, 1)
    assert rhythm.due_s == NOW_S + 2.0 * GATHER_SHARE
    rhythm.note_read(NOW_S + 0.1, 1)
    assert rhythm.due_s == NOW_S + 2.0 * GATHER_SHARE


def test_commits_begin_one_interval_apart() -> None:
    """Also where the one before took a while; after one that took longer than half of it the task rests as long."""
    for took_s, wanted_s in ((0.0, 2.0), (0.5, 2.0), (1.5, 3.0), (9.0, 11.0)):
        rhythm = Rhythm(2.0, 5.0)
        rhythm.note_read(NOW_S, 1)
        rhythm.begin(NOW_S)
        assert rhythm.due_s is None
        rhythm.end(NOW_S + took_s)
        rhythm.note_read(NOW_S + took_s, 1)
        assert rhythm.due_s == NOW_S + wanted_s


def committed_just_now(rhythm: Rhythm) -> Rhythm:
    """Return a rhythm whose last commit began and ended now."""
    rhythm.begin(NOW_S)
    rhythm.end(NOW_S)
    return rhythm


def test_the_end_of_a_load_brings_the_commit_forward() -> None:
    """An interval that was stretched when its first record came ends as a normal one does once there is no load."""
    rhythm = committed_just_now(Rhythm(2.0, 50.0))
    rhythm.note_read(NOW_S + 1.0, 10)
    assert rhythm.due_s == NOW_S + 20.0
    rhythm.note_read(NOW_S + 3.0, 4)
    assert rhythm.due_s == NOW_S + 8.0
    rhythm.note_read(NOW_S + 3.5, 1)
    assert rhythm.due_s == NOW_S + 2.0


def test_a_load_that_begins_puts_no_commit_off() -> None:
    """Slates may have begun the transaction already."""
    rhythm = committed_just_now(Rhythm(2.0, 50.0))
    rhythm.note_read(NOW_S + 1.0, 1)
    rhythm.note_read(NOW_S + 1.5, 10)
    assert rhythm.due_s == NOW_S + 2.0


@given(
    interval_s=st.floats(0.01, 60.0),
    longest_s=st.floats(0.5, 450.0),
    gap_s=st.floats(0.0, 1_000.0),
    took_s=st.floats(0.0, 100.0),
    stretches=st.lists(st.sampled_from(STRETCH), min_size=1, max_size=5),
)
def test_nothing_waits_longer_than_the_longest_interval(
    interval_s: float, longest_s: float, gap_s: float, took_s: float, stretches: list[int]
) -> None:
    """However long the interval is, and however far a load stretches it."""
    rhythm = Rhythm(interval_s, longest_s)
    rhythm.begin(NOW_S)
    rhythm.end(NOW_S + took_s)
    read_s = NOW_S + took_s + gap_s
    for stretch in stretches:
        rhythm.note_read(read_s, stretch)
    assert rhythm.due_s is not None
    assert read_s < rhythm.due_s <= read_s + longest_s + 1e-9
