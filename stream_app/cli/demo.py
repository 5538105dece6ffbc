"""``crossaisle demo``: everything at once, to watch."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from stream_app.demo.options import DemoOptions, Summary, View

_FASTEST = 1e6
"""Events per second that may be asked for."""


def demo(
    events: Annotated[
        Path | None, typer.Option(help="Own events (JSON Lines, CSV or Parquet); with --catalog.")
    ] = None,
    catalog: Annotated[Path | None, typer.Option(help="Own catalogue; with --events.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="End by itself after so many seconds of open shop.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Port of the broker; the ones after it serve the workers' web pages."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Events per second.")] = 150.0,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 1,
    *,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the worker's web page.")] = False,
) -> None:
    """Watch it work: a broker, a worker, real purchases at a watchable rate, and the slates that come of them.

    Nothing needs to be running or set up. Ctrl-C ends everything and shows a summary.
    """
    from stream_app.cli import CommandError

    if (events is None) != (catalog is None):
        message = "--events and --catalog belong together: give both, or neither for the real purchases"
        raise CommandError(message)
    for name, value in (("--rate", rate), ("--duration", duration)):
        if value is not None and not math.isfinite(value):
            message = f"{name} must be a finite number, got {value}"
            raise CommandError(f"{message}; leave it out for as long as you like" if name == "--duration" else message)
    if rate > _FASTEST:
        message = f"--rate is at most {_FASTEST:,.0f} events/s, got {rate:g}; to measure speed there is make bench"
        raise CommandError(message)
    from stream_app.demo.options import DemoError, DemoOptions
    from stream_app.demo.words import command_name

    is_terminal = sys.stdout.isatty()
    options = DemoOptions(
        events=events,
        catalog=catalog,
        duration_s=duration,
        ends_with_events=not is_terminal,
        port=port,
        rate=rate,
        n_workers=workers,
        opens_browser=is_terminal and not no_browser,
        command=command_name(sys.argv[0]),
    )
    try:
        _watch(options)
    except DemoError as error:
        raise CommandError(str(error)) from error


def _watch(options: "DemoOptions") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if console.is_terminal and not console.is_dumb_terminal:
        from stream_app.demo.view import LiveView

        with LiveView(console) as view:
            summary = _run(options, view)
    else:
        from stream_app.demo.report import PlainView

        summary = _run(options, PlainView(typer.echo))
    _print_summary(console, summary)


def _run(options: "DemoOptions", view: "View") -> "Summary":
    import asyncio
    import logging

    from stream_app.demo.run import Demo

    # What the Kafka client has to say of a broker that stops would run through the view.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def run() -> "Summary":
        return await Demo(options, view).run()

    return asyncio.run(run())


def _print_summary(console: "Console", summary: "Summary") -> None:
    from stream_app.demo.report import summary_lines

    lines = summary_lines(
        summary.state,
        totals=summary.totals,
        port=summary.port,
        data_dir=summary.data_dir,
        now_s=summary.ended_s,
    )
    for line in lines:
        console.print(line)
