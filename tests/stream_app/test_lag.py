"""Tests of measuring the lag, on the real broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Self

import pytest
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from typer.testing import CliRunner

from stream_app import lag
from stream_app.cli import CommandError
from stream_app.cli.lag import lag as lag_command
from stream_app.lag import LagError, LagMeter, measure_lag
from stream_app.partition_lag import PartitionLag
from tests.stream_app import harness
from tests.stream_app.harness import environment
from tests.stream_app.test_lag_records import UNTIMED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from stream_app.settings import Settings

N_PARTITIONS = 2
NOW_MS = time.time_ns() // 1_000_000
"""The clock of these tests stands still; brokers refuse records from the far future, so it stands at today."""


@pytest.fixture
def topics(app_settings: Settings) -> Settings:
    """Return settings whose topics are there."""

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=app_settings.bootstrap_servers)
        await admin.start()
        names = (app_settings.topic_events, app_settings.topic_item_updates)
        await admin.create_topics([NewTopic(name, N_PARTITIONS, 1) for name in names])
        await admin.close()

    asyncio.run(make())
    return app_settings


class Transactions:
    """Writes records and commits offsets in transactions, as a worker does, and waits until others can see them.

    The broker answers the end of a transaction once it is decided; its markers, and with them the last stable offset
    and the group's committed offset, follow a moment later.
    """

    def __init__(self, settings: Settings) -> None:
        servers = settings.bootstrap_servers
        self.producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=f"{settings.app_id}.test")
        self._consumer = AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed")
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        self._clients = (self.producer, self._consumer, self._admin)

    async def __aenter__(self) -> Self:
        for client in self._clients:
            await client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()
        await self._consumer.stop()
        await self._admin.close()

    async def send(self, topic: str, *, n_records: int = 1, age_ms: int = 0, value: bytes | None = b"{}") -> None:
        """Write records to partition 0, with a transaction of their own."""
        async with self.producer.transaction():
            for _ in range(n_records):
                sent = await self.producer.send_and_wait(
                    topic, value, key=b"key", partition=0, timestamp_ms=NOW_MS - age_ms
                )
        await self.wait_for_end(topic, sent.offset + 2)  # the record and the marker

    async def commit(self, group: str, topic: str, offset: int) -> None:
        """Commit a group's offset of partition 0 in a transaction."""
        place = TopicPartition(topic, 0)
        async with self.producer.transaction():
            await self.producer.send_offsets_to_transaction({place: offset}, group)

        async def committed() -> int | None:
            found = (await self._admin.list_consumer_group_offsets(group)).get(place)
            return None if found is None else found.offset

        await self._wait_for(committed, offset)

    async def wait_for_end(self, topic: str, end: int) -> None:
        """Return when the last stable offset of partition 0 is `end`."""
        place = TopicPartition(topic, 0)

        async def last() -> int:
            return (await self._consumer.end_offsets([place]))[place]

        await self._wait_for(last, end)

    @staticmethod
    async def _wait_for(read: Callable[[], Awaitable[int | None]], expected: int) -> None:
        async with asyncio.timeout(harness.TIMEOUT_S):
            found = await read()
            while found != expected:
                await asyncio.sleep(0.01)
                found = await read()


def meter_of(settings: Settings) -> LagMeter:
    """Return a meter whose clock stands still."""
    return LagMeter(settings, now_ms=lambda: NOW_MS)


def first(lags: list[PartitionLag], stage: str) -> PartitionLag:
    """Return a stage's lag in partition 0."""
    return next(found for found in lags if (found.stage, found.partition) == (stage, 0))


def test_empty_topics_have_no_lag(topics: Settings) -> None:
    """Before anything is produced or committed: each stage and partition once, with lag 0."""
    lags = asyncio.run(measure_lag(topics))
    assert [(found.stage, found.partition) for found in lags] == [("user", 0), ("user", 1), ("item", 0), ("item", 1)]
    for found in lags:
        assert found.group == f"{topics.app_id}.{found.stage}"
        assert (found.end, found.committed, found.lag_events, found.lag_s) == (0, None, 0, 0.0)


def test_all_records_are_lag_when_nothing_was_committed(topics: Settings) -> None:
    """A worker that never ran has everything before it; the age is that of the oldest record."""

    async def measure() -> list[PartitionLag]:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.send(topics.topic_events, n_records=3, age_ms=9_000)
            await broker.send(topics.topic_events, age_ms=2_000)
            return await meter.measure()

    found = first(asyncio.run(measure()), "user")
    assert found.committed is None
    assert found.end == 6  # four records and two markers
    assert found.lag_events == 6
    assert found.lag_s == 9.0


def test_the_lag_is_zero_when_only_markers_are_left(topics: Settings) -> None:
    """Offsets of commit markers and of aborted records beyond the committed offset are no lag."""

    async def measure() -> list[PartitionLag]:
        topic, group = topics.topic_item_updates, f"{topics.app_id}.item"
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.send(topic, n_records=2)
            await broker.commit(group, topic, 2)
            await broker.producer.begin_transaction()
            await broker.producer.send_and_wait(topic, b"aborted", partition=0)
            await broker.producer.abort_transaction()
            await broker.wait_for_end(topic, 5)
            return await meter.measure()

    found = first(asyncio.run(measure()), "item")
    assert (found.end, found.committed) == (5, 2)
    assert (found.lag_events, found.lag_s) == (0, 0.0)


def test_one_meter_follows_records_and_commits(topics: Settings) -> None:
    """What a meter has found before is neither kept too long nor lost: each measurement is right."""

    async def measure() -> list[tuple[int, int | None, int, float | None]]:
        topic, group = topics.topic_events, f"{topics.app_id}.user"
        seen = []
        async with Transactions(topics) as broker, meter_of(topics) as meter:

            async def note() -> None:
                found = first(await meter.measure(), "user")
                seen.append((found.end, found.committed, found.lag_events, found.lag_s))

            await broker.send(topic, n_records=2, age_ms=5_000)  # offsets 0 and 1, marker 2
            await note()
            await note()
            await broker.commit(group, topic, 1)
            await note()
            await broker.commit(group, topic, 2)
            await note()
            await broker.send(topic, age_ms=1_000)  # offset 3, marker 4
            await note()
            await broker.commit(group, topic, 4)
            await note()
            await broker.commit(group, topic, 0)  # reset by an operator
            await note()
        return seen

    assert asyncio.run(measure()) == [
        (3, None, 3, 5.0),
        (3, None, 3, 5.0),
        (3, 1, 2, 5.0),
        (3, 2, 0, 0.0),
        (5, 2, 2, 1.0),
        (5, 4, 0, 0.0),
        (5, 0, 5, 5.0),
    ]


def test_records_of_an_open_transaction_are_no_lag_yet(topics: Settings) -> None:
    """A worker cannot read them, so the end does not include them until they are committed."""

    async def measure() -> list[int]:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.producer.begin_transaction()
            await broker.producer.send_and_wait(topics.topic_item_updates, b"{}", partition=0)
            before = first(await meter.measure(), "item").lag_events
            await broker.producer.commit_transaction()
            await broker.wait_for_end(topics.topic_item_updates, 2)
            return [before, first(await meter.measure(), "item").lag_events]

    assert asyncio.run(measure()) == [0, 2]


@pytest.mark.parametrize("at_once", [True, False], ids=["first question", "asked before"])
def test_a_transaction_that_is_held_open_is_a_problem(topics: Settings, *, at_once: bool) -> None:
    """Whoever waits for committed records learns that somebody's transaction keeps them back, and until it ends."""

    async def measure() -> list[PartitionLag]:
        topic = topics.topic_events
        async with Transactions(topics) as broker, LagMeter(topics, now_ms=lambda: NOW_MS + 75_000) as meter:
            await broker.producer.begin_transaction()
            await broker.producer.send_and_wait(topic, b"{}", partition=0, timestamp_ms=NOW_MS)
            async with AIOKafkaProducer(bootstrap_servers=topics.bootstrap_servers) as other:
                await other.send_and_wait(topic, b"{}", partition=0, timestamp_ms=NOW_MS)
            if not at_once:
                await meter.measure()
            held = first(await meter.measure(), "user")
            await broker.producer.commit_transaction()
            await broker.wait_for_end(topic, 3)
            return [held, first(await meter.measure(), "user")]

    held, free = asyncio.run(measure())
    assert (held.end, held.lag_events, held.held_events, held.held_s) == (0, 0, 2, 75.0)
    assert held.problem is not None
    assert "open at offset 0 for 75 s" in held.problem
    assert (free.end, free.lag_events, free.held_events, free.held_s, free.problem) == (3, 3, 0, 0.0, None)


@pytest.mark.parametrize("at_once", [True, False], ids=["first question", "asked before"])
def test_transactions_that_end_hold_nothing_whatever_their_records_times(topics: Settings, *, at_once: bool) -> None:
    """A producer that replays last year in short transactions is no problem: the stable end moves."""

    async def measure() -> PartitionLag:
        topic = topics.topic_events
        async with Transactions(topics) as broker, LagMeter(topics, now_ms=lambda: NOW_MS + 9_000_000) as meter:
            if not at_once:
                await meter.measure()
            ended, has_ended_one = asyncio.Event(), asyncio.Event()

            async def keep_writing() -> None:
                while not ended.is_set():
                    async with broker.producer.transaction():
                        await broker.producer.send_and_wait(topic, b"{}", partition=0, timestamp_ms=NOW_MS)
                        await asyncio.sleep(0.05)
                    has_ended_one.set()

            writing = asyncio.ensure_future(keep_writing())
            await has_ended_one.wait()
            found = first(await meter.measure(), "user")
            ended.set()
            await writing
            return found

    found = asyncio.run(measure())
    assert (found.held_s, found.problem) == (0.0, None)


def test_a_clock_behind_the_producers_gives_no_negative_age(topics: Settings) -> None:
    """A record from the future is 0 seconds old."""

    async def measure() -> float | None:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.send(topics.topic_events, age_ms=-60_000)
            return first(await meter.measure(), "user").lag_s

    assert asyncio.run(measure()) == 0.0


@pytest.mark.parametrize("value", UNTIMED.values(), ids=UNTIMED.keys())
def test_no_record_keeps_a_lag_from_being_told(topics: Settings, value: bytes | None) -> None:
    """A record that says no time is a lag like any other, of an age by Kafka's timestamp alone."""

    async def measure() -> PartitionLag:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.send(topics.topic_events, age_ms=5_000, value=value)
            return first(await meter.measure(), "user")

    found = asyncio.run(measure())
    assert (found.lag_events, found.lag_s, found.lag_event_s) == (2, 5.0, None)


def test_a_committed_offset_beyond_the_end_is_a_problem(topics: Settings) -> None:
    """A recreated topic is called one, not a negative lag."""

    async def measure() -> PartitionLag:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.commit(f"{topics.app_id}.user", topics.topic_events, 100)
            return first(await meter.measure(), "user")

    found = asyncio.run(measure())
    assert found.lag_events == 0
    assert found.problem is not None
    assert "recreated" in found.problem


def test_what_was_deleted_unread_is_a_problem(topics: Settings) -> None:
    """Records that retention took away before they were read are told, not passed over."""
    events = topics.topic_events
    harness.send(topics, [(b"ann", b"{}")] * 5, topic=events, partition=0)

    async def measure() -> PartitionLag:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.commit(f"{topics.app_id}.user", events, 1)
            return first(await meter.measure(), "user")

    assert asyncio.run(measure()).problem is None
    harness.delete_records(topics, events, 0, 3)
    found = asyncio.run(measure())
    assert found.lag_events == 2
    assert found.problem is not None
    assert found.problem.startswith("2 records from offset 1 on were deleted before they were read: raise retention.ms")


def test_a_missing_topic_names_the_command(app_settings: Settings) -> None:
    """The error says how to make the topic, and does not make it by asking."""
    for _ in range(2):
        with pytest.raises(LagError, match="crossaisle topics create"):
            asyncio.run(measure_lag(app_settings))


def test_a_broker_that_is_away_is_an_error(app_settings: Settings) -> None:
    """The error names the address and what to do."""
    nowhere = app_settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(LagError, match=r"127\.0\.0\.1:1: .*crossaisle broker"):
        asyncio.run(measure_lag(nowhere))


def test_a_meter_that_is_not_started_says_so(app_settings: Settings) -> None:
    """Forgetting to start it is an error, not an empty list."""
    with pytest.raises(LagError, match="not started"):
        asyncio.run(LagMeter(app_settings).measure())


def test_a_record_that_is_not_found_in_time_leaves_the_age_open(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without time to look, the lag is the distance of the offsets and its age is not known."""
    monkeypatch.setattr(lag, "PROBE_TIMEOUT_S", 0.0)

    async def measure() -> PartitionLag:
        async with Transactions(topics) as broker, meter_of(topics) as meter:
            await broker.send(topics.topic_events)
            return first(await meter.measure(), "user")

    found = asyncio.run(measure())
    assert (found.lag_events, found.lag_s) == (2, None)


def run_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Run `crossaisle lag`."""
    for name in ("bootstrap_servers", "app_id", "topic_events", "topic_item_updates"):
        monkeypatch.setenv(f"CROSSAISLE_{name.upper()}", str(getattr(settings, name)))
    app = typer.Typer()
    app.command()(lag_command)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_json_lines(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`crossaisle lag --json` prints a line per stage and partition and nothing else."""
    result = run_command(topics, monkeypatch, "--json", "--max-lag", "0")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["stage"], line["partition"], line["lag_events"]) for line in lines] == [
        ("user", 0, 0),
        ("user", 1, 0),
        ("item", 0, 0),
        ("item", 1, 0),
    ]


def test_the_command_draws_a_table(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --json people get a table, with a dash where nothing was committed."""
    result = run_command(topics, monkeypatch)
    assert result.exit_code == 0, result.output
    assert "committed" in result.stdout
    assert " - " in result.stdout


def test_watch_prints_each_measurement_into_a_pipe(topics: Settings, tmp_path: Path) -> None:
    """Where there is no terminal, tables come one below the other, and the end of the reader ends the command."""
    command = [sys.executable, "-m", "stream_app.cli.main", "lag", "--watch", "--interval", "0.1"]
    env = environment(topics)
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=PIPE, stderr=PIPE, text=True) as process:
        too_long = threading.Timer(120.0, process.kill)
        too_long.start()
        assert process.stdout is not None
        assert process.stderr is not None
        heads = (line for line in process.stdout if "committed" in line)
        assert next(heads, "") == next(heads, None)
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, "")
        too_long.cancel()


def test_the_command_fails_above_the_limit(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--max-lag N` turns a lag into an exit code that scripts can use, and names the partition."""

    async def produce_two() -> None:
        async with Transactions(topics) as broker:
            await broker.send(topics.topic_events, n_records=2)

    asyncio.run(produce_two())
    assert run_command(topics, monkeypatch, "--max-lag", "3").exit_code == 0
    result = run_command(topics, monkeypatch, "--max-lag", "2")
    assert isinstance(result.exception, CommandError)
    assert "user stage, partition 0: 3 events behind" in str(result.exception)
    assert isinstance(run_command(topics, monkeypatch, "--max-lag", "2", "--watch").exception, CommandError)
