"""What a task does about failures: longer and longer pauses, an end, and patience with a broker that is away."""

from __future__ import annotations

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from state.store import StoreDamagedError, StoreError
from stream_app.failures import MAX_FAILURES, Failures, TaskFailedError


def failures() -> Failures:
    """Return those of a new task."""
    return Failures("user", TopicPartition("events", 3), structlog.get_logger())


def test_pauses_grow_and_end_with_an_error_that_names_the_place() -> None:
    """Each failure in a row waits at least as long as the one before; one too many names stage, partition, offset."""
    found = failures()
    pauses_s = [found.note(ValueError("bad"), 17) for _ in range(MAX_FAILURES - 1)]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] > 0.0
    with pytest.raises(TaskFailedError, match=r"stage user, partition 3.*offset 17 of events.*bad.*start the worker"):
        found.note(ValueError("bad"), 17)


def test_an_error_is_told_in_its_own_words() -> None:
    """No quotes within quotes around a path; before the first commit there is no offset to name."""
    found = failures()
    error = StoreError("store /s: it's full; make room")
    for _ in range(MAX_FAILURES - 1):
        found.note(error, None)
    with pytest.raises(TaskFailedError, match="before it read from events, last with StoreError: store /s: it's full"):
        found.note(error, None)


def test_a_commit_starts_the_count_anew() -> None:
    """A task that commits now and then is never given up."""
    found = failures()
    for _ in range(5):
        pauses_s = [found.note(ValueError(), None) for _ in range(MAX_FAILURES - 1)]
        found.reset()
        assert pauses_s[0] == failures().note(ValueError(), None)


def test_a_broker_that_is_away_is_no_failure() -> None:
    """However long it stays away, the task tries again, and a failure afterwards is the first one."""
    found = failures()
    pauses_s = {found.note(KafkaConnectionError(), 1) for _ in range(10 * MAX_FAILURES)}
    assert len(pauses_s) == 1
    assert found.note(ValueError(), 1) == failures().note(ValueError(), 1)


def test_a_damaged_store_is_to_be_rebuilt() -> None:
    """Only that error asks for it."""
    found = failures()
    found.note(ValueError(), 1)
    assert not found.rebuild
    found.note(StoreDamagedError("a page cannot be read"), 1)
    assert found.rebuild
