"""What is measured is the defaults, whatever the shell and a ``.env`` file say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.cluster import Cluster
from benchmarks.defaults import DefaultSettings
from benchmarks.offline import Offline
from benchmarks.workers import Process, environment
from stream_app.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.broker import EmbeddedBroker

_SHOW = "from stream_app.settings import Settings; s = Settings(); print(s.hot_rows, s.compute_threads, s.partitions)"


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Set what an operator may have set: two variables, one of them in small letters, and a ``.env`` file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSAISLE_HOT_ROWS", "1234")
    monkeypatch.setenv("crossaisle_partitions", "9")
    (tmp_path / ".env").write_text("CROSSAISLE_COMPUTE_THREADS=7\n")
    seen = Settings()
    assert (seen.hot_rows, seen.partitions, seen.compute_threads) == (1234, 9, 7)
    return tmp_path


@pytest.mark.usefixtures("surroundings")
def test_defaults_hang_on_nothing_but_what_is_said() -> None:
    """Every field that the caller does not name has its default."""
    settings = DefaultSettings(app_id="mine")
    assert settings.app_id == "mine"
    assert (settings.hot_rows, settings.partitions, settings.compute_threads) == (200_000, 4, 2)


async def test_scenarios_take_the_defaults(surroundings: Path, broker: EmbeddedBroker) -> None:
    """So have applications on a benchmark's broker, and both stages without Kafka."""
    world = Offline(surroundings / "offline")
    world.close()
    app = await Cluster(broker, surroundings, partitions=2).app("bench-defaults")
    assert world.settings == DefaultSettings()
    assert (app.hot_rows, app.compute_threads, app.partitions) == (200_000, 2, 2)


def test_processes_take_the_defaults(surroundings: Path) -> None:
    """A process of a benchmark has the settings it is given, and reads neither the shell's nor the folder's."""
    folder = surroundings / "state"
    folder.mkdir()
    settings = DefaultSettings(hot_rows=4321, state_dir=folder)
    names = {name for name in environment(settings) if name.upper().startswith("CROSSAISLE_")}
    assert "crossaisle_partitions" not in names
    process = Process(settings, [sys.executable, "-c", _SHOW], "shown")
    process.wait()
    assert process.log.read_text().split() == ["4321", "2", "4"]
