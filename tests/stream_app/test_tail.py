"""Tests of tails on a real broker: partitions that are added, and topics that go away under a running worker."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaConnectionError, KafkaError

from stream_app import tail
from stream_app.changelog import RecoveryError
from stream_app.kafka import client_options
from stream_app.settings import Settings
from stream_app.tail import TailService
from tests.stream_app import harness
from tests.stream_app.harness import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream_app.records import KafkaRecord

N_MORE = 7


async def add_partitions(settings: Settings, topic: str) -> None:
    """Give a topic more partitions."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(total_count=N_MORE)})
    finally:
        await admin.close()


async def delete_topic(settings: Settings, topic: str) -> None:
    """Delete a topic."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def test_partitions_that_are_added_are_read_from_their_beginning(app_settings: Settings) -> None:
    """Records that came before the tail found their partition are there, and none of the others comes twice."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_catalog
    seen: list[tuple[int, int]] = []

    def apply(records: Sequence[KafkaRecord]) -> None:
        seen.extend((record.partition, record.offset) for record in records)

    def send_to(n_partitions: int) -> None:
        for partition in range(n_partitions):
            harness.send(app_settings, [(b"a", b"1"), (b"b", b"2")], topic=topic, partition=partition)

    async def until_seen(n: int) -> None:
        while len(seen) < n:  # noqa: ASYNC110  # what the tail's own thread appends to
            await asyncio.sleep(0.05)

    async def run() -> dict[int, int]:
        with ThreadPoolExecutor(1) as executor:
            tail = TailService(app_settings, topic, apply, executor)
            await tail.start()
            try:
                async with asyncio.timeout(harness.TIMEOUT_S):
                    await tail.caught_up.wait()
                    await asyncio.to_thread(send_to, harness.N_PARTITIONS)
                    await until_seen(2 * harness.N_PARTITIONS)
                    await add_partitions(app_settings, topic)
                    await asyncio.to_thread(send_to, N_MORE)
                    await until_seen(2 * harness.N_PARTITIONS + 2 * N_MORE)
                assert tail.caught_up.is_set()
                return tail.positions
            finally:
                await tail.stop()

    n_each = [4] * harness.N_PARTITIONS + [2] * (N_MORE - harness.N_PARTITIONS)
    assert asyncio.run(run()) == dict(enumerate(n_each))
    assert sorted(seen) == [(partition, offset) for partition, n in enumerate(n_each) for offset in range(n)]


@pytest.mark.parametrize(
    ("is_made_anew", "words"), [(False, r"does not exist; make it with: .*; then do this"), (True, "To go on, do this")]
)
def test_a_topic_that_goes_away_ends_the_tail(app_settings: Settings, *, is_made_anew: bool, words: str) -> None:
    """A topic that was deleted, or made anew, is an error that names the remedy, within seconds."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_catalog

    async def run() -> BaseException | None:
        with ThreadPoolExecutor(1) as executor:
            tail = TailService(app_settings, topic, lambda _: None, executor, remedy="do this")
            await tail.start()
            try:
                async with asyncio.timeout(harness.TIMEOUT_S):
                    await tail.caught_up.wait()
                    if is_made_anew:
                        await asyncio.to_thread(harness.recreate_topic, app_settings, topic)
                    else:
                        await delete_topic(app_settings, topic)
                    while not tail.crashed:  # noqa: ASYNC110  # mode tells no event
                        await asyncio.sleep(0.05)
                return tail.crash_reason
            finally:
                await tail.stop()

    reason = asyncio.run(run())
    assert isinstance(reason, RecoveryError)
    with pytest.raises(RecoveryError, match=rf"^topic {topic}: .*{words}"):
        raise reason


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_catalogue_that_goes_away_stops_the_worker(
    app_settings: Settings, tmp_path: Path, *, is_made_anew: bool
) -> None:
    """The worker ends with exit 1, and its last line names the topic and what to do."""
    settings = harness.with_short_session(app_settings)
    harness.make_topics(settings)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        if is_made_anew:
            harness.recreate_topic(settings, settings.topic_catalog)
        else:
            asyncio.run(delete_topic(settings, settings.topic_catalog))
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert last.startswith(f"error: topic {settings.topic_catalog}: it "), last
        assert last.endswith("send it again"), last
    if not is_made_anew:
        harness.make_topics(settings)
    with Worker(settings, tmp_path / "again") as worker:
        worker.wait_ready()


async def test_a_connection_that_cannot_be_closed_is_no_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail tells why it was interrupted; what its consumer says when it is stopped, nobody waits for."""

    class AwayConsumer:
        def __init__(self, **_: object) -> None:
            pass

        async def start(self) -> None:
            raise KafkaConnectionError

    async def fail(_: object) -> None:
        raise KafkaError

    monkeypatch.setattr(tail, "AIOKafkaConsumer", AwayConsumer)
    monkeypatch.setattr(tail, "stop_consumer", fail)
    with ThreadPoolExecutor(1) as executor:
        service = TailService(Settings(), "topic", lambda _: None, executor)
        async with harness.unretrieved() as told:
            with pytest.raises(KafkaConnectionError):
                await service._read()
    assert told == []
