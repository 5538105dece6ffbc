"""Reads records from files: JSON Lines (plain, .gz, .zst), CSV (the same) and Parquet.

A line of JSON Lines is handed on as the bytes it is, unparsed, so that a bad one reaches the topic, is rejected there
with a code, and is never lost on the way. CSV cells are text: they are converted by the name of their column, and a
cell that does not convert stays text, for the same reason. What cannot be read at all (a broken archive, a row with
too many fields) raises an error that names the file and the line.
"""

from __future__ import annotations

import csv
import re
import zlib
from typing import TYPE_CHECKING, Any, Self

from stream_app.archives import unpack
from stream_app.cells import csv_value, is_missing, parquet_value, with_times_in_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Record = bytes | dict[str, Any]
"""A line of JSON Lines as it stands, or a row of a table with its empty cells left out."""

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_ROWS_PER_BATCH = 1_024
_LONGEST_CELL = 16 << 20
"""Characters of a cell of CSV; more than that is a quote that nothing closes."""
_QUOTE = "quote fields that hold quotes, double those, and close each quote"
_ARRAY = re.compile(rb"\s*\[\s*(\{|$)")
"""How a file begins that is one array of objects; a line such as ``[7]`` is a bad record like others."""
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"PAR1\x15": ".parquet"}
"""First bytes of files that are no text, and the end of the name that says so."""


class ReadingError(Exception):
    """A file cannot be read. The message names the file, the line where there is one, and what to do."""


class RecordFile:
    """The records of one file, once, from its first to its last.

    Parameters
    ----------
    path
        A file ending in ``.jsonl``, ``.ndjson``, ``.json`` or ``.csv`` (each also with ``.gz`` or ``.zst``) or
        ``.parquet``.
    columns
        Columns that a table (CSV, Parquet) must have.

    Attributes
    ----------
    line
        Line (of Parquet: row) of the record that was handed out last, counted from 1; 0 before the first.

    Raises
    ------
    ReadingError
        The file is not there, or a folder, its name tells no known format, or another one than its first bytes; while
        iterating: it is damaged, or one JSON array.
    """

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        self.path = path
        self._columns = columns
        self.line = 0
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._archive = suffixes.pop() if suffixes and suffixes[-1] in {".gz", ".zst"} else ""
        self._suffix = suffixes[-1] if suffixes else ""
        if str(path) == "-":
            message = "-: standard input is not read; write it into a file that ends in .jsonl, and give its name"
            raise ReadingError(message)
        if path.is_dir():
            message = (
                f"{path}: this is a folder; give one file. Put the parts of a table together first, for example with "
                f"duckdb -c \"COPY (FROM '{path}/*.parquet') TO 'all.parquet'\""
            )
            raise ReadingError(message)
        form = _FORMATS.get(self._suffix)
        if form is None or (form == "parquet" and self._archive):
            message = (
                f"{path}: cannot tell the format from the name; "
                "use .jsonl, .csv (each also with .gz or .zst) or .parquet"
            )
            raise ReadingError(message)
        self._format = form
        try:
            self._size_bytes = path.stat().st_size
            self._raw = path.open("rb")
            self._check_bytes()
        except OSError as error:
            message = f"{path}: {error.strerror or error}"
            raise ReadingError(message) from error
        self._row_fraction: float | None = None

    @property
    def where(self) -> str:
        """Where the record handed out last stands, as ``file:line``."""
        return f"{self.path}:{self.line}"

    @property
    def fraction(self) -> float:
        """How much of the file has been read, in ``[0, 1]``; of an archive, by its packed bytes."""
        if self._row_fraction is not None:
            return self._row_fraction
        return min(self._raw.tell() / self._size_bytes, 1.0) if self._size_bytes and not self._raw.closed else 1.0

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file. It may be closed more than once."""
        self._raw.close()

    def __iter__(self) -> Iterator[Record]:
        """Hand out the records in the order of the file."""
        if self._format == "parquet":
            return self._parquet_rows()
        if self._format == "csv":
            return self._csv_rows()
        return self._json_lines()

    def _check_bytes(self) -> None:
        """Refuse an archive or Parquet under another name: its bytes would be taken for lines."""
        head = self._raw.peek(8)
        found = next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), None)
        if found is None or self._format == "parquet" or found == self._archive:
            return
        self._raw.close()
        text = self.path.name.removesuffix(self.path.suffix) if self._archive else self.path.name
        right = self.path.stem + found if found == ".parquet" else text + found
        message = f"{self.path}: the content is {found}, which the name does not say; rename it to {right}"
        raise ReadingError(message)

    def _error(self, problem: object) -> ReadingError:
        return ReadingError(f"{self.path}:{self.line}: {problem}")

    def _check_columns(self, found: Sequence[str]) -> None:
        missing = ", ".join(name for name in self._columns if name not in found)
        if missing:
            message = f"{self.path}: no column {missing}; there are {', '.join(found)}. Rename or add columns"
            raise ReadingError(message)

    def _lines(self) -> Iterator[bytes]:
        import zstandard  # noqa: PLC0415 - only archives need it, and `--help` must stay fast

        try:
            source = unpack(self._raw, self._archive)
            for line in source:
                self.line += 1
                yield line.removeprefix(b"\xef\xbb\xbf") if self.line == 1 else line
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            self.line += 1
            problem = f"the file is damaged or cut short ({error}); copy it again, or unpack what is left of it"
            raise self._error(problem) from error

    def _json_lines(self) -> Iterator[bytes]:
        """Yield every line that is not blank; without its line end."""
        first = True
        for line in self._lines():
            if not line.strip():
                continue
            if first and (_ARRAY.match(line) or (self._suffix == ".json" and line.lstrip().startswith(b"["))):
                problem = "this is one JSON array, not JSON Lines; turn it into lines with `jq -c '.[]'`"
                raise self._error(problem)
            first = False
            yield line.rstrip(b"\r\n")

    def _text_lines(self) -> Iterator[str]:
        for line in self._lines():
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8"
                raise self._error(problem) from error

    def _csv_rows(self) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(_LONGEST_CELL)
        lines = self._text_lines()
        first = next(lines, "")
        delimiter = max(",;\t", key=first.count)
        rows = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            if not any(header) or len(set(header)) != len(header):
                self.line = 1
                problem = "the first line must name the columns, each once (user_id, item_id, event_time_ms, ...)"
                raise self._error(problem)
            self._check_columns(header)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    problem = f"{len(row)} fields where the header names {len(header)}; quote fields with a delimiter"
                    raise self._error(problem)
                yield {name: csv_value(name, text) for name, text in zip(header, row, strict=True) if text != ""}
        except csv.Error as error:
            remedy = "end lines with a line feed" if "new-line" in str(error) else _QUOTE
            problem = f"not CSV: {error}; {remedy}"
            raise self._error(problem) from error

    def _parquet_rows(self) -> Iterator[dict[str, Any]]:
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only Parquet needs it
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        try:
            parquet = pq.ParquetFile(self._raw)
            n_rows = parquet.metadata.num_rows
            self._check_columns(parquet.schema_arrow.names)
            for batch in parquet.iter_batches(batch_size=_ROWS_PER_BATCH):
                for row in with_times_in_ms(batch).to_pylist():
                    self.line += 1
                    self._row_fraction = self.line / n_rows
                    yield {
                        name: parquet_value(name, value) for name, value in row.items() if not is_missing(name, value)
                    }
        except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
            problem = f"the Parquet file cannot be read from this row on ({error}); write it again"
            raise self._error(problem) from error


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file and close it.

    Parameters
    ----------
    path
        As for `RecordFile`.

    Raises
    ------
    ReadingError
        As for `RecordFile`.
    """
    with RecordFile(path) as records:
        yield from records


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
