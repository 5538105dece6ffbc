"""The policy agent is run anew should it fail, whatever fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from stream_app import policy_agent
from stream_app.policy_agent import PolicyAgent
from stream_app.policy_view import PolicyView
from stream_app.settings import Settings

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
