"""Tests of what a task may go on from: where a replay starts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from state.store import Origin
from stream_app.changelog import Log, RecoveryError, StaleStoreError, plan_replay

NOW_MS, DAY_MS = 1_764_000_000_000, 86_400_000


def plan(position: int | None, begin: int, end: int, origin: Origin | None = None, **log: Any) -> int:
    """Plan the replay of partition 2 of a topic whose id is ``t-1``."""
    there = Log("t", 2, begin, end, **{"topic_id": "t-1", **log})
    return plan_replay(position, origin, there, now_ms=NOW_MS, remedy="do this")


def old(age_ms: int, topic_id: str | None = "t-1") -> Origin:
    """Return the origin of a store that was whole so long ago."""
    return Origin(topic_id, NOW_MS - age_ms)


@pytest.mark.parametrize(
    ("position", "begin", "end", "start"), [(None, 0, 9, 0), (3, 3, 9, 3), (5, 3, 9, 5), (9, 3, 9, 9), (None, 0, 0, 0)]
)
def test_replay_starts_at_the_store_or_at_the_beginning(position: int | None, begin: int, end: int, start: int) -> None:
    """A new store replays from the beginning of the log, another one from where it is."""
    assert plan(position, begin, end, old(1)) == start


def test_store_ahead_of_the_log_is_refused() -> None:
    """A position beyond the end of the log means another or a truncated topic: the error has the remedy."""
    with pytest.raises(RecoveryError, match=r"changelog t, partition 2: .* offset 10, .* ends at 9.* do this"):
        plan(10, 0, 9)
    with pytest.raises(StaleStoreError, match="earlier topic"):
        plan(10, 0, 9, is_accepted=True)


def test_store_of_another_topic_is_refused() -> None:
    """It was filled from a topic of this name that is gone, and may be all that is left of it."""
    with pytest.raises(RecoveryError, match=r"topic t was deleted and made anew \(id t-0 is now t-1\).* do this"):
        plan(5, 0, 9, old(1, "t-0"))
    with pytest.raises(StaleStoreError, match="earlier topic"):
        plan(5, 0, 9, old(1, "t-0"), is_accepted=True)
    assert plan(5, 0, 9, old(1, None)) == plan(5, 0, 9, old(1, "t-0"), topic_id=None) == 5


@pytest.mark.parametrize(("position", "origin"), [(None, None), (2, old(1)), (5, old(DAY_MS)), (5, None)])
def test_a_log_that_was_cut_off_is_refused_without_a_store_that_has_it(
    position: int | None, origin: Origin | None
) -> None:
    """Compaction leaves the first offset where it is: records before it were deleted; an operator may accept that."""
    with pytest.raises(RecoveryError, match=r"partition 2: the records before offset 3 were deleted.* do this"):
        plan(position, 3, 9, origin)
    if position is None:
        assert plan(position, 3, 9, origin, is_accepted=True) == 3
    else:
        with pytest.raises(StaleStoreError):
            plan(position, 3, 9, origin, is_accepted=True)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (old(DAY_MS), "delete.retention.ms"),
        (old(DAY_MS - DAY_MS // 10 + 1), "delete.retention.ms"),
        (old(-DAY_MS // 10 - 1), "ahead of this machine's clock"),
        (None, "older version"),
    ],
)
def test_store_too_old_for_what_it_missed_is_stale(origin: Origin | None, words: str) -> None:
    """Tombstones of what it missed may be gone, by the age of the store or by a clock that was set back."""
    with pytest.raises(StaleStoreError, match=words):
        plan(5, 0, 9, origin)
    assert plan(8, 0, 9, origin) == 8  # what follows is the mark of its own last transaction


@pytest.mark.parametrize("age_ms", [0, DAY_MS - DAY_MS // 10, -DAY_MS // 10])
def test_store_young_enough_catches_up(age_ms: int) -> None:
    """Within the retention of tombstones, but for a tenth, the log tells all that it missed."""
    assert plan(5, 0, 9, old(age_ms)) == 5
    with pytest.raises(StaleStoreError):
        plan(5, 0, 9, old(DAY_MS // 2), delete_retention_ms=DAY_MS // 2)
