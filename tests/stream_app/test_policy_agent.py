"""The policy agent is run anew should it fail, whatever fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from faust.exceptions import ImproperlyConfigured
from structlog.testing import capture_logs

from stream_app import policy_agent
from stream_app.kafka import client_options
from stream_app.policy_agent import AgentConfigurationError, PolicyAgent
from stream_app.policy_view import PolicyView
from stream_app.settings import Settings
from stream_app.topics import create_topics

if TYPE_CHECKING:
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
            for _ in range(3_000):
                if len(logs) >= 2 or service.crashed:
                    break
                await asyncio.sleep(0.01)
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


async def test_the_longest_session_starts_the_agent(app_settings: Settings) -> None:
    """A session of half an hour, the longest that is allowed, is longer than Faust lets a request take by default."""
    settings = app_settings.model_copy(update={"session_timeout_ms": 1_800_000})
    await create_topics(settings, 1, 1)
    service = PolicyAgent(settings, PolicyView(settings))
    n_members = 0
    with capture_logs() as logs:
        await service.start()
        try:
            for _ in range(600):
                n_members = await _n_members(settings)
                if n_members or service.crashed or "policy_agent_failed" in {log["event"] for log in logs}:
                    break
                await asyncio.sleep(0.1)
        finally:
            await service.stop()
    assert (n_members, service.crash_reason, [log["event"] for log in logs if log["log_level"] == "error"]) == (
        1,
        None,
        [],
    )


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
            for _ in range(300):
                if service.crashed:
                    break
                await asyncio.sleep(0.01)
        finally:
            await service.stop()
    assert isinstance(service.crash_reason, AgentConfigurationError)
    assert "broker_session_timeout" in str(service.crash_reason)
