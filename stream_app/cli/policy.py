"""``crossaisle policy``: shows what the arms earn, how they are shared out, and how the groups compare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console


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
    import asyncio
    from json import dumps

    from rich.console import Console

    from stream_app.cli import CommandError
    from stream_app.inspect import UnknownIdError
    from stream_app.policy_report import NoPolicyError, policy_rows, read_policy
    from stream_app.settings import Settings

    try:
        rows = policy_rows(asyncio.run(read_policy(Settings())), alpha)
    except (NoPolicyError, UnknownIdError) as error:
        raise CommandError(str(error)) from error
    if json:
        for row in rows:
            typer.echo(dumps(row))
        return
    _show(Console(), rows)


WIDE = 90
"""Columns from which on a mean and its interval stand in one line."""


def _interval(row: dict[str, Any], gap: str) -> str:
    interval = "interval not known" if row["low"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]"
    return f"{row['mean']:.4f}{gap}{interval}"


def _value(row: dict[str, Any]) -> str:
    interval = "" if row["low"] is None else f"  [{row['low']:.4f}, {row['high']:.4f}]"
    return f"{row['value']:.4f}{interval}"


def _show(console: "Console", rows: "Iterable[dict[str, Any]]") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    wide = console.width >= WIDE
    gap = "  " if wide else "\n"

    def table(title: str, *names: str) -> Table:
        lines = box.SIMPLE_HEAD if wide else None
        made = Table(title=title, box=lines, title_justify="left", title_style="bold", padding=(0, 1), pad_edge=wide)
        for name in names:
            made.add_column(name, overflow="fold", no_wrap=name == "reward of a slate")
        return made

    arms = table("Arms", "arm", "recent slates", "reward of a slate", "P(worse)", "share", "role")
    standing = table("If it filled all slates", "arm", "estimator", "slates", "worth", "reward of a slate", "warnings")
    groups = table("Groups", "group", "arm", "slates", "seen", "pending", "reward of a slate")
    for row in rows:
        match row["kind"]:
            case "arm":
                marks = ["baseline"] * row["baseline"] + ["held"] * row["held"]
                numbers = (f"{row['n']:,.1f}", _interval(row, gap), f"{row['p_worse']:.3f}", f"{row['share']:.1%}")
                arms.add_row(escape(row["arm"]), *numbers, ", ".join(marks))
            case "ope":
                size = (f"{row['n']:,}", f"{row['effective_n']:,.0f}")
                standing.add_row(escape(row["arm"]), row["estimator"], *size, _value(row), ", ".join(row["warnings"]))
            case "group" | "group_arm":
                counts = (f"{row['n']:,}", f"{row['n_seen']:,}", f"{row['n_pending']:,}")
                name = escape(row["group"]) if row["kind"] == "group" else ""
                earned = _interval(row, gap) if row["n"] else "not known yet"
                groups.add_row(name, escape(row.get("arm", "all")), *counts, earned)
            case "difference":
                groups.add_row(escape(row["of"]), "", "", "", "", _interval(row, gap))
            case _:
                console.print(f"Policy version {row['version']}, of {row['n_partitions']} partitions")
    console.print(arms)
    if standing.row_count:
        console.print(standing)
    console.print(groups)
