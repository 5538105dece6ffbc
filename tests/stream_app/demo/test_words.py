"""How the demo calls its own command in what it proposes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.demo.words import command_name


def make_program(folder: Path) -> Path:
    """Make an executable file named crossaisle."""
    folder.mkdir(parents=True)
    program = folder / "crossaisle"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_on_the_path_its_name_is_enough(tmp_path: Path) -> None:
    """A program that the shell finds is called by its name, through links, too."""
    program = make_program(tmp_path / "bin")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "crossaisle").symlink_to(program)
    assert command_name(str(program), str(tmp_path / "bin")) == "crossaisle"
    assert command_name(str(program), str(tmp_path / "links")) == "crossaisle"


def test_off_the_path_it_is_called_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer's shell does not know the virtual environment of `make demo`: the proposals name the file."""
    program = make_program(tmp_path / "clone" / ".venv" / "bin")
    other = make_program(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "clone")
    assert command_name(".venv/bin/crossaisle", str(tmp_path / "nowhere")) == ".venv/bin/crossaisle"
    assert command_name(str(program), str(other.parent)) == ".venv/bin/crossaisle"
    monkeypatch.chdir(tmp_path)
    assert command_name(str(program), str(tmp_path / "nowhere")) == "clone/.venv/bin/crossaisle"
    monkeypatch.chdir(other.parent)
    assert command_name(str(program), str(tmp_path / "nowhere")) == str(program)


def test_a_program_that_is_no_file_keeps_the_name(tmp_path: Path) -> None:
    """Started as a module, the command's usual name is what can be said."""
    assert command_name("-m", str(tmp_path)) == "crossaisle"
    assert command_name(__file__, str(tmp_path)) == "crossaisle"
