"""B6: nothing is measured before every worker takes part."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import b6_workers
from benchmarks.workers import Process, admin_of
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings


def test_workers_that_do_not_join_end_the_benchmark(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time for it is up, the error tells how many there are, and where to look."""
    harness.make_topics(app_settings)
    app_settings.state_dir.mkdir()
    monkeypatch.setattr(b6_workers, "_JOIN_TIMEOUT_S", 0.0)
    process = Process(app_settings, [sys.executable, "-c", "import time; time.sleep(600)"], "idle")

    async def run() -> None:
        async with admin_of(app_settings) as admin:
            await b6_workers._joined([process], 1, admin, app_settings)

    try:
        with pytest.raises(SystemExit, match=r"of 1 workers 0 owned events and 0 items; see .*idle\.log"):
            asyncio.run(run())
    finally:
        process.kill()
