"""``crossaisle dataset``: makes event files from public data."""

import enum
import time
from pathlib import Path
from typing import Annotated

import typer


class DatasetName(enum.StrEnum):
    """The data sets there are."""

    COMPLETE_JOURNEY = "complete-journey"


def dataset(
    name: Annotated[DatasetName, typer.Argument(help="Which data set: complete-journey (1.47 M real purchases).")],
    out: Annotated[Path, typer.Option(help="Folder to write events.jsonl, catalog.jsonl and README.md to.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of the rows inside a basket.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Write only the first so many events.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as one line of JSON.")] = False,
) -> None:
    """Write a public data set as events and a catalogue, ready for `crossaisle produce` and `crossaisle evaluate`."""
    import msgspec  # noqa: PLC0415 - imports inside, so that `--help` is fast
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from stream_app.cli import CommandError  # noqa: PLC0415 - as above
    from stream_app.dataset import DatasetError, write_complete_journey  # noqa: PLC0415 - as above

    started_s = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"reading {name}", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, description="writing events", completed=done, total=total)

        try:
            summary = write_complete_journey(out, seed=seed, limit=limit, on_progress=show)
        except DatasetError as error:
            raise CommandError(str(error)) from error
    took_s = round(time.monotonic() - started_s, 1)
    if json:
        print(msgspec.json.encode({**msgspec.to_builtins(summary, enc_hook=str), "took_s": took_s}).decode())
        return
    print(f"{summary.events_path}: {summary.n_events:,} events of {summary.n_users:,} users, {summary.n_items:,} items")
    print(f"{summary.catalog_path}: {summary.n_catalog:,} products")
    print(f"{summary.readme_path}: what they are and how they were made ({took_s} s)")
