"""The folder of a demo run is empty at the start, and one demo's at a time."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from stream_app.broker.files import DirectoryLock
from stream_app.demo.folder import FolderError, claim

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_starts_from_nothing(tmp_path: Path) -> None:
    """What an earlier run has left is gone, and what this run writes stays after it."""
    folder = tmp_path / "deep" / "demo"
    for name in ("first", "second"):
        with claim(folder):
            assert list(folder.iterdir()) == []
            (folder / name).write_text("kept")
    assert [path.name for path in folder.iterdir()] == ["second"]


def test_a_second_demo_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    """While a demo runs another one gets an error with a remedy, and the first one's files stay."""
    folder = tmp_path / "demo"
    with claim(folder):
        (folder / "mine").write_text("kept")
        with pytest.raises(FolderError, match="end it first"), claim(folder):
            pass
        assert (folder / "mine").exists()
    with claim(folder):
        assert not (folder / "mine").exists()


def test_a_broker_on_what_a_demo_has_left_is_not_robbed_of_it(tmp_path: Path) -> None:
    """While it runs a demo is refused with a remedy, its files stay, and another demo can start after it."""
    folder = tmp_path / "demo"
    with claim(folder):
        (folder / "broker").mkdir()
    broker = DirectoryLock(folder / "broker")
    assert broker.acquire()
    broker.describe("started by process 4711, at 127.0.0.1:9092")
    words = r"a broker runs in .* \(started by process 4711, .*: stop it first"
    with pytest.raises(FolderError, match=words), claim(folder):
        pass
    assert (folder / "broker").is_dir()
    broker.release()
    with claim(folder):
        (folder / "broker").mkdir()
        assert DirectoryLock(folder / "broker").acquire()


def test_only_what_the_folder_refuses_is_blamed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the run itself comes out as it is; one of making the folder names it, with a remedy."""
    problem = PermissionError(13, "Permission denied", "/elsewhere")
    with pytest.raises(PermissionError, match="/elsewhere"), claim(tmp_path / "demo"):
        raise problem

    def refuse(_folder: Path) -> None:
        raise problem

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(FolderError, match="give yourself write access"), claim(tmp_path / "demo"):
        pass
