"""``crossaisle dataset``: makes event files from public data."""

import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make event files from public data.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make event files from public data."""


@app.command("complete-journey")
def complete_journey(
    out: Annotated[Path, typer.Option(help="Folder to write events.jsonl, catalog.jsonl and README.md to.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of the rows inside a basket.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Write only the first so many events.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as one line of JSON.")] = False,
) -> None:
    """Write 1.47 million real grocery purchases as events and a catalogue, for `crossaisle produce` and `evaluate`."""
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from stream_app.cli import CommandError
    from stream_app.dataset import DatasetError, write_complete_journey

    started_s = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, description="writing events", completed=done, total=total)

        try:
            summary = write_complete_journey(out, seed=seed, limit=limit, on_progress=show)
        except DatasetError as error:
            raise CommandError(str(error)) from error
    took_s = round(time.monotonic() - started_s, 1)
    if json:
        typer.echo(msgspec.json.encode({**msgspec.to_builtins(summary, enc_hook=str), "took_s": took_s}).decode())
        return
    typer.echo(
        f"{summary.events_path}: {summary.n_events:,} events of {summary.n_users:,} users, {summary.n_items:,} items"
    )
    typer.echo(f"{summary.catalog_path}: {summary.n_catalog:,} products")
    typer.echo(f"{summary.readme_path}: what they are and how they were made ({took_s} s)")


@app.command("synthetic")
def synthetic(
    out: Annotated[Path, typer.Option(help="Folder to write events, catalogue, truth and README.md to.")],
    kind: Annotated[str, typer.Option(help="groceries, films (rated once) or courses (taken once).")] = "groceries",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
    users: Annotated[int | None, typer.Option(min=1, help="Users; the kind's own number if not given.")] = None,
    items: Annotated[int | None, typer.Option(min=2, help="Items of the catalogue.")] = None,
    categories: Annotated[int | None, typer.Option(min=2, help="Categories of the catalogue.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days that the shop is open.")] = None,
    drift_users: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of the users whose tastes change after two thirds of the days."),
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as one line of JSON.")] = False,
) -> None:
    """Make a shop whose truth is known: tastes, replenishment, seasons, new items, and tastes that change one day."""
    from dataclasses import replace

    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from stream_app.cli import CommandError
    from stream_app.dataset import DatasetError
    from stream_app.synthetic.files import write_synthetic
    from stream_app.synthetic.params import KINDS, SyntheticError, with_sizes

    if kind not in KINDS:
        message = f"there is no kind {kind!r}; use one of {', '.join(KINDS)}"
        raise CommandError(message)
    params = with_sizes(KINDS[kind], seed=seed, n_users=users, n_items=items, n_categories=categories, days=days)
    if drift_users is not None:
        params = replace(params, drift_users=drift_users)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("users", total=params.n_users)
        try:
            summary = write_synthetic(out, params, lambda done, _: progress.update(task, completed=done))
        except (DatasetError, SyntheticError) as error:
            raise CommandError(str(error)) from error
    if json:
        typer.echo(msgspec.json.encode(msgspec.to_builtins(summary, enc_hook=str)).decode())
        return
    typer.echo(
        f"{summary.events_path}: {summary.n_events:,} events of {summary.n_users:,} users, {summary.n_items:,} items"
    )
    typer.echo(f"{summary.catalog_path}: {summary.n_catalog:,} items; {summary.truth_path}: what is true of them")
