"""``crossaisle lag``: shows how far the stages are behind."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from stream_app.lag import LagMeter
    from stream_app.lag_workers import WorkerLag
    from stream_app.partition_lag import PartitionLag
    from stream_app.settings import Settings

    Show = Callable[[Sequence[PartitionLag], Sequence[WorkerLag]], None]


def lag(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Measure again and again until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per stage and partition.")] = False,
    workers: Annotated[
        bool, typer.Option("--workers", help="With --json: one more line per worker, with its item replica.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two measurements of --watch.")] = 1.0,
    max_lag: Annotated[int | None, typer.Option(min=0, help="Exit 1 if a partition is further behind.")] = None,
) -> None:
    """Show per stage and partition the end, the committed offset, and the lag in events and in seconds.

    Lag is counted at the broker, so it is right when no worker runs, too. Workers are asked for their positions, for
    how old their item replicas are, and for restores that go on.
    """
    import asyncio

    from rich.console import Console

    from stream_app.cli import CommandError
    from stream_app.cli.lag_view import render
    from stream_app.cli.terminal import drop_stdout
    from stream_app.cli.waiting import run_telling
    from stream_app.lag import LagError
    from stream_app.settings import Settings

    if watch and max_lag is not None:
        message = "--max-lag checks once, --watch never ends: give one of the two"
        raise CommandError(message)
    settings = Settings()
    try:
        if watch:
            asyncio.run(_watch(settings, interval_s=interval, as_json=json, with_workers=workers))
            return
        lags, found = run_telling(settings, _measure_once(settings))
    except LagError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        drop_stdout()
        return
    if json:
        _print_json(lags, found if workers else ())
    else:
        console = Console()
        console.print(render(lags, found, width=console.width))
    _check(lags, max_lag)


def _check(lags: "Sequence[PartitionLag]", max_lag: int | None) -> None:
    from stream_app.cli import CommandError
    from stream_app.cli.terminal import counted

    behind = [found for found in lags if max_lag is not None and (found.lag_events > max_lag or found.problem)]
    if behind:
        worst = max(behind, key=lambda found: found.lag_events)
        what = worst.problem or f"{counted(worst.lag_events, 'event')} behind, more than --max-lag {max_lag:,}"
        message = f"{worst.stage} stage, partition {worst.partition}: {what}"
        raise CommandError(message)


async def _measure_once(settings: "Settings") -> "tuple[list[PartitionLag], list[WorkerLag]]":
    from stream_app.lag import LagMeter

    async with LagMeter(settings) as meter:
        return await _measure(settings, meter)


async def _measure(settings: "Settings", meter: "LagMeter") -> "tuple[list[PartitionLag], list[WorkerLag]]":
    from stream_app.lag_workers import ask_workers, with_owners

    lags = await meter.measure()
    workers, positions = await ask_workers(settings, meter)
    return with_owners(lags, workers, positions), workers


async def _watch(settings: "Settings", *, interval_s: float, as_json: bool, with_workers: bool) -> None:
    """Measure until cancelled; a broker that goes away is waited for."""
    import asyncio
    from contextlib import ExitStack

    from aiokafka.errors import KafkaError
    from rich.console import Console
    from rich.text import Text

    from stream_app.lag import LagError, LagMeter

    errors = Console(stderr=True)
    async with LagMeter(settings) as meter:
        with ExitStack() as screen:
            show = _json_lines(with_workers=with_workers) if as_json else _tables(screen)
            while True:
                try:
                    lags, workers = await _measure(settings, meter)
                except (LagError, KafkaError) as error:
                    errors.print(Text(f"{error}; trying again"), style="yellow")
                else:
                    show(lags, workers)
                await asyncio.sleep(interval_s)


def _json_lines(*, with_workers: bool) -> "Show":
    def show(lags: "Sequence[PartitionLag]", workers: "Sequence[WorkerLag]") -> None:
        _print_json(lags, workers if with_workers else ())

    return show


def _tables(screen: "ExitStack") -> "Show":
    """Return what draws each measurement in the place of the one before; into a pipe or a file, below it."""
    import sys

    from rich.console import Console
    from rich.live import Live

    from stream_app.cli.lag_view import History, render

    console = Console()
    if not sys.stdout.isatty() or console.is_dumb_terminal:

        def print_below(lags: "Sequence[PartitionLag]", workers: "Sequence[WorkerLag]") -> None:
            with console.capture() as drawn:
                console.print(render(lags, workers, width=console.width))
            typer.echo(drawn.get(), nl=False)

        return print_below
    history = History()
    live = screen.enter_context(Live(console=console, auto_refresh=False))

    def draw_anew(lags: "Sequence[PartitionLag]", workers: "Sequence[WorkerLag]") -> None:
        history.add(lags)
        live.update(render(lags, workers, history, console.width), refresh=True)

    return draw_anew


def _print_json(lags: "Sequence[PartitionLag]", workers: "Sequence[WorkerLag]") -> None:
    import msgspec

    typer.echo("\n".join(msgspec.json.encode(found).decode() for found in (*lags, *workers)))
