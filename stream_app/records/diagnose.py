"""Why msgspec refused a value: from its error to a reject code and a sentence. Off the fast path."""

import json
import re
from typing import Any, Final

import msgspec

from stream_app.decoding import UNREADABLE
from stream_app.records.event import EVENT_TYPES, FIRST_TIME_MS

_SHOWN_CHARACTERS: Final = 80
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_PLACE: Final = re.compile(r" - at `\$\.(?P<field>\w+)(?:\[(?P<slot>\d+)\])?`$")

_CODES: Final = (
    ("Object missing required field", "missing_field"),
    ("Invalid enum value", "unknown_type"),
    ("Integer value out of range", "bad_value"),
    ("Number out of range", "bad_value"),
    ("Expected `str` of length >=", "empty_id"),
    ("Expected `array` of length <=", "bad_value"),
    ("Expected `int` >=", "bad_value"),
    ("Expected `int` <=", "bad_value"),
    ("Expected `float` >=", "bad_value"),
    ("Expected `float` <=", "bad_value"),
    ("Expected ", "wrong_type"),
)
"""How a validation error of msgspec begins, and its code; the first that fits holds. A test provokes each."""

_FROM_DATES: Final = (
    "write milliseconds since 1970 UTC, which epoch_ms(time::TIMESTAMP) makes of a date in duckdb, and "
    "pd.to_datetime(time, utc=True).astype('datetime64[ms, UTC]').astype('int64') in pandas"
)
_LISTS: Final = {
    "category": 'write ["Food", "Dairy"], or Food|Dairy in a cell of a table',
    "tags": 'write ["chilled", "new"], or chilled|new in a cell of a table',
    "embedding": "write [0.1, 0.2], or 0.1|0.2 in a cell of a table",
}


class BadRecordError(Exception):
    """A record is not usable.

    Attributes
    ----------
    code
        One of :data:`~stream_app.records.REJECT_CODES`.
    reason
        A sentence that names the field, what arrived and what was wanted.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def diagnose(what: str, value: bytes, error: Exception) -> BadRecordError:
    """Name why a value was refused.

    Parameters
    ----------
    what
        What it should have been, for the sentence.
    value
        The value, UTF-8.
    error
        What msgspec raised: a ``DecodeError``, a ``UnicodeDecodeError`` or a ``RecursionError``.
    """
    if isinstance(error, RecursionError):
        return BadRecordError("not_json", f"{what}: the JSON is nested too deeply")
    constants: list[str] = []
    try:
        parsed = json.loads(value.decode(), parse_constant=constants.append)
    except UNREADABLE as broken:
        if not isinstance(error, msgspec.ValidationError):
            return BadRecordError("not_json", f"{what}: not JSON: {broken}")
        parsed = None
    if isinstance(error, msgspec.ValidationError):
        return _invalid(what, parsed, str(error))
    if constants:
        reason = f"{what}: {constants[0]} is no JSON number; leave the field out where there is no finite number"
        return BadRecordError("bad_value", reason)
    if _HALF_PAIR.search(value):
        reason = f"{what}: a \\uD800 to \\uDFFF escape stands alone; half of a surrogate pair has no UTF-8 form"
        return BadRecordError("not_utf8", reason)
    return BadRecordError("not_json", f"{what}: not JSON: {error}")


def shown(thing: object) -> str:
    """Return a short, printable form of something that arrived, whatever it is."""
    if isinstance(thing, int) and not -(10**_SHOWN_CHARACTERS) < thing < 10**_SHOWN_CHARACTERS:
        return "an integer of more than 80 digits"
    if isinstance(thing, str):
        thing = thing[: _SHOWN_CHARACTERS + 1]
    text = ascii(thing) if isinstance(thing, str) and not thing.isprintable() else repr(thing)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _invalid(what: str, parsed: Any, problem: str) -> BadRecordError:
    """Turn a validation error of msgspec into code and sentence.

    Parameters
    ----------
    parsed
        What Python's own parser makes of the value, for what arrived; None if it cannot read it.
    """
    fields = parsed if isinstance(parsed, dict) else {}
    id_of_it = fields.get("event_id" if what == "event" else "item_id")
    where = f"{what} {shown(id_of_it)}" if isinstance(id_of_it, str) and id_of_it else what
    code = next((code for start, code in _CODES if problem.startswith(start)), "wrong_type")
    if code == "missing_field":
        return BadRecordError(code, f"{where}: the field {problem.split('`')[1]} is missing")
    place = _PLACE.search(problem)
    if place is None:
        return BadRecordError(code, f"{where}: the value must be a JSON object; {problem[:1].lower()}{problem[1:]}")
    name, slot = place["field"], place["slot"]
    if code == "bad_value" and name == "event_time_ms":
        code = "bad_time"
    wanted = "one of " + ", ".join(EVENT_TYPES) if code == "unknown_type" else _wanted(problem[: place.start()])
    if name not in fields:
        return BadRecordError(code, f"{where}: {name} must be {wanted}")
    found = fields[name]
    if slot is not None and isinstance(found, list) and int(slot) < len(found):
        name, found = f"{name}[{slot}]", found[int(slot)]
    return BadRecordError(code, f"{where}: {name} must be {wanted}, got {_kind(found)}{_hint(name, code, found)}")


def _hint(name: str, code: str, found: Any) -> str:
    """Return what to do about a field that is often written in another way; empty for all others."""
    if code == "bad_time" and isinstance(found, int) and found < FIRST_TIME_MS:
        if FIRST_TIME_MS // 1_000 <= found < FIRST_TIME_MS // 100:
            return "; milliseconds are wanted, and this looks like seconds"
        return f"; {FIRST_TIME_MS} is the beginning of the year 2000 in milliseconds since 1970 UTC"
    if name == "event_time_ms" and isinstance(found, str):
        return "; write it without quotes" if found.isdecimal() else f"; {_FROM_DATES}"
    if code == "wrong_type" and isinstance(found, str):
        return f"; {_LISTS[name]}" if name in _LISTS else ""
    return ""


def _wanted(problem: str) -> str:
    """Return what msgspec wanted: ``Expected `int`, got `float` `` is "int"."""
    if problem.endswith("out of range"):
        return "a number within range"
    wanted, _, got = problem.removeprefix("Expected ").replace("`", "").partition(", got ")
    return f"{wanted} (written without point and exponent)" if wanted.startswith("int") and got == "float" else wanted


def _kind(found: Any) -> str:
    """Return a short form of a parsed JSON value: the value of a scalar, the size of the others."""
    if isinstance(found, dict):
        return "an object"
    if isinstance(found, list):
        return f"an array of {len(found)}"
    if found is None or isinstance(found, bool):
        return json.dumps(found)
    return shown(found)
