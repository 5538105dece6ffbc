"""The files of a data set: events, catalogue and a README, each of them whole or not there."""

from __future__ import annotations

from dataclasses import dataclass
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
class Contents:
    """A data set that has been read, and is still to be written.

    Attributes
    ----------
    events, catalog
        The lines; the events in the order of time.
    n_events, n_users, n_items
        How many events there are, and what they are about.
    readme
        Name of the README's template, which stands beside this module.
    counts
        What else the README tells.
    seed, limit
        What the data set was made with.
    """

    events: Iterable[dict[str, Any]]
    catalog: list[dict[str, Any]]
    n_events: int
    n_users: int
    n_items: int
    readme: str
    counts: dict[str, int]
    seed: int
    limit: int | None


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
    counts
        What else the README tells.
    """

    events_path: Path
    catalog_path: Path
    readme_path: Path
    n_events: int
    n_users: int
    n_items: int
    n_catalog: int
    counts: dict[str, int]


def write_dataset(
    out: Path, contents: Contents, on_progress: Callable[[int, int], None] | None = None
) -> DatasetSummary:
    """Write ``events.jsonl``, ``catalog.jsonl`` and ``README.md``; the same contents give the same bytes.

    Parameters
    ----------
    out
        Folder to write to; made if it is not there. Files of an earlier run are replaced once the new ones are whole.
    contents
        What to write.
    on_progress
        Called with the events written and the events there are.

    Raises
    ------
    DatasetError
        The folder cannot be written to.
    """
    make_folder(out)
    summary = DatasetSummary(
        events_path=out / EVENTS_FILE,
        catalog_path=out / CATALOG_FILE,
        readme_path=out / README_FILE,
        n_events=contents.n_events,
        n_users=contents.n_users,
        n_items=contents.n_items,
        n_catalog=len(contents.catalog),
        counts=contents.counts,
    )
    try:
        write_whole(summary.events_path, _slices(iter(contents.events), contents.n_events, on_progress))
        write_whole(summary.catalog_path, iter([msgspec.json.Encoder().encode_lines(contents.catalog)]))
        write_whole(summary.readme_path, iter([_readme(contents).encode()]))
    except OSError as error:
        raise cannot_write(out, error) from error
    return summary


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


def _readme(contents: Contents) -> str:
    counts = {
        **contents.counts,
        "n_events": contents.n_events,
        "n_users": contents.n_users,
        "n_items": contents.n_items,
        "n_catalog": len(contents.catalog),
    }
    return (
        (Path(__file__).parent / contents.readme)
        .read_text(encoding="utf-8")
        .format(
            limit="" if contents.limit is None else f" --limit {contents.limit}",
            seed=contents.seed,
            **{name: f"{count:,}" for name, count in counts.items()},
        )
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
