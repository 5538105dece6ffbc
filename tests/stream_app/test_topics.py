"""Topics on a real broker: made once, checked with remedies; and what Kafka clients share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from pydantic import SecretStr
from structlog.testing import capture_logs

from stream_app.kafka import client_options, fetch_topic_ids
from stream_app.probe import wait_for_broker
from stream_app.record_size import LARGE_TOPIC_BYTES, TOPIC_BYTES
from stream_app.settings import Settings
from stream_app.topics import Finding, check_topics, create_topics, topic_limits, topic_specs
from tests.conftest import free_port
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def _admin(settings: Settings, work: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await work(admin)
    finally:
        await admin.close()


async def test_create_is_idempotent(app_settings: Settings) -> None:
    """The first call makes every topic, the second none, and the check finds nothing."""
    made = await create_topics(app_settings, 3, 1)
    assert sorted(made) == sorted(spec.name for spec in topic_specs(app_settings))
    assert await create_topics(app_settings, 5, 1) == []
    assert await check_topics(app_settings) == []
    wrong = await check_topics(app_settings, 5)
    assert {finding.topic for finding in wrong} == {app_settings.topic_events, app_settings.topic_item_updates}


async def test_missing_topics_are_found(app_settings: Settings) -> None:
    """On an empty cluster each topic is missing, and the remedy is the command."""
    findings = await check_topics(app_settings)
    assert {f.topic for f in findings} == {spec.name for spec in topic_specs(app_settings)}
    assert all("crossaisle topics create" in f.remedy for f in findings)


async def test_wrong_settings_are_found(app_settings: Settings) -> None:
    """A partition count that differs, and a state topic that is not compacted, are named with what to do."""
    small = {"max.message.bytes": "1048588"}  # what other brokers take unless they are set otherwise
    wrong = [
        NewTopic(app_settings.topic_item_state, 4, 1, topic_configs=small),
        NewTopic(app_settings.topic_user_state, 4, 1),
    ]
    await _admin(app_settings, lambda admin: admin.create_topics(wrong))
    await create_topics(app_settings, 4, 1)
    grow = {app_settings.topic_user_state: NewPartitions(total_count=6)}
    await _admin(app_settings, lambda admin: admin.create_partitions(grow))
    found: dict[tuple[str, str], Finding] = {}

    async def shows_more() -> bool:
        found.update({(f.topic, f.problem.split(" ")[0]): f for f in await check_topics(app_settings)})
        return (app_settings.topic_user_state, "has") in found

    await harness.until(shows_more, "the broker to show the new partitions")
    assert (app_settings.topic_item_state, "cleanup.policy") in found
    assert "kafka-configs" in found[app_settings.topic_item_state, "cleanup.policy"].remedy
    assert (app_settings.topic_item_state, "max.message.bytes") in found
    assert "6 partitions" in found[app_settings.topic_user_state, "has"].problem


async def test_topics_that_others_read_take_what_is_sent(app_settings: Settings) -> None:
    """Slates and rejects may be as large as a topic is by default; one that takes less is found, with the remedy."""
    name = app_settings.topic_rejects
    await _admin(
        app_settings,
        lambda admin: admin.create_topics([NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "1000000"})]),
    )
    await create_topics(app_settings, 1, 1)
    (finding,) = await check_topics(app_settings)
    assert finding.topic == name
    assert finding.remedy.endswith(f"--topic {name} --add-config max.message.bytes={TOPIC_BYTES}")
    limits = topic_limits(app_settings)
    assert limits.keys() == {spec.name for spec in topic_specs(app_settings)}
    assert limits[name] == limits[app_settings.topic_recommendations] == TOPIC_BYTES
    assert limits[app_settings.topic_item_updates] == limits[app_settings.topic_user_state] == LARGE_TOPIC_BYTES


async def test_a_compacted_topic_that_is_deleted_too_is_found(app_settings: Settings) -> None:
    """Retention would drop what was not written anew for a while: state, the policy, the catalogue."""
    both = {"cleanup.policy": "compact,delete", "max.message.bytes": "4194304"}
    names = {
        app_settings.topic_catalog,
        app_settings.topic_user_state,
        app_settings.topic_policy_updates,
        app_settings.topic_policy_table,
    }
    wrong = [NewTopic(name, 1, 1, topic_configs=both) for name in names]
    await _admin(app_settings, lambda admin: admin.create_topics(wrong))
    await create_topics(app_settings, 1, 1)
    findings = await check_topics(app_settings)
    assert {f.topic for f in findings} == names
    for finding in findings:
        assert "compact,delete" in finding.problem
        assert finding.remedy.endswith("cleanup.policy=compact")


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_events_that_are_compacted_are_found(app_settings: Settings, policy: str) -> None:
    """Compaction drops events before a worker has read them: of events and of item updates it is an error."""
    names = [app_settings.topic_events, app_settings.topic_item_updates]
    config = {"cleanup.policy": policy, "max.message.bytes": "4194304"}
    wrong = [NewTopic(name, 1, 1, topic_configs=config) for name in names]
    await _admin(app_settings, lambda admin: admin.create_topics(wrong))
    await create_topics(app_settings, 1, 1)
    findings = await check_topics(app_settings)
    assert [f.topic for f in findings] == names
    for finding in findings:
        assert finding.problem.startswith(f"cleanup.policy is {policy}, wanted delete: compaction would drop")
        assert finding.remedy.endswith("--add-config cleanup.policy=delete")


async def test_a_recreated_topic_has_another_id(app_settings: Settings) -> None:
    """Ids stay over calls, change when a topic is made anew, and are None for a topic that is not there."""
    name = app_settings.topic_events
    await _admin(app_settings, lambda admin: admin.create_topics([NewTopic(name, 1, 1)]))
    first = (await fetch_topic_ids(app_settings, [name, "no-such-topic"]))[name]
    assert first is not None
    assert await fetch_topic_ids(app_settings, [name, "no-such-topic"]) == {name: first, "no-such-topic": None}
    await _admin(app_settings, lambda admin: admin.delete_topics([name]))

    async def is_there_anew() -> bool:
        await _admin(app_settings, lambda admin: admin.create_topics([NewTopic(name, 1, 1)]))
        return (await fetch_topic_ids(app_settings, [name]))[name] not in (None, first)

    await harness.until(is_there_anew, "the topic to be there under another id")


async def test_waiting_says_so(bootstrap_servers: str) -> None:
    """While no broker answers, a log line names the remedy; a broker that answers ends the wait."""
    log = structlog.get_logger()
    away = Settings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with capture_logs() as logs:
        waiting = asyncio.create_task(wait_for_broker(away, log))
        await harness.until(lambda: bool(logs), "a log line")
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert logs[0]["event"] == "broker_unreachable"
    assert "CROSSAISLE_BOOTSTRAP_SERVERS" in logs[0]["remedy"]
    await asyncio.wait_for(wait_for_broker(Settings(bootstrap_servers=bootstrap_servers), log), 30)


def test_client_options_for_each_protocol() -> None:
    """Plain needs an address only; SASL brings user and password; TLS a context."""
    plain = client_options(Settings())
    assert plain == {"bootstrap_servers": "127.0.0.1:9092", "security_protocol": "PLAINTEXT"}
    secure = client_options(
        Settings(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="u",
            sasl_password=SecretStr("p"),
        )
    )
    assert (secure["sasl_plain_username"], secure["sasl_plain_password"]) == ("u", "p")
    assert secure["sasl_mechanism"] == "SCRAM-SHA-512"
    assert secure["ssl_context"].check_hostname
