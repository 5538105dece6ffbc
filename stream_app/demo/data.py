"""The demo's files: the real purchases, written once into the user's cache, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from stream_app.dataset import CATALOG_FILE, EVENTS_FILE, DatasetError, write_complete_journey
from stream_app.demo.floor import read_sale
from stream_app.demo.words import number
from stream_app.reading import ReadingError, read_records

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOKED_AT = 1_000
_WHOLE = "whole"
"""Written last: a folder without it was interrupted, and is made again."""


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Events and catalogue of a run, and a few words for what they are."""

    events: Path
    catalog: Path
    words: str


def cache_dir() -> Path:
    """Return the folder in which the data set of this version of Crossaisle is kept."""
    return platformdirs.user_cache_path("crossaisle") / f"complete-journey-{version('crossaisle')}"


def prepare_files(folder: Path, note: Callable[[str], None]) -> DemoFiles:
    """Return the real purchases, and write them first if an earlier run has not.

    Parameters
    ----------
    folder
        Where they are kept.
    note
        Told in words how far the writing is. What it raises ends the writing; nothing half-written is used later.

    Raises
    ------
    DatasetError
        The package with the data is not installed, or the folder cannot be written to.
    """
    words = "a year of real purchases (Complete Journey)"
    files = DemoFiles(folder / EVENTS_FILE, folder / CATALOG_FILE, words)
    if (folder / _WHOLE).exists() and files.events.exists() and files.catalog.exists():
        return files

    def show(done: int, total: int) -> None:
        note(f"writing {number(done)} of {number(total)} purchases to {folder}, once")

    note("sorting a year of purchases, once")
    try:
        write_complete_journey(folder, on_progress=show)
        (folder / _WHOLE).touch()
    except DatasetError as error:
        message = f"{error}; or bring your own data with --events and --catalog"
        raise DatasetError(message) from error
    return files


def check_own_files(files: DemoFiles) -> str | None:
    """Look into a user's own files; return a note where their catalogue lists none of the items of their first events.

    Raises
    ------
    ReadingError
        A file cannot be read, or there is no event.
    """
    wanted = {read_sale(record).item_id for record in islice(read_records(files.events), _LOOKED_AT)}
    if not wanted:
        message = f"{files.events}: there is no event in it; give a file with events to --events"
        raise ReadingError(message)
    wanted.discard("")  # of events that cannot be read
    if any(read_sale(record).item_id in wanted for record in read_records(files.catalog)):
        return None
    return f"{files.catalog} lists no item of the first events: there will be no slates; do both files name them alike?"
