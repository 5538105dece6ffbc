"""``crossaisle watch``: shows slates as they come."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stream_app.settings import Settings
    from stream_app.watch import WatchedSlate


WIDE = 80
"""Columns from which on the whole path of a category is shown."""


def watch(
    user: Annotated[str | None, typer.Option(help="Show this user's slates only.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Exit after so many slates.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print each slate as one line of JSON, with titles.")] = False,
    from_beginning: Annotated[bool, typer.Option(help="Start with the oldest slate there is.")] = False,
) -> None:
    """Show slates as they are published: the items, their categories, and why each is there. Ctrl-C ends it."""
    import asyncio

    from stream_app.cli import CommandError
    from stream_app.cli.terminal import check_text, drop_stdout
    from stream_app.settings import Settings
    from stream_app.watch import WatchError

    check_text(user or "", "--user")
    try:
        asyncio.run(_follow(Settings(), user=user, limit=limit, as_json=json, from_beginning=from_beginning))
    except WatchError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        drop_stdout()


async def _follow(
    settings: "Settings", *, user: str | None, limit: int | None, as_json: bool, from_beginning: bool
) -> None:
    from rich.console import Console

    from stream_app.cli.terminal import printable
    from stream_app.cli.waiting import say
    from stream_app.silence import silence_told
    from stream_app.watch import SlateWatcher

    console = Console()
    n_shown = 0
    watching = SlateWatcher(settings, user=user, from_beginning=from_beginning)
    async with silence_told(settings, say), watching as watcher:
        whose = "all users" if user is None else f"user {printable(user)}"
        words = f"watching slates of {whose} in topic {settings.topic_recommendations}"
        Console(stderr=True).print(words, style="dim", markup=False, highlight=False, soft_wrap=True)
        async for watched in watcher.slates():
            if as_json:
                typer.echo(watched.to_json().decode())
            else:
                console.print(render(watched, console.width))
            n_shown += 1
            if n_shown == limit:
                return


def render(watched: "WatchedSlate", width: int = WIDE) -> "RenderableType":
    """Draw one slate: a line on the user and the context, and a line per item.

    Parameters
    ----------
    width
        Columns of the terminal; in a narrow one a category is the last level of its path.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from stream_app.cli.terminal import local_time, printable
    from stream_app.watch import explain

    slate = watched.slate
    at = local_time(slate.emitted_at_ms)
    head = Text.assemble(("user ", "dim"), (printable(slate.user_id), "bold cyan"), (f"  {at}  now in: ", "dim"))
    head.append(printable(", ".join(slate.context_categories)) or "no category yet", style="yellow")
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False, expand=width < WIDE)
    table.add_column(justify="right", style="dim")
    table.add_column(style="bold", ratio=3, overflow="ellipsis", no_wrap=True)
    table.add_column(style="green", ratio=2, overflow="ellipsis", no_wrap=True)
    table.add_column(style="dim", ratio=3, overflow="ellipsis", no_wrap=True)
    for position, item in enumerate(slate.items):
        title = watched.titles.get(item.item_id, f"item {item.item_id}")
        # Text, not markup: titles come from others and may hold brackets.
        category = item.category if width >= WIDE else item.category.rpartition(" / ")[2]
        cells = (str(position), title, category, explain(item.reason, watched.titles))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return Group(head, table, "")
