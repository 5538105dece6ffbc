"""``crossaisle policy``: shows what the arms earn, how they are shared out, and how the groups compare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType


def policy(
    *,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Probability that an interval of the groups is ever wrong.")
    ] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per row.")] = False,
) -> None:
    """Show every arm (slates, reward, probability to be worse than the baseline, share) and every group.

    Arms: posterior means with 95 % intervals, recent slates weighing more. If it filled all slates: off-policy
    estimates of each arm with 95 % intervals, as of crossaisle ope --topics, all slates weighing the same. Groups:
    plain means of the slates that can earn nothing more, with confidence sequences: intervals that hold however often
    one looks at them.
    """
    from json import dumps

    from rich.console import Console

    from stream_app.cli import CommandError
    from stream_app.cli.waiting import run_telling
    from stream_app.inspect import UnknownIdError
    from stream_app.policy_report import NoPolicyError, policy_rows, read_policy
    from stream_app.settings import Settings

    settings = Settings()
    try:
        rows = policy_rows(run_telling(settings, read_policy(settings)), alpha)
    except (NoPolicyError, UnknownIdError) as error:
        raise CommandError(str(error)) from error
    if json:
        for row in rows:
            typer.echo(dumps(row))
        return
    _show(Console(), rows)


WIDE = 90
"""Columns from which on a mean and its interval stand in one line."""

NARROW = 80
"""Columns below which every value has a line of its own: the columns of a table would be narrower than their words."""

_REWARD = "reward of a slate"


def _interval(row: dict[str, Any], gap: str) -> str:
    interval = "interval not known" if row["low"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]"
    return f"{row['mean']:.4f}{gap}{interval}"


def _value(row: dict[str, Any], gap: str) -> str:
    interval = "" if row["low"] is None else f"{gap}[{row['low']:.4f}, {row['high']:.4f}]"
    return f"{row['value']:.4f}{interval}"


def _show(console: "Console", rows: "Iterable[dict[str, Any]]") -> None:
    gap = "  " if console.width >= WIDE else "\n"
    arms = _Part("Arms", "arm", "recent slates", _REWARD, "P(worse)", "share", "role")
    standing = _Part("If it filled all slates", "arm", "estimator", "slates", "worth", _REWARD, "warnings")
    groups = _Part("Groups", "group", "arm", "slates", "seen", "pending", _REWARD)
    for row in rows:
        match row["kind"]:
            case "arm":
                marks = ["baseline"] * row["baseline"] + ["held"] * row["held"]
                numbers = (f"{row['n']:,.1f}", _interval(row, gap), f"{row['p_worse']:.3f}", f"{row['share']:.1%}")
                arms.add(row["arm"], *numbers, ", ".join(marks))
            case "ope":
                size = (f"{row['n']:,}", f"{row['effective_n']:,.0f}")
                standing.add(row["arm"], row["estimator"], *size, _value(row, gap), ", ".join(row["warnings"]))
            case "group" | "group_arm":
                counts = (f"{row['n']:,}", f"{row['n_seen']:,}", f"{row['n_pending']:,}")
                earned = _interval(row, gap) if row["n"] else "not known yet"
                groups.add(row["group"] if row["kind"] == "group" else "", row.get("arm", "all"), *counts, earned)
            case "difference":
                groups.add(row["of"], "", "", "", "", _interval(row, gap))
            case _:
                console.print(f"Policy version {row['version']}, of {row['n_partitions']} partitions")
    for part in (arms, standing, groups):
        if part.rows or part is not standing:
            console.print(part.table(console.width) if console.width >= NARROW else part.blocks())


class _Part:
    """One of the tables: its columns and rows, as texts.

    Parameters
    ----------
    title
        Stands above it.
    names
        Heads of the columns.
    """

    def __init__(self, title: str, *names: str) -> None:
        self.title = title
        self.names = names
        self.rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """Take a row, whatever is in it: names are from others."""
        from stream_app.cli.terminal import printable

        self.rows.append(tuple("\n".join(map(printable, cell.split("\n"))) for cell in cells))

    def table(self, width: int) -> "RenderableType":
        """Draw a line for each row."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        wide = width >= WIDE
        lines = box.SIMPLE_HEAD if wide else None
        made = Table(title=self.title, box=lines, title_justify="left", title_style="bold", pad_edge=wide)
        for name in self.names:
            made.add_column(name, overflow="fold", no_wrap=name == _REWARD)
        for row in self.rows:
            made.add_row(*map(Text, row))
        return made

    def blocks(self) -> "RenderableType":
        """Draw a line for each cell that is not empty, and an empty line after each row.

        An empty first cell stands for that of the row above.
        """
        from rich.table import Table
        from rich.text import Text

        made = Table(title=self.title, box=None, title_justify="left", title_style="bold", show_header=False)
        made.add_column(style="dim", no_wrap=True)
        made.add_column(overflow="fold")
        first = ""
        for row in self.rows:
            first = row[0] or first
            for name, cell in zip(self.names, (first, *row[1:]), strict=True):
                if cell:
                    made.add_row(name, Text(cell))
            made.add_row("", "")
        return made
