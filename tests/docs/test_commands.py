"""Every command line that the documentation shows is one that the command understands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from stream_app.cli.main import app
from tests.docs.pages import PAGES, inline_code, name_of, shell_lines

COMMAND: Any = typer.main.get_command(app)
USAGE_ERROR = typer.BadParameter.__mro__[1]
"""What a wrong option raises; typer does not export it."""


def parse(line: str, *, may_be_a_name: bool = False) -> None:
    """Take a command line apart as the command does, without running it; raise if it does not understand it."""
    words = shlex.split(line)
    assert words.pop(0) == "crossaisle"
    command, name = COMMAND, "crossaisle"
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"{line}: no such command"
        command, name = command.commands[words[0]], words.pop(0)
    if hasattr(command, "commands"):
        assert words in ([], ["--help"], ["--version"]), line
        return
    if may_be_a_name and not words:
        return
    command.make_context(name, [word for word in words if word != "--help"], resilient_parsing="--help" in words)


def parses(line: str, *, may_be_a_name: bool = False) -> bool:
    """Return whether :func:`parse` understands a command line."""
    try:
        parse(line, may_be_a_name=may_be_a_name)
    except (AssertionError, USAGE_ERROR):
        return False
    return True


def shown_in_blocks(page: Path) -> list[str]:
    """Return the lines of a page's shell blocks that begin with the command; an ellipsis stands for any value."""
    return _ours(shell_lines(page.read_text(encoding="utf-8")))


def shown_in_text(page: Path) -> list[str]:
    """Return the same of what stands between backticks."""
    return _ours(inline_code(page.read_text(encoding="utf-8")))


def _ours(lines: list[str]) -> list[str]:
    ours = [line for line in lines if line.split()[:1] == ["crossaisle"]]
    return [line.replace(" …", "").replace("…", "x") for line in ours]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documented_commands_parse(page: Path) -> None:
    """Commands, options and the types of their values are right on every page; text may name a command alone."""
    wrong = [line for line in shown_in_blocks(page) if not parses(line)]
    wrong += [line for line in shown_in_text(page) if not parses(line, may_be_a_name=True)]
    assert wrong == []


def test_wrong_lines_are_noticed() -> None:
    """A command, an option, a value or an argument that is wrong does not parse."""
    for line in (
        "crossaisle lags",
        "crossaisle lag --watchful",
        "crossaisle lag --max-lag many",
        "crossaisle produce",
        "crossaisle topics make",
    ):
        assert not parses(line), line


def test_every_command_is_shown_somewhere() -> None:
    """Each command stands in the README or in a how-to, not in the reference alone."""
    shown = " ".join(
        line
        for page in PAGES
        if page.parent.name != "reference"
        for line in [*shown_in_blocks(page), *shown_in_text(page)]
    )
    for name in COMMAND.commands:
        assert f"crossaisle {name}" in shown, name
