"""Tests of worker processes as a group: sharing partitions, frozen workers, brokers that go and come."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError

from stream_app.broker import EmbeddedBroker
from stream_app.kafka import client_options
from stream_app.stage import StageService
from tests.stream_app import harness
from tests.stream_app.counting import counting_spec
from tests.stream_app.harness import Flow, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.settings import Settings


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def another(settings: Settings) -> Settings:
    """Return the settings of a second worker of the same application on this machine."""
    return settings.model_copy(update={"web_port": free_port()})


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own whose topics exist."""
    harness.make_topics(app_settings)
    return harness.with_short_session(app_settings)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Yield a broker that the test may stop, on a port that stays its own."""
    with EmbeddedBroker(tmp_path / "kafka", port=free_port()) as broker:
        yield broker


def test_two_workers_share_the_partitions(settings: Settings, tmp_path: Path) -> None:
    """A second worker takes over some partitions, gives them back when it ends, and each event counts once."""
    with Worker(settings, tmp_path / "a") as a, Flow(settings) as flow:
        harness.wait_for(lambda: len(a.owned()) == 4, "worker a to own all")
        with Worker(another(settings), tmp_path / "b") as b:
            harness.wait_for(lambda: a.owned() and b.owned() and len(a.owned() + b.owned()) == 4, "both to own some")
            assert not set(a.owned()) & set(b.owned())
            assert b.terminate() == 0
        harness.wait_for(lambda: len(a.owned()) == 4, "worker a to own all again")
    with Worker(settings.model_copy(update={"web_port": free_port()}), tmp_path / "c") as c:
        c.wait_counted(flow.sent.total())
    harness.check_exactly_once(settings, flow.sent)


def test_five_joins_and_leaves_while_events_flow(settings: Settings, tmp_path: Path) -> None:
    """Workers that join and leave five times, in turn, cost no event and repeat none."""
    with Worker(settings, tmp_path / "a") as a, Flow(settings) as flow:
        for _ in range(5):
            with Worker(another(settings), tmp_path / "b") as b:
                harness.wait_for(lambda b=b: len(b.owned()) > 0, "worker b to own some")
                assert b.terminate() == 0, b.log
        harness.wait_for(lambda: len(a.owned()) == 4, "worker a to own all again")
    with Worker(another(settings), tmp_path / "c") as c:
        c.wait_counted(flow.sent.total())
        harness.check_exactly_once(settings, flow.sent)
    assert "task_failed" not in (tmp_path / "a").read_text() + (tmp_path / "b").read_text()


def test_frozen_worker_is_fenced_and_harms_nothing(settings: Settings, tmp_path: Path) -> None:
    """A worker frozen past its session with events read but not committed is fenced when it wakes, and goes on."""
    slow = settings.model_copy(update={"commit_interval_ms": 3_000})
    with Worker(slow, tmp_path / "frozen") as frozen:
        frozen.wait_ready()
        with Flow(settings, n_per_s=500) as flow:
            harness.wait_for(lambda: _n_uncommitted(frozen) > 0, "events to be read and not committed")
            frozen.signal(signal.SIGSTOP)
        sent = flow.sent
        with Worker(another(settings), tmp_path / "heir") as heir:
            heir.wait_counted(sent.total())
            frozen.signal(signal.SIGCONT)
            harness.wait_for(lambda: "task_fenced" in frozen.log, "the frozen worker to be fenced")
            sent += harness.send_numbered(settings, 1000)
            heir.wait_counted(sent.total())
            harness.wait_for(lambda: len(frozen.owned() + heir.owned()) == 4, "the woken worker to work again")
            assert frozen.process.poll() is None
            sent += harness.send_numbered(settings, 1000)
            heir.wait_counted(sent.total())
    harness.check_exactly_once(settings, sent)


def _n_uncommitted(worker: Worker) -> int:
    _, body = worker.get("/health/ready")
    tasks = body.get("stages", {}).get("user", {}).get("tasks", [])
    return sum((task["read_offset"] or 0) - (task["input_offset"] or 0) for task in tasks)


def test_broker_restart_in_mid_flight(app_settings: Settings, own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """When the broker stops and comes back, the worker goes on by itself and each event counts once."""
    settings = harness.with_short_session(app_settings, bootstrap_servers=own_broker.bootstrap_servers)
    harness.make_topics(settings)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        with Flow(settings) as flow:
            worker.wait_counted(200)
            own_broker.stop()
            own_broker.start()
            n_before = flow.sent.total()
            harness.wait_for(lambda: flow.sent.total() > n_before + 1000, "events to flow again")
        worker.wait_counted(flow.sent.total())
        worker.wait_ready()
        harness.check_exactly_once(settings, flow.sent)
        assert worker.terminate() == 0, worker.log


def test_killed_broker_comes_back(app_settings: Settings, own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A broker killed in the middle of transactions and started again costs no event and repeats none."""
    settings = harness.with_short_session(app_settings, bootstrap_servers=own_broker.bootstrap_servers)
    harness.make_topics(settings)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        with Flow(settings) as flow:
            worker.wait_counted(200)
            own_broker.kill()
            own_broker.start()
            n_before = flow.sent.total()
            harness.wait_for(lambda: flow.sent.total() > n_before + 1000, "events to flow again")
        worker.wait_counted(flow.sent.total())
        harness.check_exactly_once(settings, flow.sent)


def test_broker_away_at_start(app_settings: Settings, tmp_path: Path) -> None:
    """A worker without a broker says so, is alive but not ready, and works as soon as there is one."""
    port = free_port()
    settings = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{port}"})
    with Worker(settings, tmp_path / "log") as worker:
        harness.wait_for(lambda: "broker_unreachable" in worker.log, "the worker to say that the broker is away")
        assert worker.get("/health/live") == (200, {"live": True})
        status, body = worker.get("/health/ready")
        assert (status, body["phase"]) == (503, "waiting for broker")
        with EmbeddedBroker(tmp_path / "kafka", port=port):
            harness.make_topics(settings)
            if worker.process.poll() is not None:  # it may have found the broker before its topics
                assert "crossaisle topics create" in worker.log
            with Worker(another(settings), tmp_path / "log") as again:
                again.wait_ready()
                sent = harness.send_numbered(settings, 300)
                again.wait_counted(300)
                harness.check_exactly_once(settings, sent)


def test_waiting_worker_can_be_terminated(app_settings: Settings, tmp_path: Path) -> None:
    """SIGTERM ends a worker that waits for its broker, with exit 0 within 5 seconds."""
    settings = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with Worker(settings, tmp_path / "log") as worker:
        harness.wait_for(lambda: "broker_unreachable" in worker.log, "the worker to say that the broker is away")
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log


def test_termination_without_a_broker(app_settings: Settings, own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """SIGTERM ends a worker whose broker has gone within 5 seconds too; what it could not commit is read again."""
    settings = harness.with_short_session(app_settings, bootstrap_servers=own_broker.bootstrap_servers)
    harness.make_topics(settings)
    slow = settings.model_copy(update={"commit_interval_ms": 60_000, "transaction_timeout_ms": 120_000})
    with Worker(slow, tmp_path / "log") as worker:
        worker.wait_ready()
        sent = harness.send_numbered(settings, 500)
        harness.wait_for(lambda: _n_uncommitted(worker) == 500, "events to be read and not committed")
        own_broker.kill()
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log
    own_broker.start()
    with Worker(settings, tmp_path / "again") as worker:
        worker.wait_counted(500)
        harness.check_exactly_once(settings, sent)


def test_missing_topic_stops_the_worker(app_settings: Settings, tmp_path: Path) -> None:
    """Without its topics a worker ends with exit 1, and its last line names the command that makes them."""
    with Worker(app_settings, tmp_path / "log") as worker:
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert app_settings.topic_events in last
        assert "crossaisle topics create" in last


def test_wrong_partition_count_stops_the_worker(app_settings: Settings, tmp_path: Path) -> None:
    """A changelog with another number of partitions than its input ends the worker with exit 1 and a remedy."""

    async def make_odd() -> None:
        admin = AIOKafkaAdminClient(**client_options(app_settings))
        await admin.start()
        try:
            await admin.create_topics([NewTopic(app_settings.topic_user_state, harness.N_PARTITIONS + 1, 1)])
        finally:
            await admin.close()

    asyncio.run(make_odd())
    harness.make_topics(app_settings)
    with Worker(app_settings, tmp_path / "log") as worker:
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert f"topic {app_settings.topic_user_state}: has 5 partitions" in last


def test_more_partitions_stop_the_worker(settings: Settings, tmp_path: Path) -> None:
    """Partitions that are added while a worker runs end it within seconds: users would move to others."""

    async def grow() -> None:
        admin = AIOKafkaAdminClient(**client_options(settings))
        await admin.start()
        try:
            await admin.create_partitions({settings.topic_events: NewPartitions(harness.N_PARTITIONS + 2)})
        finally:
            await admin.close()

    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_counted(harness.send_numbered(settings, 100).total())
        asyncio.run(grow())
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert f"topic {settings.topic_events}: it has 6 partitions and had 4" in last
        assert "CROSSAISLE_APP_ID" in last
        assert "put the topic back" not in last


def test_taken_web_port_stops_the_worker(settings: Settings, tmp_path: Path) -> None:
    """A second worker on the same web port ends with exit 1 and names the setting."""
    with Worker(settings, tmp_path / "a") as a:
        a.wait_ready()
        with Worker(settings, tmp_path / "b") as b:
            assert b.wait() == 1
            assert "CROSSAISLE_WEB_PORT" in b.log.splitlines()[-1]


def test_web_serves_health_on_the_loopback_only(settings: Settings, tmp_path: Path) -> None:
    """The web server listens on 127.0.0.1 only, serves the health views, and none of Faust's tables and graphs."""
    with Worker(settings, tmp_path / "log") as worker:
        body = worker.wait_ready()
        tasks = body["stages"]["user"]["tasks"]
        assert [task["partition"] for task in tasks] == [0, 1, 2, 3]
        assert {task["state"] for task in tasks} == {"running"}
        assert json.dumps(body)
        with (
            pytest.raises(OSError, match="refused"),
            socket.create_connection(("127.0.0.2", settings.web_port), timeout=5),
        ):
            pass
        for path in ("/table/", "/router/", "/graph/"):
            assert worker.get(path)[0] == 404


def test_a_consumer_that_stops_meanwhile_fails_no_stage(app_settings: Settings) -> None:
    """A stage that ends while it asks for the errors of its group ends quietly."""
    harness.make_topics(app_settings)

    async def run() -> None:
        consumer = AIOKafkaConsumer(app_settings.topic_events, group_id="stops", **client_options(app_settings))
        await consumer.start()
        await consumer.stop()
        stage: Any = SimpleNamespace(_consumer=consumer, _tasks_open={})
        await StageService._check_group(stage)

    asyncio.run(run())


async def test_a_fenced_task_gets_its_partition_again_while_the_coordinator_is_looked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage tasks are fenced just when the group looks for its coordinator: it must go on all the same."""
    n_assigned = 0
    assign = StageService.assign

    async def counted(stage: StageService, partitions: list[int]) -> None:
        nonlocal n_assigned
        await assign(stage, partitions)
        n_assigned += 1

    monkeypatch.setattr(StageService, "assign", counted)
    with ThreadPoolExecutor() as executor:
        stage = StageService(settings, counting_spec(settings), [executor], executor)
        await stage.start()
        try:
            for n_turns in range(6):
                n_before = n_assigned
                if n_before:
                    coordinator = stage._consumer._coordinator  # type: ignore[union-attr]
                    coordinator.coordinator_dead()  # as when its heartbeats are not answered
                    for _ in range(n_turns):
                        await asyncio.sleep(0)
                    stage._on_fenced(0)
                await harness.until(lambda n=n_before: n_assigned > n and stage.is_ready, "all partitions", 30)  # type: ignore[misc]
                assert len(stage.processors()) == harness.N_PARTITIONS
        finally:
            await stage.stop()
    assert stage.crash_reason is None


async def test_an_error_of_the_group_is_heard_when_all_tasks_have_ended(settings: Settings) -> None:
    """Where nobody reads any more, the stage looks itself: it ends with the error, and does not live on for nothing."""
    with ThreadPoolExecutor() as executor:
        stage = StageService(settings, counting_spec(settings), [executor], executor)
        await stage.start()
        try:
            await harness.until(lambda: stage.is_ready, "all partitions")
            consumer: Any = stage._consumer
            consumer.unsubscribe()  # tasks take that for a rebalance, and end
            consumer._coordinator._coordination_task.cancel()
            await asyncio.sleep(0)
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            ended.set_exception(KafkaError("the group's routine has ended"))
            consumer._coordinator._coordination_task = ended
            await harness.until(lambda: stage.crashed, "the stage to end", 30)
            assert "the group's routine has ended" in str(stage.crash_reason)
        finally:
            await stage.stop()
