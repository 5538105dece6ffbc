"""Reads a log of slates from a file for off-policy evaluation: one row per shown slot.

Columns: ``position``, ``propensity``, ``target_propensity``, ``reward``, and optionally ``slate_id``, ``q_logged``,
``q_target``. Every other column is passed over, unless it is the one to group by.

Without ``slate_id`` the positions tell which rows are a slate: if they run 0, 1, 2, … (or 1, 2, 3, …) and start again,
each run is one. If they do not, each row is a slate of one slot, as in logs of single choices at random places.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from operators.ope import SlateLog, SlateLogError, slate_log
from stream_app.decoding import UNREADABLE
from stream_app.reading import ReadingError, RecordFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from stream_app.reading import Record

NEEDED: Final = ("position", "propensity", "target_propensity", "reward")
MODEL: Final = ("q_logged", "q_target")
OUTCOMES: Final = frozenset({"propensity", "target_propensity", "reward", "action", *MODEL})
"""Columns that say what the policies did, or what came of it: a group by one of them is no fair comparison."""

NO_LABEL: Final = "(none)"
_PROGRESS_ROWS: Final = 20_000


class LogError(Exception):
    """A file is no log of slates. The message names file, line and remedy."""


@dataclass(frozen=True)
class FileLog:
    """A log of slates that came from a file.

    Attributes
    ----------
    path
        Where from.
    log
        The slates.
    lines
        Line (of Parquet: row) of each row, in the order of the file.
    groups
        Values of the column to group by, in order of appearance; None without one.
    group
        Index into ``groups`` for each slot of ``log``; None without a column, or by position.
    notes
        What had to be decided, in words.
    """

    path: Path
    log: SlateLog
    lines: NDArray[np.int64]
    groups: list[str] | None
    group: NDArray[np.int64] | None
    notes: list[str]

    def where(self, row: int | None) -> str:
        """Return ``file:line`` of a row, or the file if it is all of them."""
        return f"{self.path}" if row is None else f"{self.path}:{self.lines[row]}"

    def parts(self) -> list[tuple[str | None, SlateLog, int]]:
        """Return the log of each group, and how many slots count in it; without groups the whole log, under None."""
        if self.groups is None:
            return [(None, self.log, self.log.n_slots)]
        if self.group is None:
            at = [(label, int(label)) for label in self.groups]
            position = self.log.position
            return [(label, self.log.only_position(k), int(np.count_nonzero(position == k))) for label, k in at]
        logs = ((label, self.log.only(self.group == k)) for k, label in enumerate(self.groups))
        return [(label, log, log.n_slots) for label, log in logs]


def read_log(path: Path, *, group_by: str | None = None, on_progress: Callable[[float], None] | None = None) -> FileLog:
    """Read a log of slates.

    Parameters
    ----------
    path
        JSON Lines or CSV (plain, .gz, .zst), or Parquet.
    group_by
        Column by which the log is divided.
    on_progress
        Called now and then with the share of the file that has been read.

    Raises
    ------
    LogError
        The file cannot be read, is empty, lacks a column or a cell, or holds a value that makes no sense.
    """
    if group_by in OUTCOMES:
        message = (
            f"cannot group by {group_by}: it is a choice of the policy or what came of it, so that the groups of two "
            "policies differ; group by what was known before (segment, day, logging policy), or by position"
        )
        raise LogError(message)
    rows = _Rows(path, group_by)
    try:
        with RecordFile(path) as source:
            for record in source:
                rows.add(record, source.line)
                if on_progress is not None and len(rows.lines) % _PROGRESS_ROWS == 0:
                    on_progress(source.fraction)
    except ReadingError as error:
        raise LogError(str(error)) from error
    return rows.finish()


@dataclass
class _Rows:
    """The columns of a file while it is read."""

    path: Path
    group_by: str | None
    lines: array[int] = field(default_factory=lambda: array("q"))
    position: array[int] = field(default_factory=lambda: array("q"))
    slate: array[int] = field(default_factory=lambda: array("q"))
    group: array[int] = field(default_factory=lambda: array("q"))
    numbers: dict[str, array[float]] = field(default_factory=dict)
    slate_ids: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def _error(self, line: int, problem: str) -> LogError:
        return LogError(f"{self.path}:{line}: {problem}")

    def add(self, record: Record, line: int) -> None:
        """Take in one row."""
        row = record if isinstance(record, dict) else self._decoded(record, line)
        if not self.numbers:
            self._begin(row, line)
        elif late := [name for name in MODEL if name in row and name not in self.numbers]:
            raise self._error(
                line, f"{late[0]} is given here, but not in the first row; give it in every row, or in none"
            )
        elif "slate_id" in row and not self.slate_ids:
            raise self._error(
                line, "slate_id is given here, but not in the first row; give it in every row, or in none"
            )
        self.lines.append(line)
        self.position.append(self._position(row, line))
        for name, column in self.numbers.items():
            column.append(self._number(name, row, line))
        if self.slate_ids:
            self.slate.append(self._slate(row, line))
        if self.group_by is not None and self.group_by != "position":
            label = str(row.get(self.group_by, NO_LABEL))
            self.group.append(self.labels.setdefault(label, len(self.labels)))

    def _decoded(self, record: bytes, line: int) -> dict[str, Any]:
        try:
            row = msgspec.json.decode(record)
        except UNREADABLE as error:
            raise self._error(line, f"not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict):
            raise self._error(line, f"a row must be an object, got {type(row).__name__}; write one object per line")
        return row

    def _begin(self, row: dict[str, Any], line: int) -> None:
        """Find out from the first row which columns there are."""
        missing = [name for name in NEEDED if name not in row]
        if missing:
            have = ", ".join(row) or "none"
            problem = (
                f"{_columns(missing)} missing; a log needs {', '.join(NEEDED)} in every row "
                f"(optional: slate_id, {', '.join(MODEL)}), and has {have}"
            )
            raise self._error(line, problem)
        if self.group_by is not None and self.group_by not in row:
            raise self._error(line, f"no column {self.group_by!r} to group by; there are {', '.join(row)}")
        self.numbers = {name: array("d") for name in (*NEEDED[1:], *MODEL) if name in row}
        if "slate_id" in row:
            self.slate_ids[str(row["slate_id"])] = 0

    def _number(self, name: str, row: dict[str, Any], line: int) -> float:
        value = row.get(name)
        if value is None:
            raise self._error(line, f"{name} is missing or not a number here; give it in every row, or drop the column")
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self._error(line, f"{name} must be a finite number, got {value!r}; correct or drop the row")
        return number

    def _position(self, row: dict[str, Any], line: int) -> int:
        number = self._number("position", row, line)
        if not number.is_integer() or not 0.0 <= number < 2.0**53:
            problem = f"position must be a whole number from 0, got {row['position']!r}; count slots from the top"
            raise self._error(line, problem)
        return int(number)

    def _slate(self, row: dict[str, Any], line: int) -> int:
        slate_id = row.get("slate_id")
        if slate_id is None:
            raise self._error(line, "slate_id is missing here, other rows have one; give it in every row, or in none")
        return self.slate_ids.setdefault(str(slate_id), len(self.slate_ids))

    def finish(self) -> FileLog:
        """Return the log of all rows."""
        if not self.lines:
            message = f"{self.path}: the file holds no rows; a log needs one per shown slot"
            raise LogError(message)
        lines, position, notes = np.array(self.lines), np.array(self.position), list[str]()
        if self.slate_ids:
            slate = np.array(self.slate)
        else:
            slate, note = _slates_of_positions(position)
            if note:
                notes.append(note)
        columns = {name: np.array(column) for name, column in self.numbers.items()}
        slots = position if self.slate_ids or not notes else np.zeros_like(position)
        if len([name for name in MODEL if name in columns]) == 1:
            have, lack = MODEL if MODEL[0] in columns else MODEL[::-1]
            notes.append(f"{have} is not used: the log has no {lack}")
            del columns[have]
        p, target, reward = (columns[name] for name in NEEDED[1:])
        q_logged, q_target = (columns.get(name) for name in MODEL)
        try:
            log = slate_log(slate, slots, p, target, reward, q_logged=q_logged, q_target=q_target)
        except SlateLogError as error:
            at = "" if error.row is None else f":{lines[error.row]}"
            message = f"{self.path}{at}: {error}"
            raise LogError(message) from error
        groups, group = self._groups(log, lines, position if slots is not position else None)
        return FileLog(self.path, log, lines, groups, group, notes)

    def _groups(
        self, log: SlateLog, lines: NDArray[np.int64], alone: NDArray[np.int64] | None
    ) -> tuple[list[str] | None, NDArray[np.int64] | None]:
        """Return the groups and the group of each slot; ``alone`` are the positions of rows that are slates."""
        if self.group_by is None:
            return None, None
        if self.group_by == "position":
            if alone is not None:
                values, group = np.unique(alone, return_inverse=True)
                return [str(k) for k in values], group[log.row]
            return [str(k) for k in np.unique(log.position)], None
        group = np.array(self.group)[log.row]
        mixed = np.flatnonzero((np.diff(log.slate) == 0) & (np.diff(group) != 0))
        if mixed.size:
            names, at = list(self.labels), mixed[0]
            problem = (
                f"{self.group_by} is {names[group[at + 1]]!r} here and {names[group[at]]!r} at another slot of this "
                "slate; group by a column that is the same in all rows of a slate, or by position"
            )
            raise self._error(int(lines[log.row[at + 1]]), problem)
        return list(self.labels), group


def _slates_of_positions(position: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
    """Return the slate of each row by runs of positions, and a note if the rows had to stand alone."""
    step = np.diff(position)
    starts = np.concatenate([[True], step <= 0])
    runs = bool(np.all(position[starts] == position.min()) and np.all(step[step > 0] == 1))
    if runs:
        return np.cumsum(starts) - 1, ""
    note = (
        "no slate_id, and the positions do not run 0, 1, 2, ...: each row is taken as a slate of one slot; "
        "add a column slate_id if rows belong together"
    )
    return np.arange(position.size), note


def _columns(names: list[str]) -> str:
    return f"column {names[0]} is" if len(names) == 1 else f"columns {', '.join(names)} are"
