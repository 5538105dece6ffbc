"""The files of a data set: events, catalogue and a README, each of them whole or not there."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EVENTS_FILE: Final = "events.jsonl"
CATALOG_FILE: Final = "catalog.jsonl"
README_FILE: Final = "README.md"

_EVENTS_PER_WRITE = 20_000


class DatasetError(Exception):
    """The data set cannot be made. The message ends with the remedy."""


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What was written.

    Attributes
    ----------
    events_path, catalog_path, readme_path
        The files.
    n_events, n_users, n_items
        Lines of the events file, and what they are about.
    n_catalog
        Lines of the catalogue file.
    """

    events_path: Path
    catalog_path: Path
    readme_path: Path
    n_events: int
    n_users: int
    n_items: int
    n_catalog: int


def write_dataset(
    summary: DatasetSummary,
    events: Iterable[dict[str, Any]],
    catalog: Iterable[dict[str, Any]],
    readme: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the three files; those of an earlier run are replaced once the new ones are whole.

    Parameters
    ----------
    summary
        Says where to, and how many events there are.
    events, catalog
        The lines.
    readme
        Text of the README.
    on_progress
        Called with the events written and the events there are.

    Raises
    ------
    DatasetError
        The folder cannot be written to.
    """
    encode = msgspec.json.Encoder().encode_lines
    try:
        write_whole(summary.events_path, _slices(iter(events), summary.n_events, on_progress))
        write_whole(summary.catalog_path, iter([encode(list(catalog))]))
        write_whole(summary.readme_path, iter([readme.encode()]))
    except OSError as error:
        raise cannot_write(summary.events_path.parent, error) from error


def _slices(
    events: Iterator[dict[str, Any]], n_events: int, on_progress: Callable[[int, int], None] | None
) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode_lines
    n_done = 0
    while lines := list(islice(events, _EVENTS_PER_WRITE)):
        yield encode(lines)
        n_done += len(lines)
        if on_progress is not None:
            on_progress(n_done, n_events)


def fill_readme(template: str, summary: DatasetSummary, *, seed: int, limit: int | None) -> str:
    """Return a README that stands beside this module, with the counts of the summary in it."""
    text = (Path(__file__).parent / template).read_text(encoding="utf-8")
    counts = {field.name: getattr(summary, field.name) for field in fields(summary) if field.name.startswith("n_")}
    return text.format(
        limit="" if limit is None else f" --limit {limit}",
        seed=seed,
        **{name: f"{count:,}" for name, count in counts.items()},
    )


def make_folder(out: Path) -> None:
    """Make the folder to write to.

    Raises
    ------
    DatasetError
        It cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error


def cannot_write(out: Path, error: OSError) -> DatasetError:
    """Return the error for a folder that cannot be written to."""
    return DatasetError(f"{error.filename or out}: {error.strerror or error}; choose another folder with --out")


def write_whole(path: Path, parts: Iterator[bytes]) -> None:
    """Write a file that is there whole or, if this is interrupted, not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            for part in parts:
                file.write(part)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
