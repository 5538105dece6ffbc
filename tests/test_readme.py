"""The README's own examples, run as a newcomer would: produce, learn, consume."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stream_app.settings import with_settings_table
from tests.conftest import fresh_settings
from tests.stream_app import harness, shop
from tests.stream_app.shop import REAL_WORKER

if TYPE_CHECKING:
    import pytest

README = Path(__file__).parents[1] / "README.md"


def test_settings_table_is_current() -> None:
    """The table of settings is the generated one; `python -m stream_app.settings --write README.md` renews it."""
    text = README.read_text()
    assert with_settings_table(text) == text


def test_examples_work(bootstrap_servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The producer's events are learned by a worker, and the consumer prints a slate of another aisle."""
    monkeypatch.chdir(tmp_path)
    produce, consume = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    topics = {f"topic_{name}": name for name in ("events", "catalog", "recommendations", "rejects")}
    settings = fresh_settings(bootstrap_servers, tmp_path / "state").model_copy(update=topics)
    harness.make_topics(settings)
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        _run(produce, bootstrap_servers)
        shop.wait_learned(settings, 7, worker)
        printed = _run(consume, bootstrap_servers)
        assert worker.terminate() == 0
    first, *items = printed.splitlines()
    assert re.fullmatch(r"\w+ is in \[.*\]", first)
    assert items
    assert all(re.fullmatch(r"   \w+ shop / \w+ [\w:]+", line) for line in items)


def _run(code: str, bootstrap_servers: str) -> str:
    code = code.replace("127.0.0.1:9092", bootstrap_servers)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=shop.COMPILE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
