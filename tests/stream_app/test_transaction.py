"""Tests of the transactional producer of a task."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
)

from stream_app import transaction
from stream_app.kafka import client_options
from stream_app.packing import BATCH_BYTES
from stream_app.processor import Output
from stream_app.record_size import EMPTY_BATCH_BYTES, TOPIC_BYTES, record_bytes
from stream_app.records import Rejection, decode_reject, encode_reject
from stream_app.transaction import TaskProducer
from tests.stream_app import harness
from tests.stream_app.records.samples import FakeRecord

if TYPE_CHECKING:
    from stream_app.settings import Settings


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own whose topics exist."""
    harness.make_topics(app_settings)
    return app_settings


def committed(settings: Settings, topic: str, n: int) -> list[Any]:
    """Return the committed records of a topic when there are ``n`` of them.

    Kafka answers a commit before its markers stand in every partition, and until then a reader is held back.
    """
    harness.wait_for(lambda: len(harness.read_committed(settings, topic)) >= n, f"{n} committed records")
    return harness.read_committed(settings, topic)


def test_commit_keeps_order_over_many_batches(settings: Settings) -> None:
    """Records that fill several batches come out complete, in order, and the end offset is the one after the last."""
    topic = settings.topic_recommendations
    values = [b"%06d" % n + bytes(2000) for n in range(3 * BATCH_BYTES // 2000)]

    async def run() -> dict[TopicPartition, int]:
        producer = await TaskProducer.start(settings, "id")
        outputs = [Output(topic, 2, b"key", value, [("name", b"value")], timestamp_ms=7) for value in values]
        ends = await producer.commit([*outputs, Output(topic, 0, None, b"other")], {}, "group")
        await producer.discard()
        return ends

    ends = asyncio.run(run())
    records = committed(settings, topic, len(values) + 1)
    assert [record.value for record in records if record.partition == 2] == values
    assert {(r.key, r.headers, r.timestamp) for r in records if r.partition == 2} == {
        (b"key", (("name", b"value"),), 7)
    }
    assert ends == {TopicPartition(topic, 2): len(values), TopicPartition(topic, 0): 1}


def test_large_record_goes_in_a_batch_of_its_own(settings: Settings) -> None:
    """A record of 3 MiB fits a state topic, and one above 4 MiB is refused without committing anything."""
    topic = settings.topic_user_state

    async def run() -> None:
        producer = await TaskProducer.start(settings, "id")
        large = [Output(topic, 0, b"page-key-%d" % n, bytes(n << 20)) for n in (1, 3)]
        await producer.commit([Output(topic, 0, b"page-key-small", b"1"), *large], {}, "group")
        with pytest.raises(MessageSizeTooLargeError, match="smaller than"):
            await producer.commit([Output(topic, 0, b"page-key-5", bytes(5 << 20))], {}, "group")
        await producer.discard()

    asyncio.run(run())
    assert [len(r.value) for r in committed(settings, topic, 3)] == [1, 1 << 20, 3 << 20]


def test_refused_record_takes_its_transaction_with_it(settings: Settings) -> None:
    """When the broker refuses one record as too large, nothing of the transaction is ever committed."""
    topic = f"{settings.app_id}.narrow"
    small, large = Output(topic, 0, None, b"1"), Output(topic, 1, None, bytes(5_000))

    async def run() -> None:
        await _make_narrow(settings, topic)
        producer = await TaskProducer.start(settings, "id")
        with pytest.raises(MessageSizeTooLargeError):
            await producer.commit([small, large], {}, "group")
        await producer.discard()
        await (await TaskProducer.start(settings, "id")).discard()  # ends the open transaction

    asyncio.run(run())
    assert harness.read_committed(settings, topic) == []


@pytest.mark.parametrize("ahead", [False, True])
def test_a_topic_that_takes_less_than_it_must_is_named(settings: Settings, ahead: bool) -> None:
    """What the broker says of a batch names neither topic nor setting: the error does, with the remedy."""
    topic = settings.topic_rejects
    harness.alter_topic(settings, topic, {"max.message.bytes": "300"})
    output = Output(topic, 0, None, bytes(1_000))

    async def run() -> None:
        producer = await TaskProducer.start(settings, "id")
        try:
            if ahead:
                await producer.send([output])
            await producer.commit([] if ahead else [output], {}, "group")
        finally:
            await producer.discard()

    remedy = f"--alter --topic {topic} --add-config max.message.bytes={TOPIC_BYTES}"
    with pytest.raises(MessageSizeTooLargeError, match=re.escape(remedy)):
        asyncio.run(run())


def test_older_producer_is_fenced(settings: Settings) -> None:
    """Starting a producer of the same id makes every later commit of the older one fail, with nothing committed."""
    topic = settings.topic_recommendations

    async def run() -> None:
        old = await TaskProducer.start(settings, "id")
        await old.commit([Output(topic, 0, None, b"old")], {}, "group")
        new = await TaskProducer.start(settings, "id")
        with pytest.raises(ProducerFenced):
            await old.commit([Output(topic, 0, None, b"too late")], {}, "group")
        await new.commit([Output(topic, 0, None, b"new")], {}, "group")
        await old.discard()
        await new.discard()

    asyncio.run(run())
    assert [record.value for record in committed(settings, topic, 2)] == [b"old", b"new"]


def test_what_is_sent_ahead_is_committed_with_the_rest(settings: Settings) -> None:
    """Records sent ahead are there for uncommitted readers at once, for committed ones after the commit, in order."""
    topic = settings.topic_recommendations
    seen: list[int] = []

    async def run() -> dict[TopicPartition, int]:
        producer = await TaskProducer.start(settings, "id")
        await producer.send([Output(topic, 0, None, b"1"), Output(topic, 1, None, b"other")])
        await producer.send([Output(topic, 0, None, b"2")])
        consumer = AIOKafkaConsumer(topic, **client_options(settings), auto_offset_reset="earliest")
        await consumer.start()
        while len(seen) < 3:
            seen.append((await asyncio.wait_for(consumer.getone(), harness.TIMEOUT_S)).offset)
        await consumer.stop()
        assert await asyncio.to_thread(harness.read_committed, settings, topic) == []
        ends = await producer.commit([Output(topic, 0, None, b"3")], {}, "group")
        await producer.commit([Output(topic, 0, None, b"4")], {}, "group")
        await producer.discard()
        return ends

    ends = asyncio.run(run())
    records = committed(settings, topic, 5)
    assert [record.value for record in records if record.partition == 0] == [b"1", b"2", b"3", b"4"]
    assert ends == {TopicPartition(topic, 0): 3, TopicPartition(topic, 1): 1}


def test_what_is_sent_ahead_and_never_committed_is_never_seen(settings: Settings) -> None:
    """The next producer of the same id ends a transaction that has records only, and they stay uncommitted."""
    topic = settings.topic_recommendations

    async def run() -> None:
        producer = await TaskProducer.start(settings, "id")
        await producer.send([Output(topic, 0, None, b"lost")])
        await producer.discard()
        other = await TaskProducer.start(settings, "id")
        await other.commit([Output(topic, 0, None, b"kept")], {}, "group")
        await other.discard()

    asyncio.run(run())
    assert [record.value for record in committed(settings, topic, 1)] == [b"kept"]


def test_a_refusal_of_what_was_sent_ahead_ends_the_commit(settings: Settings) -> None:
    """A record sent ahead that the broker refuses makes the commit fail, with nothing committed."""
    topic = f"{settings.app_id}.narrow"

    async def run() -> None:
        await _make_narrow(settings, topic)
        producer = await TaskProducer.start(settings, "id")
        await producer.send([Output(topic, 1, None, bytes(5_000))])
        with pytest.raises(KafkaError):
            await producer.commit([Output(topic, 0, None, b"1")], {}, "group")
        await producer.discard()
        await (await TaskProducer.start(settings, "id")).discard()

    asyncio.run(run())
    assert harness.read_committed(settings, topic) == []


@pytest.mark.parametrize("abortable", [True, False])
def test_what_failed_first_is_what_is_raised(settings: Settings, abortable: bool) -> None:
    """Between two requests a transaction may fail: what comes next raises why, not that it cannot be asked for."""
    topic = settings.topic_recommendations

    async def run() -> None:
        producer = await TaskProducer.start(settings, "id")
        await producer.send([])
        manager = producer._producer._txn_manager
        (manager.error_transaction if abortable else manager.fatal_error)(TransactionalIdAuthorizationFailed("id"))
        with pytest.raises(TransactionalIdAuthorizationFailed):
            await producer.send([Output(topic, 0, None, b"more")])
        with pytest.raises(TransactionalIdAuthorizationFailed):
            await producer.commit([Output(topic, 0, None, b"rest")], {}, "group")
        await producer.discard()
        await (await TaskProducer.start(settings, "id")).discard()

    asyncio.run(run())
    assert harness.read_committed(settings, topic) == []


def test_rejects_with_large_headers_go_through(settings: Settings) -> None:
    """Headers count: a large reject does not share its batch, and both are within what the topic takes."""
    topic = settings.topic_rejects
    harness.alter_topic(settings, topic, {"max.message.bytes": "1048588"})  # Kafka's default, not the test broker's
    bad = [
        FakeRecord(b"?" * 500_000, b"u", "events", offset=0),
        FakeRecord(b"?", b"u", "events", offset=1, headers=(("trace", b"x" * 990_000),)),
    ]
    rejects = [encode_reject(record, Rejection(0, "not_json", "event: not JSON")) for record in bad]
    asyncio.run(_commit(settings, [Output(topic, 0, key, value, headers) for key, value, headers in rejects]))
    found = [decode_reject(record) for record in committed(settings, topic, 2)]
    assert [(reject.value, tuple(reject.headers)) for reject in found] == [(r.value, r.headers) for r in bad]


@pytest.mark.parametrize("part", ["key", "value", "header"])
def test_a_record_that_its_topic_does_not_take_is_refused_here(settings: Settings, part: str) -> None:
    """Each topic has its own limit, for key, value and headers together; just below it a record goes through."""
    topic = settings.topic_recommendations

    def output(n: int) -> Output:
        raw = bytes(n)
        headers = [("h", raw)] if part == "header" else []
        return Output(topic, 0, raw if part == "key" else b"", raw if part == "value" else b"", headers)

    room = TOPIC_BYTES - EMPTY_BATCH_BYTES - record_bytes(b"", b"", [("h", b"")] if part == "header" else [])

    with pytest.raises(MessageSizeTooLargeError, match=f"{topic}, partition 0: there a record must be smaller"):
        asyncio.run(_commit(settings, [output(room + 1)]))
    asyncio.run(_commit(settings, [output(room)]))
    assert len(committed(settings, topic, 1)) == 1


async def _commit(settings: Settings, outputs: list[Output]) -> None:
    producer = await TaskProducer.start(settings, "id")
    try:
        await producer.commit(outputs, {}, "group")
    finally:
        await producer.discard()


async def _make_narrow(settings: Settings, topic: str) -> None:
    """Make a topic that takes no large records."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"max.message.bytes": "1000"})])
    await admin.close()


async def test_a_client_that_cannot_be_closed_is_no_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that hangs is dropped with its connections; what those say of it, nobody waits for."""
    monkeypatch.setattr(transaction, "_STOP_TIMEOUT_S", 0.01)
    async with harness.unretrieved() as told:
        await TaskProducer(HangingProducer(), "id", {}).discard()  # type: ignore[arg-type]  # a fake
    assert told == []


class HangingProducer:
    """Cannot be stopped, nor can its client be closed."""

    def __init__(self) -> None:
        self.client = self

    async def stop(self) -> None:
        """Hang."""
        await asyncio.sleep(harness.TIMEOUT_S)

    async def close(self) -> None:
        """Fail."""
        raise KafkaError
