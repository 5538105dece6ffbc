"""Tests of producing records, on the real broker."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import LeaderNotAvailableError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from stream_app import produce, sender
from stream_app.cli import CommandError
from stream_app.cli.produce import produce as produce_command
from stream_app.produce import Pacer, connect_producer, produce_records
from stream_app.sender import STALL_TIMEOUT_S, BatchSender, KeyReader, ProduceError, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from stream_app.reading import Record
    from stream_app.settings import Settings

N_PARTITIONS = 3
SETTINGS_IN_ENVIRONMENT = ("bootstrap_servers", "app_id", "topic_events", "topic_catalog")


@pytest.fixture
def topics(app_settings: Settings) -> Settings:
    """Return settings whose topics are there."""

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=app_settings.bootstrap_servers)
        await admin.start()
        compacted = {"cleanup.policy": "compact"}
        await admin.create_topics(
            [
                NewTopic(app_settings.topic_events, N_PARTITIONS, 1),
                NewTopic(app_settings.topic_catalog, N_PARTITIONS, 1, topic_configs=compacted),
            ]
        )
        await admin.close()

    asyncio.run(make())
    return app_settings


@pytest.fixture
def environment(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put the settings into the environment, and return that."""
    for name in SETTINGS_IN_ENVIRONMENT:
        monkeypatch.setenv(f"CROSSAISLE_{name.upper()}", str(getattr(app_settings, name)))
    return dict(os.environ)


async def read_topic(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """Return all committed records of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, isolation_level="read_committed")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, partition) for partition in range(N_PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


def event(number: int, user: str) -> dict[str, Any]:
    """Make an event."""
    return {
        "event_id": f"e{number}",
        "type": "view",
        "user_id": user,
        "item_id": "i",
        "event_time_ms": 1_600_000_000_000,
    }


def run_command(*arguments: str) -> Any:
    """Run `crossaisle produce`."""
    app = typer.Typer()
    app.command()(produce_command)
    return CliRunner().invoke(app, list(arguments))


def test_records_arrive_once_keyed_and_in_order(topics: Settings) -> None:
    """Every record arrives once, in its user's order, in the partition that the Java client would choose."""
    sent = [event(number, f"user-{number % 17}") for number in range(20_000)]
    seen: list[int] = []
    n_sent = asyncio.run(produce_records(topics, topics.topic_events, sent, on_progress=seen.append))
    assert n_sent == len(sent) == seen[-1]
    assert seen == sorted(seen)
    records = asyncio.run(read_topic(topics, topics.topic_events))
    by_user: dict[str, list[int]] = defaultdict(list)
    for record in records:
        decoded = json.loads(record.value)
        assert record.key == decoded["user_id"].encode()
        assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % N_PARTITIONS
        by_user[decoded["user_id"]].append(int(decoded["event_id"][1:]))
    assert all(numbers == sorted(set(numbers)) for numbers in by_user.values())
    assert sum(map(len, by_user.values())) == len(sent)


def test_catalogue_records_are_keyed_by_item(topics: Settings) -> None:
    """In the catalogue topic the key is the item, as compaction needs it."""
    entries: list[Record] = [b'{"item_id":"\xc3\xa4 1","category":["A"]}', {"item_id": "2", "category": ["B"]}]
    assert asyncio.run(produce_records(topics, topics.topic_catalog, entries)) == 2
    records = asyncio.run(read_topic(topics, topics.topic_catalog))
    assert {record.key for record in records} == {"ä 1".encode(), b"2"}


def test_bad_records_arrive_as_they_are(topics: Settings) -> None:
    """What is no event goes through byte for byte and without a key: the worker rejects it, with a code."""
    bad = [
        b"not json",
        b"\xff\xfe",
        b'{"user_id":7}',
        b"[]",
        b'{"user_id":null}',
        b'{"item_id":"i"}',
        b'{"user_id":"u"',
    ]
    assert asyncio.run(produce_records(topics, topics.topic_events, bad)) == len(bad)
    records = asyncio.run(read_topic(topics, topics.topic_events))
    assert sorted(record.value for record in records) == sorted(bad)
    assert {record.key for record in records} == {None}


def test_a_missing_topic_names_the_command(app_settings: Settings) -> None:
    """The error says how to make the topic, and does not make it by asking."""
    for _ in range(2):
        with pytest.raises(ProduceError, match="crossaisle topics create"):
            asyncio.run(produce_records(app_settings, app_settings.topic_events, [event(0, "u")]))


def test_a_broker_that_is_away_is_an_error_in_bounded_time(
    app_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether nothing listens or what listens never answers: an error with the remedy."""
    nowhere = app_settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(ProduceError, match="crossaisle broker"):
        asyncio.run(produce_records(nowhere, "events", []))
    monkeypatch.setattr(produce, "CONNECT_TIMEOUT_S", 0.3)

    with socket.socket() as mute_server:
        mute_server.bind(("127.0.0.1", 0))
        mute_server.listen()
        mute = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{mute_server.getsockname()[1]}"})
        with pytest.raises(ProduceError, match="crossaisle broker"):
            asyncio.run(produce_records(mute, "events", []))


def test_a_record_that_no_topic_takes_is_named(topics: Settings) -> None:
    """A record over the limit ends producing with an error; those before it are sent and counted."""
    records: list[Record] = [event(0, "u"), b"x" * 1_000_001, event(1, "u")]
    counts: list[int] = []
    with pytest.raises(RecordError, match="1,000,001 bytes"):
        asyncio.run(produce_records(topics, topics.topic_events, records, on_progress=counts.append))
    with pytest.raises(RecordError, match="as JSON"):
        KeyReader("user_id").encode({"user_id": object()})


def test_cancelling_confirms_what_was_sent(topics: Settings) -> None:
    """Cancelled in the middle, the last count reported is what the topic holds."""
    counts = [0]

    async def produce_and_cancel() -> None:
        endless = (event(number, str(number)) for number in range(10**9))
        half = asyncio.Event()

        def show(n_confirmed: int) -> None:
            counts.append(n_confirmed)
            if n_confirmed > 1_000:
                half.set()

        task = asyncio.create_task(produce_records(topics, topics.topic_events, endless, on_progress=show))
        waiting = asyncio.create_task(half.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(produce_and_cancel())
    records = asyncio.run(read_topic(topics, topics.topic_events))
    assert len(records) == counts[-1] > 1_000


class StuckProducer:
    """Takes batches and never confirms one, or fails each."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def create_batch(self) -> FullBatch:
        """Make a batch."""
        return FullBatch()

    async def send_batch(self, batch: FullBatch, topic: str, *, partition: int) -> asyncio.Future[None]:
        """Return what will never be done, or has failed."""
        del batch, topic, partition
        sent = asyncio.get_running_loop().create_future()
        if self._error is not None:
            sent.set_exception(self._error)
        return sent


class FullBatch:
    """A batch that holds any number of records."""

    def __init__(self) -> None:
        self.n_records = 0

    def append(self, *, timestamp: int | None, key: bytes | None, value: bytes) -> object:
        """Take a record."""
        del timestamp, key, value
        self.n_records += 1
        return object()

    def record_count(self) -> int:
        """Return how many it has taken."""
        return self.n_records

    def close(self) -> None:
        """Do nothing."""


def test_a_broker_that_confirms_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idempotent producer retries forever; the sender gives up after a while and says how far it came."""
    monkeypatch.setattr(sender, "STALL_TIMEOUT_S", 0.05)

    async def send() -> None:
        batches = BatchSender(StuckProducer(), "events", None)
        batches._partitions = [0]
        await batches.add(b"u", b"{}")
        await batches.drain()

    with pytest.raises(ProduceError, match="confirmed nothing"):
        asyncio.run(send())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LeaderNotAvailableError(), "confirmed nothing for 30 s.*check that it runs"),
        (TimeoutError(), "confirmed nothing for 30 s.*check that it runs"),
        (MessageSizeTooLargeError(), "refused records for topic 'events'.*mend that"),
    ],
)
def test_a_broker_that_is_gone_has_refused_nothing(error: Exception, words: str) -> None:
    """What would pass with time is told as a broker that does not answer; anything else with its own words."""

    async def send() -> None:
        batches = BatchSender(StuckProducer(error), "events", None)
        batches._partitions = [0]
        await batches.add(b"u", b"{}")
        await batches.drain()

    with pytest.raises(ProduceError, match=words):
        asyncio.run(send())


def test_batches_do_not_expire_before_the_sender_gives_up(app_settings: Settings) -> None:
    """A broker may be away for as long as the sender promises."""

    async def batch_lives_s() -> float:
        producer = await connect_producer(app_settings)
        await producer.stop()
        return float(producer._request_timeout_ms) / 1_000

    assert asyncio.run(batch_lives_s()) > STALL_TIMEOUT_S


def test_nothing_is_waited_for_after_the_last_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one record in 100 s the first goes out at once; a pause comes before the second, and none after it."""
    pauses_s: list[float] = []

    async def pump() -> None:
        clock_s = 0.0
        batches = BatchSender(StuckProducer(), "events", None)
        batches._partitions = [0]

        async def sleep(delay_s: float) -> None:
            nonlocal clock_s
            pauses_s.append(delay_s)
            clock_s += delay_s

        monkeypatch.setattr(produce.asyncio, "sleep", sleep)
        monkeypatch.setattr(produce.time, "monotonic", lambda: clock_s)
        await produce._pump(batches, iter([event(0, "u"), event(1, "u")]), KeyReader("user_id"), Pacer(0.01, clock_s))

    asyncio.run(pump())
    assert pauses_s == [100.0]


@given(
    rate=st.floats(min_value=0.1, max_value=50_000),
    steps_s=st.lists(st.floats(min_value=0.0, max_value=0.4), max_size=50),
)
def test_the_pacer_keeps_to_the_rate(rate: float, steps_s: list[float]) -> None:
    """Polled as often as it asks for, the pacer never releases more than the rate allows, and never falls behind."""
    now_s = 100.0
    pacer = Pacer(rate, now_s)
    n_released = 0
    for step_s in steps_s:
        while n_due := pacer.due(now_s):
            n_released += n_due
        allowed = (now_s - 100.0) * rate + 1
        assert allowed - 1.001 < n_released <= allowed + 0.001
        assert 0 < pacer.wait_s(now_s) <= max(1 / rate, 0.02) + 1e-6
        now_s += step_s


def test_the_pacer_does_not_make_up_for_a_long_hold_up() -> None:
    """After a minute without sending at most half a second's records are due at once."""
    pacer = Pacer(100.0, 0.0)
    assert pacer.due(60.0) <= 51


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """The error says what to do instead."""
    with pytest.raises(ProduceError, match="leave it out"):
        Pacer(rate, 0.0)


@given(st.binary() | st.text().map(lambda user: json.dumps({"user_id": user}).encode()))
def test_the_key_reader_takes_any_bytes(value: bytes) -> None:
    """Any bytes come back unchanged; the key is the user's id if there is one."""
    key, kept = KeyReader("user_id").encode(value)
    assert kept == value
    try:
        wanted = json.loads(value.decode())
        user = wanted["user_id"] if isinstance(wanted, dict) else None
    except (ValueError, KeyError, RecursionError):
        user = None
    assert key == (user.encode() if isinstance(user, str) else None)


def test_the_command_produces_a_file(topics: Settings, environment: dict[str, str], tmp_path: Path) -> None:
    """`crossaisle produce FILE --limit N --json` sends N records and prints one line of JSON."""
    assert environment
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event(number, "u")) + "\n" for number in range(50)))
    result = run_command(str(path), "--limit", "40", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["topic"], summary["n_records"], summary["interrupted"]) == (topics.topic_events, 40, False)
    assert len(asyncio.run(read_topic(topics, topics.topic_events))) == 40


def test_the_command_names_the_line_of_a_bad_record(
    topics: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """A record that cannot be sent is reported with file and line."""
    assert topics
    assert environment
    path = tmp_path / "catalog.jsonl"
    path.write_bytes(b'{"item_id":"1"}\n' + b"x" * 1_100_000 + b"\n")
    result = run_command(str(path), "--topic", "catalog")
    assert isinstance(result.exception, CommandError)
    assert f"{path}:2: " in str(result.exception)


@pytest.mark.parametrize(("topic", "twice"), [("events", "event_id"), ("catalog", "counts once")])
def test_the_command_says_how_much_of_a_damaged_file_was_sent(
    topics: Settings, environment: dict[str, str], tmp_path: Path, topic: str, twice: str
) -> None:
    """All before the damage arrives and is counted, and the error says that the whole file may be sent again."""
    assert environment
    path = tmp_path / "records.jsonl.gz"
    lines = "".join(json.dumps({**event(number, "u"), "item_id": str(number)}) + "\n" for number in range(20_000))
    path.write_bytes(gzip.compress(lines.encode())[:-200])
    result = run_command(str(path), "--topic", topic)
    assert isinstance(result.exception, CommandError)
    message = str(result.exception)
    n_sent = len(asyncio.run(read_topic(topics, getattr(topics, f"topic_{topic}"))))
    assert n_sent > 1
    assert f"records.jsonl.gz:{n_sent + 1}: the file is damaged" in message
    assert f"; {n_sent:,} records were produced before: then produce the whole file again, " in message
    assert twice in message


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("c.jsonl", '{"item_id":"k1","category":["a"]}\n{"category":["a"]}\n{"item_id":"k3","category":["a"]}\n', [2]),
        ("c.csv", "item_id,category\nk1,a\n,a\nk3,a\n", [3]),
        ("c.jsonl", "[7]\n" * 6 + '{"item_id":"k1"}\n{"item_id":"k3"}\n', [1, 2, 3, 4, 5]),
    ],
)
def test_a_catalogue_record_without_its_item_is_named_and_left_out(
    topics: Settings, environment: dict[str, str], tmp_path: Path, name: str, text: str, lines: list[int]
) -> None:
    """A compacted topic refuses the whole batch of a record without a key: its neighbours arrive, its line is named."""
    assert environment
    path = tmp_path / name
    path.write_text(text)
    result = run_command(str(path), "--topic", "catalog")
    assert isinstance(result.exception, CommandError)
    message = str(result.exception)
    named, _, why = message.partition(": no item_id")
    assert (named.removesuffix(" and 1 more"), bool(why)) == (", ".join(f"{path}:{line}" for line in lines), True)
    records = asyncio.run(read_topic(topics, topics.topic_catalog))
    assert sorted(record.key for record in records) == [b"k1", b"k3"]


def test_all_before_a_record_that_cannot_be_produced_is(topics: Settings) -> None:
    """Where records without a key are not left out, those before the first of them arrive and are counted."""
    records: list[Record] = [b'{"item_id":"k1","category":["A"]}', b'{"category":["A"]}', {"item_id": "k3"}]
    with pytest.raises(RecordError, match="no item_id") as raised:
        asyncio.run(produce_records(topics, topics.topic_catalog, records))
    assert raised.value.n_confirmed == 1
    assert [record.key for record in asyncio.run(read_topic(topics, topics.topic_catalog))] == [b"k1"]


def test_the_command_ends_cleanly_on_ctrl_c(topics: Settings, environment: dict[str, str], tmp_path: Path) -> None:
    """Interrupted, it says how many records were produced, exits 130, and the topic holds exactly those."""
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event(number, str(number))) + "\n" for number in range(100_000)))
    code = "import typer; from stream_app.cli.produce import produce; typer.run(produce)"
    command = [sys.executable, "-c", code, str(path), "--rate", "200", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    for _ in until(120.0):
        if asyncio.run(read_topic(topics, topics.topic_events)):
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    summary = json.loads(output)
    assert summary["interrupted"]
    assert 0 < summary["n_records"] == len(asyncio.run(read_topic(topics, topics.topic_events)))


def until(timeout_s: float) -> Iterator[None]:
    """Yield until the time is over, then fail."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        yield
    pytest.fail(f"nothing happened within {timeout_s} s")
