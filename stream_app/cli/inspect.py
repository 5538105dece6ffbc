"""``crossaisle inspect``: what the committed state holds of a user, an item, or in total."""

import asyncio
import json
from enum import StrEnum
from typing import Annotated, Any

import typer


class Subject(StrEnum):
    """What to look at."""

    USER = "user"
    ITEM = "item"
    TOTALS = "totals"


def inspect(
    subject: Annotated[Subject, typer.Argument(help="user ID, item ID, or totals")],
    identifier: Annotated[str | None, typer.Argument(metavar="[ID]", help="the user's or item's id")] = None,
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="print one JSON line")] = False,
) -> None:
    """Show committed state, read from the changelogs: right whether or not a worker runs."""
    from stream_app.cli import CommandError
    from stream_app.inspect import UnknownIdError, inspect_item, inspect_totals, inspect_user
    from stream_app.settings import Settings

    settings = Settings()
    if subject is not Subject.TOTALS and not identifier:
        msg = f"inspect {subject}: which one? Say: crossaisle inspect {subject} ID"
        raise CommandError(msg)
    try:
        if subject is Subject.USER:
            found = asyncio.run(inspect_user(settings, identifier or ""))
        elif subject is Subject.ITEM:
            found = asyncio.run(inspect_item(settings, identifier or ""))
        else:
            found = asyncio.run(inspect_totals(settings))
    except UnknownIdError as error:
        raise CommandError(str(error)) from error
    if json_lines:
        typer.echo(json.dumps(found))
    else:
        _render(found)


def _render(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    head = Table(show_header=False, box=None)
    for key, value in found.items():
        if not isinstance(value, list):
            head.add_row(
                f"[bold]{key}",
                ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value),
            )
    console.print(head)
    for key, rows in found.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            table = Table(*rows[0], title=key)
            for row in rows[:30]:
                table.add_row(*(str(value) for value in row.values()))
            console.print(table)
        elif isinstance(rows, list):
            console.print(f"[bold]{key}[/] {', '.join(str(r) for r in rows)}")
