"""Tests of what all Kafka clients share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NodeNotReadyError

from stream_app import kafka
from stream_app.broker.ports import free_port
from stream_app.kafka import (
    TlsError,
    check_reading,
    client_options,
    forget,
    once_listed,
    started_consumer,
    stop_consumer,
)
from stream_app.settings import Settings
from tests.stream_app.harness import make_topics, unretrieved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_broker_that_lists_none_is_asked_again() -> None:
    """A frozen broker that has just woken lists nobody for a moment; the answer after that counts."""
    answers = iter([None, None, 5])

    async def ask() -> int:
        answer = next(answers)
        if answer is None:
            raise NodeNotReadyError
        return answer

    assert asyncio.run(once_listed(ask)) == 5


def test_a_broker_that_never_lists_any_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked for ever."""
    monkeypatch.setattr(kafka, "_NO_BROKER_LISTED_S", 0.3)
    n_asked = 0

    async def ask() -> None:
        nonlocal n_asked
        n_asked += 1
        raise NodeNotReadyError

    with pytest.raises(NodeNotReadyError):
        asyncio.run(once_listed(ask))
    assert n_asked > 1


def test_a_certificate_that_is_none_names_its_setting(tmp_path: Path) -> None:
    """A file that is not there, and one that is no certificate: the variable, the file, and what to do."""
    path = tmp_path / "ca.pem"
    settings = Settings(security_protocol="SSL", ssl_cafile=path)
    with pytest.raises(TlsError, match=r"CROSSAISLE_SSL_CAFILE .*ca\.pem cannot be used \(no such file\): set it"):
        client_options(settings)
    path.write_text("hello")
    with pytest.raises(TlsError, match=r"CROSSAISLE_SSL_CAFILE .*ca\.pem cannot be used"):
        client_options(settings)
    settings = Settings(security_protocol="SSL", ssl_certfile=path, ssl_keyfile=path)
    with pytest.raises(TlsError, match=r"CROSSAISLE_SSL_CERTFILE .* with CROSSAISLE_SSL_KEYFILE "):
        client_options(settings)


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("twenty seconds were not enough")


def _sleeps(task: asyncio.Task[Any]) -> bool:
    """Return whether a task waits for a time to be over."""
    coroutine: Any = task.get_coro()
    return getattr(coroutine.cr_await, "__name__", "") == "sleep"


def test_a_consumer_with_a_request_to_be_tried_again_disconnects(app_settings: Settings) -> None:
    """What waits for its next try is cancelled; the task that stops the consumer is not."""

    async def stop() -> None:
        consumer = AIOKafkaConsumer(**client_options(app_settings), retry_backoff_ms=60_000)
        await consumer.start()
        consumer.assign([TopicPartition(app_settings.topic_events, 0)])
        await consumer.seek_to_end()
        waiting: list[asyncio.Task[Any]] = []

        def has_asked() -> bool:
            return any(connection._requests for connection in consumer._client._conns.values())

        def has_failed() -> bool:
            for connection in list(consumer._client._conns.values()):
                connection.close()
            waiting[:] = [task for task in consumer._fetcher._pending_tasks if _sleeps(task)]
            return bool(waiting)

        await _until(has_asked)
        await _until(has_failed)
        await asyncio.wait_for(stop_consumer(consumer), 10.0)
        assert all(task.cancelled() for task in waiting)
        assert not any(connection.connected() for connection in consumer._client._conns.values())

    make_topics(app_settings)
    asyncio.run(stop())


def test_a_task_that_is_cancelled_while_it_stops_a_consumer_is_cancelled(app_settings: Settings) -> None:
    """Its own cancellation is no business of aiokafka's."""

    async def stop() -> None:
        consumer = AIOKafkaConsumer(**client_options(app_settings))
        await consumer.start()
        stopping = asyncio.ensure_future(stop_consumer(consumer))
        await asyncio.sleep(0)
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        assert stopping.cancelled()
        assert not any(connection.connected() for connection in consumer._client._conns.values())

    asyncio.run(stop())


CLIENTS: dict[str, tuple[str, str]] = {
    "started_consumer": ("AIOKafkaConsumer", "stop"),
    "started_admin": ("AIOKafkaAdminClient", "close"),
    "started_client": ("AIOKafkaClient", "close"),
}
"""What disconnects the client of each."""


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_is_disconnected_however_its_use_ends(
    app_settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """At the end, after an error of the caller, and where the broker is away, so that it never was connected."""
    kind, method = CLIENTS[name]
    disconnect, n_disconnected = getattr(getattr(kafka, kind), method), 0

    async def counted(self: Any) -> None:
        nonlocal n_disconnected
        n_disconnected += 1
        await disconnect(self)

    monkeypatch.setattr(getattr(kafka, kind), method, counted)
    started = getattr(kafka, name)
    async with started(app_settings):
        pass
    assert n_disconnected >= 1  # an admin client disconnects the client in it, which is one of the same kind
    before = n_disconnected
    with pytest.raises(LookupError):
        async with started(app_settings):
            raise LookupError
    assert n_disconnected == 2 * before
    away = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(KafkaError):
        async with started(away):
            pytest.fail("there is no broker")
    assert n_disconnected > 2 * before


async def test_a_consumer_without_options_reads_committed_records_and_commits_nothing(app_settings: Settings) -> None:
    """That is what all readers of the project want; options say otherwise."""
    async with started_consumer(app_settings) as plain, started_consumer(app_settings, group_id="g") as grouped:
        assert (plain._group_id, plain._isolation_level, plain._enable_auto_commit) == (None, "read_committed", False)
        assert (grouped._group_id, grouped._isolation_level) == ("g", "read_committed")


async def test_forgotten_errors_are_not_told() -> None:
    """A future that nobody waits for any more may fail or be cancelled: the event loop has nothing to say of it."""

    async def fail() -> None:
        raise KafkaError

    async with unretrieved() as told:
        asyncio.ensure_future(fail()).add_done_callback(forget)
        sleeping = asyncio.ensure_future(asyncio.sleep(60.0))
        sleeping.add_done_callback(forget)
        sleeping.cancel()
    assert told == []


async def test_a_consumer_that_reads_no_more_says_so(app_settings: Settings) -> None:
    """Its routine has ended by an error that nobody hears: it would return nothing for ever."""
    await asyncio.to_thread(make_topics, app_settings)
    async with started_consumer(app_settings) as consumer:
        consumer.assign([TopicPartition(app_settings.topic_events, 0)])
        await consumer.getmany(timeout_ms=10)
        check_reading(consumer)
        routine = consumer._fetcher._fetch_task
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        broken.set_exception(KeyError((1, 0)))
        consumer._fetcher._fetch_task = broken
        with pytest.raises(KafkaError, match="reads no more: KeyError"):
            check_reading(consumer)
        consumer._fetcher._fetch_task = routine
