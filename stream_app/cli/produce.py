"""``crossaisle produce``: sends a file of records to a topic."""

import enum
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.reading import ReadingError, Record, RecordFile

_INTERRUPTED = 130
_MOST_NAMED = 5
"""Records that are left out are named up to this many."""


class ProduceTopic(enum.StrEnum):
    """The topics that teams produce to."""

    EVENTS = "events"
    CATALOG = "catalog"


def produce(
    file: Annotated[Path, typer.Argument(help="JSON Lines or CSV (plain, .gz, .zst), or Parquet.")],
    topic: Annotated[ProduceTopic, typer.Option(help="Which topic the records are for.")] = ProduceTopic.EVENTS,
    rate: Annotated[float | None, typer.Option(help="Records per second; as fast as possible if not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Produce only the first so many records.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")] = False,
) -> None:
    """Produce the records of a file, keyed by user (events) or item (catalog). Ctrl-C ends it; what is sent stays."""
    from itertools import islice

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from stream_app.cli import CommandError
    from stream_app.cli.terminal import counted
    from stream_app.cli.waiting import run_telling
    from stream_app.produce import produce_records
    from stream_app.reading import ReadingError, RecordFile
    from stream_app.sender import ProduceError, RecordError
    from stream_app.settings import Settings

    settings = Settings()
    name = settings.topic_catalog if topic is ProduceTopic.CATALOG else settings.topic_events
    started_s = time.monotonic()
    n_confirmed = 0
    interrupted = False
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    try:
        with (
            RecordFile(file, columns=_needed(topic)) as source,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task(f"producing to {name}", total=1.0)

            def show(n_records: int) -> None:
                nonlocal n_confirmed
                n_confirmed = n_records
                per_s = n_records / max(time.monotonic() - started_s, 1e-3)
                done = source.fraction if limit is None else n_records / limit
                progress.update(
                    task, description=f"{name}: {counted(n_records, 'record')}, {per_s:,.0f}/s", completed=done
                )

            left_out = _LeftOut(source)
            records: Iterable[Record] = islice(source, limit)
            producing = produce_records(settings, name, records, rate=rate, on_progress=show, on_keyless=left_out.add)
            try:
                run_telling(settings, producing, lambda words: console.print(Text(words), soft_wrap=True))
            except KeyboardInterrupt:
                interrupted = True
            except ReadingError as error:
                raise CommandError(_again(error, n_confirmed, topic)) from error
            except RecordError as error:
                raise CommandError(_after(f"{source.where}: {error}", n_confirmed)) from error
    except (ReadingError, ProduceError) as error:
        raise CommandError(_after(str(error), n_confirmed)) from error
    _tell(name, n_confirmed, time.monotonic() - started_s, interrupted=interrupted, json=json)
    if interrupted:
        raise typer.Exit(_INTERRUPTED)
    left_out.check()


def _tell(topic: str, n_records: int, took_s: float, *, interrupted: bool, json: bool) -> None:
    """Print what was produced, and how fast."""
    import msgspec

    from stream_app.cli.terminal import counted

    if json:
        summary = {"topic": topic, "n_records": n_records, "took_s": round(took_s, 3), "interrupted": interrupted}
        typer.echo(msgspec.json.encode(summary).decode())
        return
    ending = ", interrupted" if interrupted else ""
    typer.echo(f"{counted(n_records, 'record')} to {topic} in {took_s:.1f} s ({n_records / took_s:,.0f}/s){ending}")


class _LeftOut:
    """Where the records of a file stand that are left out."""

    def __init__(self, source: "RecordFile") -> None:
        self._source = source
        self._where: list[str] = []
        self._n = 0

    def add(self) -> None:
        """Note the record that was read last."""
        self._n += 1
        if self._n <= _MOST_NAMED:
            self._where.append(self._source.where)

    def check(self) -> None:
        """Say what was left out, and why.

        Raises
        ------
        CommandError
            Something was.
        """
        from stream_app.cli import CommandError
        from stream_app.produce import NO_ITEM_ID

        if not self._n:
            return
        more = f" and {self._n - len(self._where):,} more" if self._n > len(self._where) else ""
        message = f"{', '.join(self._where)}{more}: {NO_ITEM_ID}; left out: add it, and produce the file again"
        raise CommandError(message)


def _needed(topic: ProduceTopic) -> tuple[str, ...]:
    """Return the fields that every record of a topic has: a table without a column for one has no usable row."""
    import msgspec

    from stream_app.records import CatalogEntry, Event

    record = CatalogEntry if topic is ProduceTopic.CATALOG else Event
    return tuple(field.encode_name for field in msgspec.structs.fields(record) if field.required)


def _after(message: str, n_confirmed: int) -> str:
    return f"{message} ({_sent(n_confirmed)} before)" if n_confirmed else message


def _again(error: "ReadingError", n_confirmed: int, topic: ProduceTopic) -> str:
    """Say how much of a damaged file was sent, and how to go on."""
    twice = {
        ProduceTopic.EVENTS: "events sent twice are recognised by their event_id",
        ProduceTopic.CATALOG: "an entry sent twice counts once",
    }
    if not n_confirmed:
        return f"{error}; nothing was produced"
    return f"{error}; {_sent(n_confirmed)} before: then produce the whole file again, {twice[topic]}"


def _sent(n_confirmed: int) -> str:
    from stream_app.cli.terminal import counted

    return f"{counted(n_confirmed, 'record')} {'was' if n_confirmed == 1 else 'were'} produced"
