"""``crossaisle evaluate``: replays a file of events and measures the lists, test then learn."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.cli.terminal import folder

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 120


def evaluate(
    events: Annotated[Path, typer.Argument(help="Events: JSON Lines or CSV (plain, .gz, .zst), or Parquet.")],
    catalog: Annotated[Path, typer.Option(help="Catalogue, in the same forms.")],
    out: Annotated[
        Path,
        typer.Option(parser=folder, metavar="FOLDER", help="Folder for metrics.json, report.html and slates.jsonl."),
    ],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all that is drawn at random.")] = 0,
    warmup: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the events that is learned only.")] = 0.2,
    score_every: Annotated[int, typer.Option(min=1, help="After that one event in so many is scored.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first so many events.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to evaluate; may be repeated. The first one is compared with the others. If not given: "
            "crossaisle, popularity, personal-frequency, and biased-mf where half of the events or more are ratings."
        ),
    ] = None,
    replica_lag: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="EVENTS",
            help="Events between two updates of the item replica; if not given, 1 to 50 by the size of the file.",
        ),
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print metrics.json as one line, and no table.")] = False,
) -> None:
    """Replay events through the worker's operators and measure what they would have recommended.

    Models: crossaisle, and the baselines popularity, personal-frequency, co-occurrence, biased-mf, funk-mf.

    Of ratings, crossaisle (by a head that only this command has), biased-mf and funk-mf predict the stars.
    """
    from rich.console import Console

    from stream_app.cli import CommandError
    from stream_app.evaluation.files import METRICS_FILE, REPORT_FILE, Request, evaluate_files, slates_name
    from stream_app.evaluation.source import EvaluationError
    from stream_app.reading import ReadingError
    from stream_app.settings import Settings

    started_s = time.monotonic()
    settings = Settings().model_copy(update={"seed": seed})
    request = Request(
        events=events,
        catalog=catalog,
        out=out,
        warmup=warmup,
        score_every=score_every,
        limit=limit,
        models=tuple(dict.fromkeys(model or ())),
        replica_lag=replica_lag,
        now_ms=time.time_ns() // 1_000_000,
    )
    try:
        with _progress(Console(stderr=True)) as show:
            result = evaluate_files(request, settings, show)
    except (EvaluationError, ReadingError) as error:
        raise CommandError(str(error)) from error
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(result).decode())
        return
    from stream_app.evaluation.table import tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    for table in tables(result):
        console.print(table)
    slates = ", ".join(slates_name(name, first=k == 0) for k, name in enumerate(result["models"]))
    done = f"{out}: {METRICS_FILE}, {REPORT_FILE}, {slates} ({time.monotonic() - started_s:.0f} s)"
    console.print(done, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _progress(console: "Console") -> Any:
    """Show what is being done and how far it is, on stderr."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=1.0)

        def show(what: str, share: float) -> None:
            progress.update(task, description=what, completed=share)

        yield show
