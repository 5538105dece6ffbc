"""``crossaisle lag``: shows how far the stages are behind."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from stream_app.lag import PartitionLag
    from stream_app.settings import Settings


def lag(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Measure again and again until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per stage and partition.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two measurements of --watch.")] = 1.0,
    max_lag: Annotated[int | None, typer.Option(min=0, help="Exit 1 if a partition is further behind.")] = None,
) -> None:
    """Show per stage and partition the end, the committed offset, and the lag in events and in seconds.

    Asks the broker only, so it is right when no worker runs, too.
    """
    import asyncio

    from rich.console import Console

    from stream_app.cli import CommandError
    from stream_app.lag import LagError, measure_lag
    from stream_app.settings import Settings

    if watch and max_lag is not None:
        message = "--max-lag checks once, --watch never ends: give one of the two"
        raise CommandError(message)
    settings = Settings()
    try:
        if watch:
            asyncio.run(_watch(settings, interval_s=interval, as_json=json))
            return
        lags = asyncio.run(measure_lag(settings))
    except LagError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        return
    if json:
        _print_json(lags)
    else:
        Console().print(render(lags))
    behind = [found for found in lags if max_lag is not None and (found.lag_events > max_lag or found.problem)]
    if behind:
        worst = max(behind, key=lambda found: found.lag_events)
        what = worst.problem or f"{worst.lag_events:,} events behind, more than --max-lag {max_lag:,}"
        message = f"{worst.stage} stage, partition {worst.partition}: {what}"
        raise CommandError(message)


async def _watch(settings: "Settings", *, interval_s: float, as_json: bool) -> None:
    """Measure until cancelled; a broker that goes away is waited for."""
    import asyncio

    from rich.console import Console
    from rich.live import Live

    from stream_app.lag import LagError, LagMeter

    errors = Console(stderr=True)
    async with LagMeter(settings) as meter:
        with Live(console=errors if as_json else Console(), auto_refresh=False) as live:
            while True:
                try:
                    lags = await meter.measure()
                except LagError as error:
                    errors.print(f"{error}; trying again", style="yellow")
                else:
                    if as_json:
                        _print_json(lags)
                    else:
                        live.update(render(lags), refresh=True)
                await asyncio.sleep(interval_s)


def _print_json(lags: "Sequence[PartitionLag]") -> None:
    import msgspec

    typer.echo("\n".join(msgspec.json.encode(found).decode() for found in lags))


def render(lags: "Sequence[PartitionLag]") -> "Table":
    """Draw the lags as a table, with problems below it."""
    from rich import box
    from rich.table import Table

    problems = "\n".join(
        f"{found.stage} stage, partition {found.partition}: {found.problem}" for found in lags if found.problem
    )
    table = Table(box=box.SIMPLE_HEAD, caption=problems or None, caption_style="red", caption_justify="left")
    table.add_column("stage")
    for name in ("partition", "end", "committed", "lag", "lag, s"):
        table.add_column(name, justify="right")
    for found in lags:
        style = "red" if found.problem else None if found.lag_events else "green"
        table.add_row(
            found.stage,
            str(found.partition),
            f"{found.end:,}",
            "-" if found.committed is None else f"{found.committed:,}",
            f"{found.lag_events:,}",
            "?" if found.lag_s is None else f"{found.lag_s:.1f}",
            style=style,
        )
    return table
