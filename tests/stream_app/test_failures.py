"""What a task does about failures: longer and longer pauses, an end, and patience with a broker that is away."""

from __future__ import annotations

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from state.store import StoreDamagedError, StoreError
from stream_app import task
from stream_app.failures import MAX_FAILURES, Failures, TaskFailedError, forget_frames
from stream_app.recovery import Opened
from tests.stream_app import harness


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


def _wrapped(cause: BaseException) -> KafkaError:
    error = KafkaError("Unexpected error during batch delivery")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error", [KafkaTimeoutError(), _wrapped(KafkaConnectionError()), _wrapped(_wrapped(KafkaTimeoutError()))]
)
def test_what_hides_that_a_broker_is_away_is_no_failure_either(error: KafkaError) -> None:
    """A partition without a leader times out, and aiokafka wraps what a lost connection did to a batch."""
    found = failures()
    assert len({found.note(error, 1) for _ in range(10 * MAX_FAILURES)}) == 1
    assert found.note(ValueError(), 1) == failures().note(ValueError(), 1)


def test_other_errors_of_kafka_are_failures() -> None:
    """What the broker refuses does not pass by itself; nor does an error of ours that a lost connection led to."""
    refused, ours = _wrapped(ValueError("bad")), ValueError("bad")
    ours.__cause__ = KafkaConnectionError()
    for error in (refused, ours):
        found = failures()
        for _ in range(MAX_FAILURES - 1):
            found.note(error, 1)
        with pytest.raises(TaskFailedError):
            found.note(error, 1)


def test_a_damaged_store_is_to_be_rebuilt() -> None:
    """Only that error asks for it."""
    found = failures()
    found.note(ValueError(), 1)
    assert not found.rebuild
    found.note(StoreDamagedError("a page cannot be read"), 1)
    assert found.rebuild


class Rows:
    """Stands for a processor and all its rows."""


class LostBroker:
    """A consumer whose broker is gone; like a client it keeps the error that it raises."""

    def __init__(self, source: TopicPartition) -> None:
        self.kept = KafkaConnectionError()
        self._source = source

    def assignment(self) -> set[TopicPartition]:
        """Return the one partition."""
        return {self._source}

    def seek(self, *_: object) -> None:
        """Do nothing."""

    def resume(self, *_: object) -> None:
        """Do nothing."""

    async def getmany(self, *_: object, **__: object) -> Any:
        """Raise the error that is kept."""
        raise self.kept


def test_a_task_that_failed_lets_go_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is free before it recovers, whoever still keeps the error, and without a collection of garbage."""
    left: list[bool] = []
    consumer = LostBroker(TopicPartition("events", 0))
    meters = SimpleNamespace()
    closed: list[int] = []

    async def call(function: Any, *args: Any) -> None:
        if function is not None:
            function(*args)

    spec = SimpleNamespace(
        name="user", input_topic="events", changelog_topic="c", handover=None, meters=meters, commit_interval_ms=100,
        on_closed=closed.append,
    )  # fmt: skip

    async def nothing(*_: object) -> None:
        return None

    async def run() -> None:
        opened_again, rows = asyncio.Event(), [Rows()]
        seen = weakref.ref(rows[0])

        async def open_task(*_: object, **__: object) -> Opened:
            if not rows:
                left.append(seen() is not None)
                opened_again.set()
                await asyncio.Event().wait()
            producer, store = SimpleNamespace(discard=nothing), SimpleNamespace(close=None, position=0)
            replayed = SimpleNamespace(end=0, n_records=0)
            parts: Any = (producer, store, rows.pop(), 1, None, None, 0, 0, replayed, 0.0)
            return Opened(*parts)

        async def no_pause(*_: object) -> None:
            await asyncio.sleep(0)

        monkeypatch.setattr(task, "open_task", open_task)
        monkeypatch.setattr(task.Task, "_pause", no_pause)
        settings = SimpleNamespace(max_batch_events=1, longest_interval_ms=5_000)
        context: Any = SimpleNamespace(spec=spec, settings=settings, consumer=consumer)
        context.facts, context.call = None, call
        running = task.Task(context, 0)
        running.start()
        async with asyncio.timeout(harness.TIMEOUT_S):
            await opened_again.wait()
        await running.stop(1.0)

    asyncio.run(run())
    assert left == [False]
    assert closed == [0]


def test_frames_of_causes_are_forgotten_too() -> None:
    """An error that was raised from another one, or from itself, keeps nothing alive."""

    def look_up(rows: Rows) -> None:
        raise KeyError(id(rows))

    def fail(rows: Rows) -> None:
        try:
            look_up(rows)
        except KeyError as error:
            raise ValueError from error

    rows = Rows()
    seen = weakref.ref(rows)
    with pytest.raises(ValueError, match=r"^$") as raised:
        fail(rows)
    del rows
    assert seen() is not None
    assert raised.value.__cause__ is not None
    raised.value.__cause__.__cause__ = raised.value
    forget_frames(raised.value)
    assert seen() is None
