"""From the cells of tables, CSV and Parquet, to the values of records: by the name of the column.

A cell that does not convert stays text, so that the worker rejects its record with a code.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stream_app.decoding import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

ID_COLUMNS = frozenset({"event_id", "user_id", "item_id", "session_id", "slate_id"})
TIME_COLUMNS = frozenset({"event_time_ms", "listed_ms"})
NUMBER_COLUMNS = TIME_COLUMNS | {"value", "position", "price", "rating", "n_sold"}
LIST_COLUMNS = frozenset({"category", "tags", "embedding"})
BOOLEAN_COLUMNS = frozenset({"available"})

_WHOLE_NUMBERS = TIME_COLUMNS | {"position", "n_sold"}
"""Columns of whole numbers: a table with gaps often has them with a point."""
_WHOLE_COLUMNS = ID_COLUMNS | _WHOLE_NUMBERS
_INTEGER = re.compile(r"[+-]?[0-9]+")
_WHOLE_FLOAT = re.compile(r"(0|-?[1-9][0-9]*)\.0")
"""How pandas writes an integer of a column with gaps."""
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _number(text: str) -> int | float | str:
    """Convert a cell to a finite number, or leave it as it is."""
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else text  # noqa: PLR2004 - no 64-bit integer is longer than 19 digits
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def csv_value(name: str, text: str) -> Any:
    """Convert a CSV cell by the name of its column; one that does not convert stays text."""
    if name in NUMBER_COLUMNS:
        number = _number(text)
        return int(number) if name in _WHOLE_NUMBERS and isinstance(number, float) and _is_whole(number) else number
    if name in BOOLEAN_COLUMNS:
        return _BOOLEANS.get(text.strip().lower(), text)
    if name in LIST_COLUMNS:
        if text.lstrip().startswith("["):
            try:
                return json.loads(text)
            except UNREADABLE:
                return text
        parts: Sequence[str] = [part.strip() for part in text.split("|")]
        return [_number(part) for part in parts] if name == "embedding" else parts
    return text[:-2] if name in ID_COLUMNS and _WHOLE_FLOAT.fullmatch(text) else text


def with_times_in_ms(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Turn timestamp columns, and dates where a time is wanted, into milliseconds since 1970."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only Parquet needs it

    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            moments = batch.column(index).cast(pa.timestamp("ms", field.type.tz), safe=False)
        elif pa.types.is_date(field.type) and field.name in TIME_COLUMNS:
            moments = batch.column(index).cast(pa.timestamp("ms"))  # midnight UTC
        else:
            continue
        batch = batch.set_column(index, field.name, moments.cast(pa.int64()))
    return batch


def is_missing(name: str, value: object) -> bool:
    """Return whether a Parquet cell is empty, as a list written as text may be, too."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or (value == "" and name in LIST_COLUMNS)


def _is_whole(number: float | Decimal) -> bool:
    return math.isfinite(number) and number == int(number)


def parquet_value(name: str, value: Any) -> Any:
    """Convert a Parquet value: ids to text, whole numbers in integer columns to integers, all their digits kept.

    A list that is written as text is read as one of CSV.
    """
    if name in LIST_COLUMNS and isinstance(value, str):
        return csv_value(name, value)
    if isinstance(value, float | Decimal) and name in _WHOLE_COLUMNS and _is_whole(value):
        value = int(value)
    if isinstance(value, Decimal):
        value = float(value)
    if name in ID_COLUMNS and not isinstance(value, str):
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return value
