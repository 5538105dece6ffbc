"""The tutorial, run from its first command to its last, on a real broker."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.docs.pages import DOCS, shell_lines
from tests.stream_app import harness, shop

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.settings import Settings

INSTALLING = ("python3 -m venv", ". .venv", "pip install")
N_EVENTS = 5_000


def test_every_command_works(app_settings: Settings, tmp_path: Path) -> None:
    """Each line exits 0 in its order; all events are learned; slates come out; household 900 is known."""
    lines = [line for line in shell_lines((DOCS / "tutorial.md").read_text()) if not line.startswith(INSTALLING)]
    assert lines[0] == "crossaisle broker"  # runs already, at the tests' own port
    worker_at = lines.index("crossaisle worker")
    env = harness.environment(app_settings)
    printed = {}

    def run(line: str) -> None:
        command = [sys.executable, "-m", "stream_app.cli.main", *shlex.split(line)[1:]]
        done = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=shop.COMPILE_S, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        printed[line] = done.stdout

    for line in lines[1:worker_at]:
        run(line)
    assert "all is well" in printed["crossaisle doctor"]
    with harness.Worker(app_settings, tmp_path / "log", shop.REAL_WORKER) as worker:
        shop.wait_ready(worker)
        for line in lines[worker_at + 1 :]:
            if line.startswith("crossaisle inspect"):
                shop.wait_learned(app_settings, N_EVENTS, worker)
            run(line)
        assert worker.terminate() == 0
    (slate,) = printed["crossaisle watch --from-beginning --limit 1 --json"].splitlines()
    assert json.loads(slate)["items"]
    assert "900" in printed["crossaisle inspect user 900"]
    assert shop.totals(app_settings)["n_events"] == N_EVENTS
