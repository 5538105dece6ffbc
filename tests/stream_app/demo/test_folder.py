"""The folder of a demo run is empty at the start, and one demo's at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
