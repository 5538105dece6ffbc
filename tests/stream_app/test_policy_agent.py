"""The policy agent is run anew should it fail, whatever fails."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from faust.exceptions import ImproperlyConfigured
from structlog.testing import capture_logs

from stream_app import policy_agent
from stream_app.kafka import client_options
from stream_app.policy_agent import AgentConfigurationError, PolicyAgent
from stream_app.policy_view import PolicyView
from stream_app.records.policy import POLICY_FORMAT_VERSION, decode_policy_state, decode_statistics
from stream_app.settings import Settings
from stream_app.topics import create_topics
from tests.stream_app import harness
from tests.stream_app.harness import unretrieved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


async def test_a_folder_that_cannot_be_made_does_not_stop_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or a file in its way is logged, and tried again later: slates go on under the policy that holds."""
    settings = Settings(state_dir=tmp_path)
    (tmp_path / settings.app_id).write_text("in its way")
    monkeypatch.setattr(policy_agent, "_RESTART_S", 0.01)
    service = PolicyAgent(settings, PolicyView(settings))
    with capture_logs() as logs:
        await service.start()
        try:
            await harness.until(lambda: len(logs) >= 2 or service.crashed, "the agent to fail twice")
            assert not service.crashed
        finally:
            await service.stop()
    assert [log["event"] for log in logs[:2]] == ["policy_agent_failed"] * 2
    assert "NotADirectoryError" in logs[0]["error"]


async def _n_members(settings: Settings) -> int:
    """Return how many members the agent's group has; 0 while the broker has no coordinator for it."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([f"{settings.app_id}.policy"])
        return len(dict(zip(answer.SCHEMA.fields[-1].array_of.names, answer.groups[0], strict=True))["members"])
    except KafkaError:
        return 0
    finally:
        await admin.close()


def _errors(logs: list[Any]) -> list[str]:
    return [log["event"] for log in logs if log["log_level"] == "error"]


def statistics(partition: int, **fields: Any) -> bytes:
    """Return the statistics of a partition without slates."""
    plain = {
        "format_version": POLICY_FORMAT_VERSION,
        "partition": partition,
        "as_of_s": 1,
        "half_life_days": 30.0,
        "window_s": 86_400,
        "reward_cap": 3.0,
        "period": 0,
        "arms": {},
    }
    return json.dumps({**plain, **fields}).encode()


async def test_a_restored_value_of_another_format_is_left_out(app_settings: Settings) -> None:
    """The policy goes on with the other partitions, and the log says so once, until that partition writes again."""
    settings = app_settings.model_copy(update={"policy_publish_ms": 50})
    await create_topics(settings, 1, 1)
    old = statistics(1, format_version=POLICY_FORMAT_VERSION + 1)
    service = PolicyAgent(settings, PolicyView(settings))

    async def send(topic: str, *raws: bytes) -> None:
        records = [(b"%d" % decode_statistics(raw).partition, raw) for raw in raws]
        await asyncio.to_thread(harness.send, settings, records, topic=topic)

    def published() -> list[int]:
        records = harness.read_committed(settings, settings.topic_policy_state)
        return [decode_policy_state(record.value).n_partitions for record in records]

    async def until(condition: Callable[[list[int]], bool], what: str) -> None:
        await asyncio.to_thread(harness.wait_for, lambda: bool(_errors(logs)) or condition(published()), what)
        assert _errors(logs) == []

    await send(settings.topic_policy_table, old)
    with capture_logs() as logs:
        await service.start()
        try:
            for n in (1, 2):
                await send(settings.topic_policy_updates, statistics(0))
                await until(lambda counts, n=n: len(counts) >= n, f"{n} versions of the policy")
            await send(settings.topic_policy_updates, statistics(1))
            await until(lambda counts: counts[-1] == 2, "a policy of both partitions")
        finally:
            await service.stop()
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["policy_statistics_left_out"]


async def test_an_application_that_fails_as_it_stops_is_no_error_of_its_own(tmp_path: Path) -> None:
    """Neither at once nor after the agent has stopped waiting for it: nothing is left for the event loop to tell."""
    settings = Settings(state_dir=tmp_path)
    service = PolicyAgent(settings, PolicyView(settings))
    async with unretrieved() as told:
        await service._stop_app(FailingApp())  # type: ignore[arg-type]  # a fake
    assert told == []


class FailingApp:
    """Cannot be stopped."""

    async def stop(self) -> None:
        """Fail."""
        message = "the broker is away"
        raise KafkaError(message)


async def test_the_longest_session_starts_the_agent(app_settings: Settings) -> None:
    """A session of half an hour, the longest that is allowed, is longer than Faust lets a request take by default."""
    settings = app_settings.model_copy(update={"session_timeout_ms": 1_800_000})
    await create_topics(settings, 1, 1)
    service = PolicyAgent(settings, PolicyView(settings))

    async def has_begun() -> bool:
        assert (service.crash_reason, _errors(logs)) == (None, [])
        return await _n_members(settings) == 1

    with capture_logs() as logs:
        await service.start()
        try:
            await harness.until(has_begun, "the agent to join its group")
        finally:
            await service.stop()
    assert (service.crash_reason, _errors(logs)) == (None, [])


async def test_a_configuration_that_faust_refuses_stops_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no retry can mend is not retried: the service crashes with a message that says what is wrong."""

    def refused(*_: object) -> None:
        message = "Setting broker_session_timeout=100.0 is refused"
        raise ImproperlyConfigured(message)

    monkeypatch.setattr(policy_agent, "policy_app", refused)
    settings = Settings(state_dir=tmp_path)
    service = PolicyAgent(settings, PolicyView(settings))
    with capture_logs():
        await service.start()
        try:
            await harness.until(lambda: service.crashed, "the service to crash")
        finally:
            await service.stop()
    assert isinstance(service.crash_reason, AgentConfigurationError)
    assert "broker_session_timeout" in str(service.crash_reason)
