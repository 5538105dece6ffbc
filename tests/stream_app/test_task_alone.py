"""A task by itself, with nothing of Kafka: when it commits as a load ends, and that its end is waited for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from state.pages import Pages
from stream_app import task
from stream_app.processor import Flush, StageSpec
from stream_app.records import KafkaRecord
from stream_app.recovery import Opened
from stream_app.replay import Replayed
from stream_app.settings import Settings
from stream_app.task import Task, TaskContext
from tests.stream_app import harness
from tests.stream_app.test_user_stage import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

INPUT = TopicPartition("events", 0)


class FakeClock:
    """Goes on by as long as is waited for records."""

    def __init__(self) -> None:
        self.now_s = 5_000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s


class FakeConsumer:
    """Has one record, then nothing more."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._records: list[Any] = [Record(b"u", b"{}", offset=0)]
        self.failure: Exception | None = None

    def assignment(self) -> set[TopicPartition]:
        """Return the one partition."""
        return {INPUT}

    def seek(self, *_: object) -> None:
        """Begin somewhere."""

    def resume(self, *_: object) -> None:
        """Go on."""

    def highwater(self, _: TopicPartition) -> int:
        """Return the end."""
        return 1

    async def position(self, _: TopicPartition) -> int:
        """Return what is read next."""
        return 0 if self._records else 1

    async def getmany(self, *_: object, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        """Return the record once; finding nothing takes the time that is given."""
        del max_records
        if self.failure is not None:
            raise self.failure
        if self._records:
            taken, self._records = self._records, []
            return {INPUT: taken}
        self._clock.now_s += timeout_ms / 1_000
        await asyncio.sleep(0)
        return {}


class FakeProcessor:
    """Is under load until it has been called without records."""

    is_full = False

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.stretch = 1
        self.flushed_s: list[float] = []
        self.committing, self.may_commit = threading.Event(), threading.Event()
        self.may_commit.set()
        self.n_committed = 0

    def process(self, records: Sequence[KafkaRecord], now_ms: int, n_waiting: int = 0) -> None:
        """Fall behind with records; without, catch up."""
        del now_ms, n_waiting
        self.stretch = 10 if records else 1

    def prompt(self, now_ms: int) -> list[Any]:
        """Return nothing."""
        del now_ms
        return []

    def flush(self, now_ms: int) -> Flush:
        """Return nothing."""
        del now_ms
        self.flushed_s.append(self._clock.now_s)
        return Flush([], Pages(()), {})

    def committed(self) -> None:
        """Take as long as the test wants."""
        self.committing.set()
        self.may_commit.wait(harness.TIMEOUT_S)
        self.n_committed += 1


class FakeStore:
    """Closes when it is let."""

    position = 0

    def __init__(self) -> None:
        self.may_close = threading.Event()
        self.closing = threading.Event()
        self.is_closed = False
        self.may_close.set()

    def write(self, *_: object, **__: object) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Take as long as the test wants."""
        self.closing.set()
        self.may_close.wait(harness.TIMEOUT_S)
        self.is_closed = True


class FakeProducer:
    """Sends nothing."""

    async def commit(self, *_: object) -> dict[TopicPartition, int]:
        """Return where the changelog's records would be."""
        return {TopicPartition("changelog", 0): 1}

    async def discard(self) -> None:
        """Drop nothing."""


class World:
    """A task with fakes around it."""

    def __init__(self, settings: Settings, executor: ThreadPoolExecutor) -> None:
        self.clock = FakeClock()
        self.consumer, self.processor, self.store = FakeConsumer(self.clock), FakeProcessor(self.clock), FakeStore()
        self.failures: list[BaseException] = []
        self.closed: list[tuple[int, int]] = []
        """Of each call: the partition, and how many commits had come to their end by then."""
        spec = StageSpec(
            "user", INPUT.topic, "changelog", "group", settings.commit_interval_ms, self._never,
            on_closed=lambda partition: self.closed.append((partition, self.processor.n_committed)),
        )  # fmt: skip
        context: Any = TaskContext(
            settings, spec, self.consumer, executor, executor, None, self._never, self.failures.append  # type: ignore[arg-type]  # fakes
        )  # fmt: skip
        self.task = Task(context, 0)

    @staticmethod
    def _never(*_: object) -> Any:
        pytest.fail("nobody asked for this")

    async def open(self, *_: object, **__: object) -> Opened:
        """Return an open task."""
        parts: Any = (FakeProducer(), self.store, self.processor)
        return Opened(*parts, 1, None, None, 0, 0, Replayed(0, 0, 0), 0.0)


@pytest.fixture
async def make_world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Settings], World]]:
    """Yield a function that makes a world with settings; nothing of it is left at the end."""
    worlds: list[World] = []
    with ThreadPoolExecutor(1) as executor:

        def make(settings: Settings) -> World:
            worlds.append(World(settings, executor))
            monkeypatch.setattr(task, "open_task", worlds[-1].open)
            monkeypatch.setattr(task, "time", worlds[-1].clock)
            return worlds[-1]

        yield make
        for world in worlds:
            world.store.may_close.set()
            world.processor.may_commit.set()
            await world.task.stop(harness.TIMEOUT_S)


async def test_a_load_that_ends_brings_the_commit_forward(make_world: Callable[[Settings], World]) -> None:
    """The interval that a load had stretched to 100 s is 10 s again: slates may have begun a transaction meanwhile."""
    world = make_world(Settings(commit_interval_ms=10_000, transaction_timeout_ms=200_000))
    begun_s = world.clock.now_s
    world.task.start()
    await harness.until(lambda: bool(world.processor.flushed_s), "the commit")
    assert world.processor.flushed_s[0] - begun_s == pytest.approx(1.0)  # a tenth of the interval, for others to come
    assert world.failures == []


async def test_stopping_waits_for_what_closes_already(make_world: Callable[[Settings], World]) -> None:
    """A task that fails and is being closed when it is stopped has closed its store when that returns."""
    world = make_world(Settings())
    world.consumer.failure = KafkaError("the broker is away")
    world.store.may_close.clear()
    world.task.start()
    await asyncio.to_thread(world.store.closing.wait, harness.TIMEOUT_S)
    stopping = asyncio.create_task(world.task.stop(harness.TIMEOUT_S))
    for _ in range(1_000):  # turns of the loop: enough for an end that nothing holds up
        await asyncio.sleep(0)
    assert not stopping.done()
    world.store.may_close.set()
    await stopping
    assert world.store.is_closed
    assert world.closed == [(0, 0)]


async def test_a_task_that_is_dropped_leaves_after_its_last_commit(make_world: Callable[[Settings], World]) -> None:
    """What a commit still does in the task's thread is not done after others were told that the partition is gone."""
    world = make_world(Settings())
    world.processor.may_commit.clear()
    world.task.start()
    await asyncio.to_thread(world.processor.committing.wait, harness.TIMEOUT_S)
    await world.task.stop(0.1)
    assert world.closed == []
    world.processor.may_commit.set()
    await harness.until(lambda: bool(world.closed), "the end")
    assert world.closed == [(0, 1)]
