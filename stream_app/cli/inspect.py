"""``crossaisle inspect``: what the committed state holds of a user, an item, or in total."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MOST_ROWS = 30
"""Rows of a table that are shown at most."""

_ID_HELP = "the user's or item's id; put -- before one that begins with two dashes"
_JSON_ONLY = ("first_ms",)


class Subject(StrEnum):
    """What to look at."""

    USER = "user"
    ITEM = "item"
    TOTALS = "totals"


class InspectCommand(TyperCommand):
    """Takes ids that begin with a dash, such as -5: the command has no options of one dash and a letter."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put such ids behind ``--``, unless somebody has."""
        ids = [word for word in args if len(word) > 1 and word[0] == "-" != word[1]]
        if ids and "--" not in args:
            args = [*(word for word in args if word not in ids), "--", *ids]
        return super().parse_args(ctx, args)


def inspect(
    subject: Annotated[Subject, typer.Argument(help="user ID, item ID, or totals")],
    identifier: Annotated[str | None, typer.Argument(metavar="[ID]", help=_ID_HELP)] = None,
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="print one JSON line")] = False,
) -> None:
    """Show committed state, read from the changelogs: right whether or not a worker runs.

    The popularity of an item is as of the newest event of all items: events of 3, 14 and 90 days ago count half.
    """
    from stream_app.cli import CommandError
    from stream_app.cli.terminal import check_text
    from stream_app.cli.waiting import run_telling
    from stream_app.inspect import OtherFormatError, UnknownIdError, inspect_item, inspect_totals, inspect_user
    from stream_app.settings import Settings

    check_text(identifier or "", "ID")
    if subject is Subject.TOTALS and identifier is not None:
        message = f"inspect totals takes no ID, got {identifier!r}; say: crossaisle inspect user ID, or item ID"
        raise CommandError(message)
    settings = Settings()
    if subject is not Subject.TOTALS and not identifier:
        message = f"inspect {subject}: which one? Say: crossaisle inspect {subject} ID"
        raise CommandError(message)
    try:
        if subject is Subject.USER:
            found = run_telling(settings, inspect_user(settings, identifier or ""))
        elif subject is Subject.ITEM:
            found = run_telling(settings, inspect_item(settings, identifier or ""))
        else:
            found = run_telling(settings, inspect_totals(settings))
    except (UnknownIdError, OtherFormatError) as error:
        raise CommandError(str(error)) from error
    if json_lines:
        typer.echo(json.dumps(found))
    else:
        _render(found)


def _render(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    for part in draw(found):
        console.print(part)


def draw(found: dict[str, Any]) -> "list[RenderableType]":
    """Return what was found as tables: the single facts first, then one table per list, the first rows of each."""
    from rich.table import Table
    from rich.text import Text

    from stream_app.cli.terminal import printable

    head = Table(show_header=False, box=None)
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    parts: list[RenderableType] = [head]
    for name, value in found.items():
        if not isinstance(value, list):
            head.add_row(*(Text(printable(words)) for words in _words(name, value)))
        elif value and isinstance(value[0], dict):
            parts.append(_table(name, value))
        else:
            head.add_row(name, Text(printable(", ".join(map(str, value))) or "none"))
    return parts


def _table(name: str, rows: list[dict[str, Any]]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from stream_app.cli.terminal import printable

    table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    told = [column for column in rows[0] if any(row[column] is not False for row in rows)]
    columns = [column for column in told if column not in _JSON_ONLY]
    cells = [[_words(column, row[column])[1] for column in columns] for row in rows[:MOST_ROWS]]
    for column in columns:
        is_text = isinstance(rows[0][column], str | list | None)
        # Numbers and dates stay whole; where the terminal is narrow, texts break.
        table.add_column(_heading(column), justify="left" if is_text else "right", no_wrap=not is_text)
    for row in cells:
        table.add_row(
            *(Text(printable(cell)) for cell in row)
        )  # not markup: titles come from others and may hold brackets
    if len(rows) > MOST_ROWS:
        table.caption = f"and {len(rows) - MOST_ROWS:,} more: --json has all of them"
    return table


def _heading(name: str) -> str:
    return name.removesuffix("_ms").removeprefix("decayed_").replace("_", " ")


def _words(name: str, value: Any) -> tuple[str, str]:
    """Return name and value of a fact for people: times as dates in UTC, paths joined, yes for true."""
    from datetime import UTC, datetime

    if isinstance(value, dict):
        return name, ", ".join(f"{key} {_words(key, inner)[1]}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return name, " / ".join(map(str, value))
    if isinstance(value, bool):
        return name, "yes" if value else ""
    if value is None:
        return name, ""
    if name.endswith("_ms"):
        return _heading(name), f"{datetime.fromtimestamp(value / 1_000, tz=UTC):%Y-%m-%d}"
    return name, f"{value:,}" if isinstance(value, int) else str(value)
