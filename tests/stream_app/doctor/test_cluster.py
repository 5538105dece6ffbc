"""The doctor on a real broker: all well, and each thing broken on purpose."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from pydantic import SecretStr

from stream_app.broker import EmbeddedBroker
from stream_app.doctor.cluster import check_broker
from stream_app.doctor.finding import CHECKS
from stream_app.doctor.rights import check_rights
from stream_app.doctor.topics import check_configuration, check_offsets
from stream_app.doctor.transactions import (
    check_clock_by_events,
    check_clock_by_probe,
    check_transactions,
    left_over,
)
from stream_app.kafka import client_options
from stream_app.probe import explain
from stream_app.record_size import TOPIC_BYTES
from stream_app.topics import create_topics
from tests.conftest import free_port, fresh_settings
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.doctor import Finding
    from stream_app.settings import Settings


def words(findings: list[Finding]) -> str:
    """Return what findings say, with how bad they are."""
    return "\n".join(f"{f.severity}: {f.found} | {f.remedy}" for f in findings)


def run_doctor(settings: Settings, cwd: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "stream_app.cli.main", "doctor", *arguments]
    env = {**harness.environment(settings), **extra}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=120, check=False)


def test_all_is_well(app_settings: Settings, tmp_path: Path) -> None:
    """On a broker with fresh topics nothing is broken; every check is made; the probe leaves nothing behind."""
    harness.make_topics(app_settings)
    done = run_doctor(app_settings, tmp_path, "--json", "--probe")
    assert done.returncode == 0, done.stdout + done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert {f["check"] for f in findings} == set(CHECKS)
    assert [f for f in findings if f["severity"] != "ok"] == []
    assert "a transaction was committed" in findings[-1]["found"]
    plain = run_doctor(app_settings, tmp_path, CROSSAISLE_PARTITIONS="8").stdout
    assert "all is well" in plain
    assert f"in each of {harness.N_PARTITIONS} user and {harness.N_PARTITIONS} item tasks" in " ".join(plain.split())

    async def topics() -> list[str]:
        admin = AIOKafkaAdminClient(**client_options(app_settings))
        await admin.start()
        try:
            return await admin.list_topics()
        finally:
            await admin.close()

    harness.wait_for(lambda: f"{app_settings.app_id}.doctor" not in asyncio.run(topics()), "the topic to be gone")


def test_missing_topics(app_settings: Settings, tmp_path: Path) -> None:
    """Without topics the command exits 1 and says how to make them."""
    done = run_doctor(app_settings, tmp_path, "--json")
    assert done.returncode == 1
    errors = [f for f in map(json.loads, done.stdout.splitlines()) if f["severity"] == "error"]
    assert {f["check"] for f in errors} == {"topics", "offsets"}
    assert all("crossaisle topics create" in f["remedy"] + f["found"] for f in errors)
    assert done.stderr.startswith("error: ")


def test_broker_away(app_settings: Settings, tmp_path: Path) -> None:
    """Without a broker the rest is skipped, and nothing but findings is printed."""
    away = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    done = run_doctor(away, tmp_path, "--json")
    assert done.returncode == 1
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["check"] for f in findings if f["severity"] == "error"] == ["broker"]
    assert findings[-1]["severity"] == "skipped"
    assert len(done.stderr.splitlines()) == 1


def test_wrong_setting(app_settings: Settings, tmp_path: Path) -> None:
    """A wrong value is a finding like any other."""
    done = run_doctor(app_settings, tmp_path, "--json", CROSSAISLE_SLATE_SIZE="many")
    assert done.returncode == 1
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert "CROSSAISLE_SLATE_SIZE" in findings[0]["found"]


async def test_wrong_addresses_and_protocols(app_settings: Settings) -> None:
    """Each way a connection can fail is told apart; one address of several that answers is enough."""

    async def found(**changes: Any) -> str:
        return words(await check_broker(app_settings.model_copy(update=changes)))

    good = app_settings.bootstrap_servers
    assert "is no address" in await found(bootstrap_servers="kafka")
    assert "the name is not known" in await found(bootstrap_servers="no-such-host.invalid:9092")
    both = await found(bootstrap_servers=f"127.0.0.1:{free_port()},{good}")
    assert "warning: 127.0.0.1" in both
    assert "error" not in both
    assert "CROSSAISLE_SECURITY_PROTOCOL" in await found(security_protocol="SSL")
    sasl = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u", "sasl_password": SecretStr("p")}
    assert "CROSSAISLE_" in await found(**sasl)
    assert "error" in await found(**sasl)
    assert "error" not in await found()


def test_every_failure_has_words(app_settings: Settings) -> None:
    """A silent network and a refused password are told apart."""
    assert "no answer" in explain("a:1", TimeoutError(), app_settings)[0]
    assert "not known" in explain("a:1", socket.gaierror(), app_settings)[0]


async def _alter(settings: Settings, topic: str, config: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    finally:
        await admin.close()


async def test_topics_broken_on_purpose(app_settings: Settings) -> None:
    """Each configuration that loses data or stops a worker is found by name, with the command that mends it."""
    await create_topics(app_settings, 2, 1)
    (well,) = await check_configuration(app_settings)
    assert well.severity == "ok"
    own = app_settings.app_id
    for topic, config in {
        f"{own}.events": {"cleanup.policy": "compact", "retention.ms": "60000", "max.message.bytes": "1000"},
        f"{own}.user-state": {
            "cleanup.policy": "compact,delete",
            "max.message.bytes": "4194304",
            "min.insync.replicas": "2",
        },
        f"{own}.item-state": {"cleanup.policy": "delete", "max.message.bytes": "1048588"},
        f"{own}.recommendations": {"max.message.bytes": "500"},
        f"{own}.policy-updates": {"cleanup.policy": "compact", "max.message.bytes": "400"},
    }.items():
        await _alter(app_settings, topic, config)
    admin = AIOKafkaAdminClient(**client_options(app_settings))
    await admin.start()
    await admin.create_partitions({app_settings.topic_rejects: NewPartitions(total_count=3)})
    await admin.close()
    wanted = {
        "events cleanup.policy is compact, wanted delete": "cleanup.policy=delete",
        "events keeps records for 60000 ms": "retention.ms",
        "events takes 1000 bytes": "max.message.bytes",
        "user-state cleanup.policy is compact,delete": "cleanup.policy=compact",
        "min.insync.replicas is 2": "min.insync.replicas=1",
        "item-state cleanup.policy is delete": "cleanup.policy=compact",
        "item-state max.message.bytes is": "max.message.bytes=",
        "recommendations max.message.bytes is 500": f"max.message.bytes={TOPIC_BYTES}",
        "policy-updates max.message.bytes is 400": f"max.message.bytes={TOPIC_BYTES}",
        "rejects has 3 partitions": "crossaisle topics create",
    }

    findings: list[Finding] = []
    for _ in range(100):
        findings = await check_configuration(app_settings)
        if len(findings) >= len(wanted):
            break
        await asyncio.sleep(0.05)
    for found, remedy in wanted.items():
        (finding,) = [f for f in findings if found in f.found] or pytest.fail(f"{found!r} not in: {words(findings)}")
        assert remedy in finding.remedy, finding


async def test_offsets_beyond_the_end(app_settings: Settings) -> None:
    """A committed offset that the topic does not reach is found."""
    await create_topics(app_settings, 2, 1)
    consumer = AIOKafkaConsumer(**client_options(app_settings), group_id=f"{app_settings.app_id}.user")
    await consumer.start()
    try:
        tp = TopicPartition(app_settings.topic_events, 0)
        consumer.assign([tp])
        await consumer.commit({tp: 1_000})
    finally:
        await consumer.stop()
    findings = await check_offsets(app_settings)
    assert findings[0].severity == "error"
    assert "1000" in findings[0].found


@pytest.mark.parametrize(("ahead_ms", "severity"), [(0, "ok"), (600_000, "warning"), (7_200_000, "error")])
def test_events_from_the_future(app_settings: Settings, ahead_ms: int, severity: str) -> None:
    """An event of ten minutes ahead is to be looked at; one of two hours ahead is rejected, and that is broken."""
    harness.make_topics(app_settings)
    assert asyncio.run(check_clock_by_events(app_settings))[0].found == "no events yet to compare with"
    event = {"event_id": "e", "event_time_ms": time.time_ns() // 1_000_000 + ahead_ms}
    harness.send(app_settings, [(b"u", json.dumps(event).encode()), (b"v", b"no JSON")])
    (found,) = asyncio.run(check_clock_by_events(app_settings))
    assert found.severity == severity, found


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1, "look whether it is milliseconds"), (1_000, "like microseconds: divide"), (10**6, "like nanoseconds: divide")],
)
def test_times_of_another_unit_are_named(app_settings: Settings, factor: int, words: str) -> None:
    """An event that is rejected for its time says what the time looks like; no time service mends microseconds."""
    harness.make_topics(app_settings)
    event = {"event_id": "e", "event_time_ms": (time.time_ns() // 1_000_000 + 7_200_000) * factor}
    harness.send(app_settings, [(b"u", json.dumps(event).encode())])
    (found,) = asyncio.run(check_clock_by_events(app_settings))
    assert found.severity == "error"
    assert str(event["event_time_ms"]) in found.found
    assert words in found.remedy
    assert ("NTP" in found.remedy) == (factor == 1)


def test_a_timestamp_ahead_rejects_nothing(app_settings: Settings) -> None:
    """The worker judges by event_time_ms: a host whose clock is ahead is a warning, whatever the event says."""
    harness.make_topics(app_settings)
    now_ms = time.time_ns() // 1_000_000
    event = {"event_id": "e", "event_time_ms": now_ms}
    harness.send(app_settings, [(b"u", json.dumps(event).encode())], timestamp_ms=now_ms + 3_500_000)
    (found,) = asyncio.run(check_clock_by_events(app_settings))
    assert found.severity == "warning", found
    assert "no event is rejected" in found.found
    assert "producer's host" in found.remedy


def test_events_that_say_no_time_do_not_stop_the_clock_check(app_settings: Settings) -> None:
    """A record that is nested too deeply, and one of a time beyond all numbers, count by Kafka's timestamp."""
    harness.make_topics(app_settings)
    values = [b'{"x":' + b"[" * 60_000, b'{"event_time_ms": 1' + b"0" * 400 + b"}"]
    for partition, value in enumerate(values):
        harness.send(app_settings, [(b"u", value)], partition=partition)
    (found,) = asyncio.run(check_clock_by_events(app_settings))
    assert found.severity == "ok", found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return settings of a broker that asks for rights, and allows no transaction longer than five seconds."""
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "transaction.max.timeout.ms": "5000",
    }
    home = tmp_path_factory.mktemp("guarded")
    with EmbeddedBroker(home / "broker", properties=rules) as broker:
        settings = fresh_settings(broker.bootstrap_servers, home / "state")
        yield settings.model_copy(update={"transaction_timeout_ms": 5_000})


def _allow_only(settings: Settings, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    """Leave nothing but these operations on a resource to everyone; nothing at all if none is given."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    rules = [(operation, AclPermissionType.ALLOW) for operation in operations]
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, "User:*", "*", operation, permission)
        for operation, permission in rules or [(AclOperation.ALL, AclPermissionType.DENY)]
    ]
    for future in admin.create_acls(bindings).values():
        future.result(30)


def _until(look: Any, text: str) -> list[Finding]:
    """Look again and again until a finding says something: rights take a moment to reach the broker."""
    found: list[Finding] = []

    def says() -> bool:
        found[:] = asyncio.run(look())
        return text in words(found)

    harness.wait_for(says, f"{text!r}; found: {found}")
    return found


def test_rights_taken_away(guarded: Settings) -> None:
    """What a worker needs and may not do is named, with the command that grants it."""
    harness.make_topics(guarded)
    assert [f.severity for f in asyncio.run(check_rights(guarded))] == ["ok"]
    see = (AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    _allow_only(guarded, ResourceType.TOPIC, guarded.topic_recommendations, *see)
    found = _until(lambda: check_rights(guarded), "no right to write topic")
    assert f"--operation Write --topic {guarded.topic_recommendations}" in words(found)
    _allow_only(guarded, ResourceType.TOPIC, guarded.topic_user_state)
    _until(lambda: check_rights(guarded), f"topic {guarded.topic_user_state} may not even be described")
    assert guarded.topic_user_state not in words(asyncio.run(check_configuration(guarded)))
    _allow_only(guarded, ResourceType.GROUP, f"{guarded.app_id}.item", AclOperation.DESCRIBE)
    found = _until(lambda: check_rights(guarded), f"no right to read group {guarded.app_id}.item")
    assert f"--operation Read --group {guarded.app_id}.item" in words(found)
    assert f"group {guarded.app_id}.user" not in words(found)
    _allow_only(guarded, ResourceType.GROUP, f"{guarded.app_id}.catalog-rejects", AclOperation.DESCRIBE)
    found = _until(lambda: check_rights(guarded), f"no right to read group {guarded.app_id}.catalog-rejects")
    assert f"--operation Read --group {guarded.app_id}.catalog-rejects" in words(found)


def test_transactions_refused(guarded: Settings) -> None:
    """A timeout that the broker does not allow, and a transactional id that it refuses, are told apart."""
    assert [f.severity for f in asyncio.run(check_transactions(guarded))] == ["ok"]
    longer = guarded.model_copy(update={"transaction_timeout_ms": 5_001})
    (found,) = asyncio.run(check_transactions(longer))
    assert found.severity == "error"
    assert "CROSSAISLE_TRANSACTION_TIMEOUT_MS" in found.remedy
    other = guarded.model_copy(update={"app_id": f"{guarded.app_id}-2"})
    _allow_only(other, ResourceType.TRANSACTIONAL_ID, f"{other.app_id}.doctor")
    refused = _until(lambda: check_transactions(other), "no right to transactional ids")
    assert "prefixed" in refused[0].remedy


def test_a_topic_of_the_probe_that_is_not_deleted_is_told(guarded: Settings) -> None:
    """Without the right the topic is named, with the command that grants it; it is not left behind in silence."""
    fresh = fresh_settings(guarded.bootstrap_servers, guarded.state_dir)
    other = fresh.model_copy(update={"transaction_timeout_ms": guarded.transaction_timeout_ms})
    topic = f"{other.app_id}.doctor"
    _allow_only(other, ResourceType.TOPIC, topic, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.CREATE)
    harness.make_topics(other)
    # Who may delete in the whole cluster needs no right to the topic.
    rest = (AclOperation.CREATE, AclOperation.DESCRIBE, AclOperation.ALTER, AclOperation.CLUSTER_ACTION)
    _allow_only(other, ResourceType.BROKER, "kafka-cluster", *rest)
    _allow_only(other, ResourceType.TOPIC, other.topic_recommendations, AclOperation.DESCRIBE)
    _until(lambda: check_rights(other), "no right to write topic")  # so the rights given before have reached the broker
    clock, left = asyncio.run(check_clock_by_probe(other))
    assert clock.severity in {"ok", "warning"}
    assert (left.severity, left.check) == ("warning", "clock")
    assert f"topic {topic} of the probe is left over: no right to delete it" in left.found
    assert f"--operation Delete --topic {topic}" in left.remedy


def test_each_way_of_not_deleting_has_a_remedy(app_settings: Settings) -> None:
    """A broker that deletes no topics, and one that refuses otherwise, are told apart; what went well is not told."""
    assert left_over(app_settings, "t", 0) == []
    assert "delete.topic.enable=true" in words(left_over(app_settings, "t", 73))
    assert "NotControllerError (code 41) | kafka-topics.sh --delete --topic t" in words(
        left_over(app_settings, "t", 41)
    )


def test_probe_that_may_not_make_its_topic(app_settings: Settings) -> None:
    """A probe whose topic is there already says so, and leaves that topic alone."""
    taken = app_settings.model_copy(update={"topic_events": f"{app_settings.app_id}.doctor"})
    harness.make_topics(taken)
    (found,) = asyncio.run(check_clock_by_probe(app_settings))
    assert found.severity == "error"
    assert "TopicAlreadyExists" in found.found
