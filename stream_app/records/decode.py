"""Decoding and validation of events and catalogue entries, in batches: one bad record never costs its neighbours.

The fast path is one call of msgspec and a few comparisons; only a record that fails is looked at again to name why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream_app.records.catalog import CatalogEntry
from stream_app.records.event import EVENT_TYPES, Event
from stream_app.records.limits import EventLimits
from stream_app.records.reject import KafkaRecord, Rejection

FIRST_TIME_MS = 946_684_800_000
"""2000-01-01 UTC: earlier events are rejected."""
_MOST_STARS = 5.0
_SHOWN_CHARACTERS = 80

_event_decoder = msgspec.json.Decoder(Event)
_catalog_decoder = msgspec.json.Decoder(CatalogEntry)


@dataclass(slots=True)
class DecodedEvents:
    """A batch of events.

    Attributes
    ----------
    events
        The valid ones, in their order.
    index
        Position of each event in the batch.
    rejections
        The others, with why.
    """

    events: list[Event] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


@dataclass(slots=True)
class DecodedCatalog:
    """A batch of catalogue records.

    Attributes
    ----------
    entries
        Item id and entry of the valid ones, in their order; None is a tombstone.
    rejections
        The others, with why.
    """

    entries: list[tuple[str, CatalogEntry | None]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


class _BadRecordError(Exception):
    """A record is not usable; carries code and reason."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def decode_events(records: Sequence[KafkaRecord], *, now_ms: int, limits: EventLimits) -> DecodedEvents:
    """Decode and validate a batch of events; never raises for what is in a record.

    Parameters
    ----------
    records
        Consumed records, in their order.
    now_ms
        Present time, in milliseconds since 1970 UTC.
    limits
        What a record may be at most.
    """
    out = DecodedEvents()
    for index, record in enumerate(records):
        try:
            event = _decode_event(record, now_ms, limits)
        except _BadRecordError as bad:
            out.rejections.append(Rejection(index, bad.code, bad.reason))
        else:
            out.events.append(event)
            out.index.append(index)
    return out


def decode_catalog(records: Sequence[KafkaRecord], *, limits: EventLimits) -> DecodedCatalog:
    """Decode and validate a batch of catalogue records; never raises for what is in a record."""
    out = DecodedCatalog()
    for index, record in enumerate(records):
        try:
            out.entries.append(_decode_entry(record, limits))
        except _BadRecordError as bad:
            out.rejections.append(Rejection(index, bad.code, bad.reason))
    return out


def _decode_event(record: KafkaRecord, now_ms: int, limits: EventLimits) -> Event:
    value = record.value
    if value is None:
        raise _BadRecordError("empty", "event: the record has no value")
    if len(value) > limits.max_record_bytes:
        raise _oversized("event", value, limits)
    try:
        event = _event_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _why("event", value, error) from error
    where = f"event {_shown(event.event_id)}"
    _check_id(where, "event_id", event.event_id, limits)
    user = _check_id(where, "user_id", event.user_id, limits)
    if event.item_id is not None:
        _check_id(where, "item_id", event.item_id, limits)
    elif event.type != "forget":
        raise _BadRecordError("missing_field", f"{where}: a {event.type} needs the field item_id")
    if event.session_id is not None and len(event.session_id) > limits.max_id_bytes // 4:
        _check_id(where, "session_id", event.session_id, limits)
    _check_value(where, event)
    if not FIRST_TIME_MS <= event.event_time_ms <= now_ms + limits.max_future_ms:
        wanted = f"from {FIRST_TIME_MS} (2000-01-01) to {now_ms + limits.max_future_ms} (now and max_future_ms)"
        reason = f"{where}: event_time_ms must be {wanted}, got {event.event_time_ms}"
        raise _BadRecordError("bad_time", reason)
    _check_key(where, "user_id", record.key, user)
    return event


def _check_value(where: str, event: Event) -> None:
    value = event.value
    if event.type == "rating":
        if value is None:
            raise _BadRecordError("missing_field", f"{where}: a rating needs the field value, 1 to 5")
        if not 1.0 <= value <= _MOST_STARS:
            raise _BadRecordError("bad_value", f"{where}: the value of a rating must be 1 to 5, got {value}")
    elif value is not None:
        if event.type == "purchase" and not 0.0 < value < math.inf:
            raise _BadRecordError("bad_value", f"{where}: the quantity of a purchase must be above 0, got {value}")
        if not math.isfinite(value):
            raise _BadRecordError("bad_value", f"{where}: value must be finite, got {value}")
    if event.position is not None and event.position < 0:
        raise _BadRecordError("bad_value", f"{where}: position must be 0 or more, got {event.position}")


def _decode_entry(record: KafkaRecord, limits: EventLimits) -> tuple[str, CatalogEntry | None]:
    value = record.value
    if value is None:
        return _tombstone(record, limits), None
    if len(value) > limits.max_record_bytes:
        raise _oversized("catalogue entry", value, limits)
    try:
        entry = _catalog_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _why("catalogue entry", value, error) from error
    where = f"catalogue entry {_shown(entry.item_id)}"
    item = _check_id(where, "item_id", entry.item_id, limits)
    for level in entry.category:
        _check_id(where, "category", level, limits)
    for name, low, high in (("price", 0.0, math.inf), ("rating", 1.0, _MOST_STARS), ("n_sold", 0, math.inf)):
        number = getattr(entry, name)
        if number is not None and not (low <= number <= high and number != math.inf):
            raise _BadRecordError("bad_value", f"{where}: {name} must be {low} to {high}, got {number}")
    if entry.embedding is not None and not all(math.isfinite(x) for x in entry.embedding):
        raise _BadRecordError("bad_value", f"{where}: embedding must be finite")
    _check_key(where, "item_id", record.key, item)
    return entry.item_id, entry


def _tombstone(record: KafkaRecord, limits: EventLimits) -> str:
    if not record.key:
        raise _BadRecordError("key_mismatch", "catalogue tombstone: the record has no key, so it removes nothing")
    try:
        item_id = record.key.decode()
    except UnicodeDecodeError as error:
        raise _BadRecordError("not_utf8", f"catalogue tombstone: the key is not UTF-8 ({error.reason})") from error
    _check_id("catalogue tombstone", "key", item_id, limits)
    return item_id


def _check_id(where: str, name: str, text: str, limits: EventLimits) -> bytes:
    """Return the UTF-8 of an id, after making sure that it has some and not too much."""
    if not text:
        raise _BadRecordError("empty_id", f"{where}: {name} must not be empty")
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        raise _BadRecordError("not_utf8", f"{where}: {name} has no UTF-8 form ({error.reason})") from error
    if len(raw) > limits.max_id_bytes:
        reason = f"{where}: {name} must have at most {limits.max_id_bytes} bytes, got {len(raw)}"
        raise _BadRecordError("id_too_long", reason)
    return raw


def _check_key(where: str, name: str, key: bytes | None, wanted: bytes) -> None:
    if key != wanted:
        got = "no key" if key is None else f"{_shown(key.decode('utf-8', 'backslashreplace'))}"
        reason = f"{where}: the record's key must be its {name}, so that all of it meets in one partition; got {got}"
        raise _BadRecordError("key_mismatch", reason)


def _oversized(what: str, value: bytes, limits: EventLimits) -> _BadRecordError:
    reason = f"{what}: the value has {len(value)} bytes, more than max_record_bytes ({limits.max_record_bytes})"
    return _BadRecordError("oversized", reason)


def _why(what: str, value: bytes, error: Exception) -> _BadRecordError:
    """Name why msgspec refused a value."""
    try:
        value.decode()
    except UnicodeDecodeError as undecodable:
        return _BadRecordError("not_utf8", f"{what}: not UTF-8 at byte {undecodable.start}")
    if isinstance(error, RecursionError):
        return _BadRecordError("not_json", f"{what}: nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        if _has_bare_number(value):
            return _BadRecordError("bad_value", f"{what}: NaN and Infinity are no JSON numbers")
        return _BadRecordError("not_json", f"{what}: {_shown(str(error))}")
    reason = str(error)
    if "missing required field" in reason:
        return _BadRecordError("missing_field", f"{what}: {reason}")
    if "Invalid enum value" in reason:
        wanted = ", ".join(EVENT_TYPES)
        return _BadRecordError("unknown_type", f"{what}: {_shown(reason)}; wanted one of {wanted}")
    if "length >= 1" in reason:
        return _BadRecordError("empty_id", f"{what}: {reason}")
    if "out of range" in reason:
        return _BadRecordError("bad_value", f"{what}: {reason}")
    return _BadRecordError("wrong_type", f"{what}: {_shown(reason)}")


def _has_bare_number(value: bytes) -> bool:
    """Tell whether a value would be JSON but for NaN or Infinity, which Python's own encoder writes by default."""
    if b"NaN" not in value and b"Infinity" not in value:
        return False
    cleaned: Any = value.replace(b"-Infinity", b"0").replace(b"Infinity", b"0").replace(b"NaN", b"0")
    try:
        msgspec.json.decode(cleaned)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _shown(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode()
    return repr(clean if len(clean) <= _SHOWN_CHARACTERS else clean[:_SHOWN_CHARACTERS] + "…")
