"""The README's own examples, run as a newcomer would: produce, learn, consume."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stream_app.settings_table import with_settings_table
from tests.conftest import fresh_settings
from tests.stream_app import harness, shop
from tests.stream_app.shop import REAL_WORKER

if TYPE_CHECKING:
    import pytest

    from stream_app.settings import Settings

README = Path(__file__).parents[1] / "README.md"


def test_settings_table_is_current() -> None:
    """The table of settings is the generated one; `python -m stream_app.settings_table --write README.md` renews it."""
    text = README.read_text()
    assert with_settings_table(text) == text


def test_examples_work(bootstrap_servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a newcomer would: catalogue and events in, slates of other aisles out, lag watched, a user looked at."""
    monkeypatch.chdir(tmp_path)
    text = README.read_text()
    produce, consume = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (fill,) = [block for block in blocks if block.startswith("cat > catalog.jsonl")]
    (look,) = [block for block in blocks if block.startswith("crossaisle lag")]
    topics = {f"topic_{name}": name for name in ("events", "catalog", "recommendations", "rejects")}
    settings = fresh_settings(bootstrap_servers, tmp_path / "state").model_copy(update=topics)
    harness.make_topics(settings)
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        _run_shell(fill, settings)
        _run(produce, bootstrap_servers)
        shop.wait_learned(settings, 7, worker)
        printed = _first_lines(consume, 2, tmp_path, bootstrap_servers)
        shown = _run_shell(look, settings)
        status, slate = worker.get("/recommendations/ann")
        assert worker.terminate() == 0
    assert re.fullmatch(r"\w+ is in \['shop / \w+'.*\]", printed[0])
    assert re.fullmatch(r"   show \['\w+'.*\]", printed[1])
    assert "user" in shown
    assert "milk" in shown
    assert (status, slate["user_id"]) == (200, "ann")


def test_producer_and_consumer_are_short() -> None:
    """Ten lines each, besides blank ones and imports."""
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        lines = [line for line in block.splitlines() if line and not line.startswith(("import", "from"))]
        assert len(lines) <= 10


def _run(code: str, bootstrap_servers: str) -> None:
    code = code.replace("127.0.0.1:9092", bootstrap_servers)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=shop.COMPILE_S, check=False
    )
    assert done.returncode == 0, done.stderr


def _run_shell(block: str, settings: Settings) -> str:
    """Run a block of the shell with the command of this environment, and return what it prints."""
    env = harness.environment(settings)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", block], capture_output=True, text=True, env=env, timeout=shop.COMPILE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _first_lines(code: str, n: int, home: Path, bootstrap_servers: str) -> list[str]:
    """Run code that never ends until it has printed ``n`` lines, and return them."""
    out = home / "printed"
    with out.open("w") as file:
        code = code.replace("127.0.0.1:9092", bootstrap_servers)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=file)
        try:
            harness.wait_for(lambda: len(out.read_text().splitlines()) >= n, f"{n} lines of the consumer")
        finally:
            process.kill()
            process.wait()
    return out.read_text().splitlines()
