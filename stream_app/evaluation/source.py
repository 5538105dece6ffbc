"""Reads the files of an evaluation with the worker's decoder: what is valid, in time order, and what was rejected."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from state.layout import N_DEDUPE
from stream_app.reading import RecordFile
from stream_app.records import CatalogEntry, Event, EventLimits, LocalRecord, decode_catalog, decode_events
from stream_app.sender import KeyReader, RecordError

if TYPE_CHECKING:
    from stream_app.settings import Settings

_CHUNK = 4_096
_PROGRESS_STEP = 0.005


class _Listed(msgspec.Struct):
    """When a shop listed an item: a field of catalogue files for evaluations, which records in Kafka do not need."""

    listed_ms: int = 0


class _Identity(msgspec.Struct):
    """What tells a repeated event from a new one."""

    event_id: str
    user_id: str
    type: str


_listed = msgspec.json.Decoder(_Listed)
_identity = msgspec.json.Decoder(_Identity).decode

Path_ = tuple[str, ...]
Int64s = npt.NDArray[np.int64]


class EvaluationError(Exception):
    """The evaluation cannot be made. The message ends with the remedy."""


@dataclass(slots=True)
class Rejects:
    """What was left out of a file.

    Attributes
    ----------
    by_code
        Records per code of :data:`~stream_app.records.REJECT_CODES`.
    first
        Where the first one stands and why it was rejected; empty if there is none.
    """

    by_code: dict[str, int] = field(default_factory=dict)
    first: str = ""

    @property
    def n(self) -> int:
        """All of them."""
        return sum(self.by_code.values())

    def add(self, code: str, where: str) -> None:
        """Count one."""
        self.by_code[code] = self.by_code.get(code, 0) + 1
        self.first = self.first or where


@dataclass(slots=True)
class EventLog:
    """The valid events of a file in time order, kept as the bytes they are: a year of purchases fits in memory.

    Attributes
    ----------
    values
        One JSON text per event.
    rejects
        What was left out as invalid.
    n_duplicates
        Events left out because their id is among the user's last ones, which the worker does not learn again either.
    n_out_of_order
        Events earlier than the one before them in the file; if there were any, the log has been sorted by time.
    n_ratings
        Ratings among the events.
    """

    values: list[bytes]
    rejects: Rejects
    n_duplicates: int
    n_out_of_order: int
    n_ratings: int

    def __len__(self) -> int:
        return len(self.values)

    def batches(self, size: int) -> Iterator[list[Event]]:
        """Decode the events in batches of at most ``size``."""
        decode = msgspec.json.Decoder(Event).decode
        for start in range(0, len(self.values), size):
            yield [decode(value) for value in self.values[start : start + size]]


@dataclass(slots=True)
class Catalog:
    """The catalogue of a file.

    Attributes
    ----------
    records
        The valid records, as the catalogue topic would hold them; the timestamp is the line's ``listed_ms``, or 0.
    entries
        The newest entry of each item.
    depth
        Levels of the path that make a category; 0 is all of them.
    rejects
        What was left out as invalid.
    """

    records: list[LocalRecord]
    entries: dict[str, CatalogEntry]
    depth: int
    rejects: Rejects

    def category(self, item_id: str) -> Path_ | None:
        """Return the category of an item; None if the catalogue does not know it."""
        entry = self.entries.get(item_id)
        if entry is None or not entry.category:
            return None
        path = tuple(entry.category)
        return path[: self.depth] if self.depth else path


def read_events(
    path: Path,
    settings: Settings,
    *,
    now_ms: int,
    limit: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> EventLog:
    """Read the events of a file.

    Parameters
    ----------
    path
        JSON Lines or CSV (plain, ``.gz``, ``.zst``) or Parquet.
    settings
        Limits of records.
    now_ms
        Present time in milliseconds since 1970 UTC: a later event is rejected, as in the worker.
    limit
        Read only the first so many records.
    on_progress
        Called with the share of the file that has been read.

    Raises
    ------
    stream_app.reading.ReadingError
        The file cannot be read at all.
    EvaluationError
        It holds no valid event.
    """
    limits = EventLimits.of(settings)
    rejects = Rejects()
    values: list[bytes] = []
    times: list[int] = []
    for records, first in _chunks(path, "user_id", limit, on_progress):
        decoded = decode_events(records, now_ms=now_ms, limits=limits)
        for rejection in decoded.rejections:
            rejects.add(rejection.code, f"record {first + rejection.index}: {rejection.reason}")
        values += [records[index].value or b"" for index in decoded.index]
        times += [event.event_time_ms for event in decoded.events]
    if not values:
        raise EvaluationError(_nothing(path, "event", rejects, "user_id, item_id, event_id, type and event_time_ms"))
    at = np.array(times, np.int64)
    n_out_of_order = int(np.count_nonzero(at[1:] < at[:-1]))
    if n_out_of_order:
        values = [values[k] for k in np.argsort(at, kind="stable").tolist()]
    kept, n_ratings = _without_duplicates(values)
    return EventLog(kept, rejects, len(values) - len(kept), n_out_of_order, n_ratings)


def _without_duplicates(values: list[bytes]) -> tuple[list[bytes], int]:
    """Return the events that a worker would learn from, read in this order, and how many ratings are among them.

    A worker passes over an event whose id is among its user's last ones; ``forget`` ends what it remembers of a user.
    """
    recent: dict[str, deque[str]] = {}
    kept: list[bytes] = []
    n_ratings = 0
    for value in values:
        event = _identity(value)
        if event.type == "forget":
            recent.pop(event.user_id, None)
        else:
            known = recent.setdefault(event.user_id, deque(maxlen=N_DEDUPE))
            if event.event_id in known:
                continue
            known.append(event.event_id)
            n_ratings += event.type == "rating"
        kept.append(value)
    return kept, n_ratings


def read_catalog(path: Path, settings: Settings) -> Catalog:
    """Read the catalogue of a file; of several entries of an item the last one holds.

    Raises
    ------
    stream_app.reading.ReadingError
        The file cannot be read at all.
    EvaluationError
        It holds no valid entry.
    """
    limits = EventLimits.of(settings)
    rejects = Rejects()
    kept: list[LocalRecord] = []
    entries: dict[str, CatalogEntry] = {}
    for records, first in _chunks(path, "item_id", None, None):
        decoded = decode_catalog(records, limits=limits)
        bad = {rejection.index for rejection in decoded.rejections}
        for rejection in decoded.rejections:
            rejects.add(rejection.code, f"record {first + rejection.index}: {rejection.reason}")
        kept += [_dated(record, path, first + index) for index, record in enumerate(records) if index not in bad]
        entries.update({item_id: entry for item_id, entry in decoded.entries if entry is not None})
    if not entries:
        raise EvaluationError(_nothing(path, "catalogue entry", rejects, "item_id and category"))
    return Catalog(kept, entries, settings.category_depth, rejects)


def _chunks(
    path: Path, key: str, limit: int | None, on_progress: Callable[[float], None] | None
) -> Iterator[tuple[list[LocalRecord], int]]:
    """Yield records by chunks, each with the number of its first one, counted from 1."""
    keys = KeyReader(key)
    records: list[LocalRecord] = []
    n, shown = 0, 0.0
    with RecordFile(path) as file:
        for record in file:
            if limit is not None and n >= limit:
                break
            n += 1
            try:
                records.append(LocalRecord(*keys.encode(record)))
            except RecordError as error:
                message = f"{path}: record {n}: {error}"
                raise EvaluationError(message) from error
            if len(records) == _CHUNK:
                yield records, n - len(records) + 1
                records = []
                if on_progress is not None and file.fraction > shown + _PROGRESS_STEP:
                    shown = file.fraction
                    on_progress(shown)
    if records:
        yield records, n - len(records) + 1


def _dated(record: LocalRecord, path: Path, number: int) -> LocalRecord:
    """Give a catalogue record the time at which its item was listed."""
    if record.value:
        try:
            record.timestamp = _listed.decode(record.value).listed_ms
        except msgspec.ValidationError as error:
            wanted = "listed_ms must be milliseconds since 1970 UTC, or left out"
            message = f"{path}: catalogue record {number}: {wanted} ({error})"
            raise EvaluationError(message) from error
    return record


def _nothing(path: Path, what: str, rejects: Rejects, wanted: str) -> str:
    why = f"all {rejects.n:,} records were rejected, first {rejects.first}" if rejects.n else "it has no records"
    return f"{path}: no valid {what}: {why}; a record needs {wanted}"
