"""Decoding and validation of events and catalogue entries, in batches: one bad record never costs its neighbours.

The fast path is one call of msgspec and a few comparisons; only a record that msgspec refuses is looked at again, in
:mod:`stream_app.records.diagnose`, to name why.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from stream_app.decoding import UNREADABLE
from stream_app.records.catalog import CatalogEntry
from stream_app.records.diagnose import BadRecordError, diagnose, shown
from stream_app.records.event import FEWEST_STARS, FIRST_TIME_MS, MOST_STARS, Event
from stream_app.records.limits import EventLimits
from stream_app.records.reject import KafkaRecord, Rejection

_MOST_BYTES_PER_CHARACTER = 4
_Record = TypeVar("_Record", Event, CatalogEntry)

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

    Returns
    -------
    DecodedEvents
        Each record once: as an event, or as a rejection with one code of
        :data:`~stream_app.records.REJECT_CODES`, that of the first thing found wrong.
    """
    out = DecodedEvents()
    last_ms = now_ms + limits.max_future_ms
    for index, record in enumerate(records):
        try:
            event = _decode_event(record, last_ms, limits)
        except BadRecordError as bad:
            out.rejections.append(Rejection(index, bad.code, bad.reason))
        else:
            out.events.append(event)
            out.index.append(index)
    return out


def decode_catalog(records: Sequence[KafkaRecord], *, limits: EventLimits) -> DecodedCatalog:
    """Decode and validate a batch of catalogue records; never raises for what is in a record.

    Parameters
    ----------
    records
        Consumed records, in their order; one without a value is a tombstone and removes the item that its key names.
    limits
        What a record may be at most.

    Returns
    -------
    DecodedCatalog
        Each record once: as an entry or tombstone, or as a rejection with one code of
        :data:`~stream_app.records.REJECT_CODES`, that of the first thing found wrong.
    """
    out = DecodedCatalog()
    for index, record in enumerate(records):
        try:
            out.entries.append(_decode_entry(record, limits))
        except BadRecordError as bad:
            out.rejections.append(Rejection(index, bad.code, bad.reason))
    return out


def _decode_event(record: KafkaRecord, last_ms: int, limits: EventLimits) -> Event:
    value = record.value
    if not value:
        raise BadRecordError("empty", "event: the record has no value")
    event = _decode_json(_event_decoder, "event", value, limits)
    kind = event.type
    if event.item_id is None and kind != "forget":
        raise BadRecordError("missing_field", f"{_name(event)}: a {kind} needs the field item_id")
    _check_ids(event, limits)
    if kind in {"rating", "purchase"}:
        _check_value(event)
    if event.event_time_ms > last_ms:
        wanted = f"from {FIRST_TIME_MS} (the year 2000) to {last_ms} (max_future_ms after now)"
        reason = f"{_name(event)}: event_time_ms must be {wanted}, got {shown(event.event_time_ms)}"
        raise BadRecordError("bad_time", reason)
    if record.key != event.user_id.encode():
        raise _key_mismatch(event, "user_id", record.key, "all of a user's events meet in one partition")
    return event


def _check_ids(event: Event, limits: EventLimits) -> None:
    # Most ids are so short that they fit whatever their characters are; only a longer one is measured.
    certain = limits.max_id_bytes // _MOST_BYTES_PER_CHARACTER
    if len(event.event_id) > certain:
        _check_length(event, "event_id", event.event_id, limits)
    if len(event.user_id) > certain:
        _check_length(event, "user_id", event.user_id, limits)
    if event.item_id is not None and len(event.item_id) > certain:
        _check_length(event, "item_id", event.item_id, limits)
    if event.session_id is not None and len(event.session_id) > certain:
        _check_length(event, "session_id", event.session_id, limits)
    if event.slate_id is not None and len(event.slate_id) > certain:
        _check_length(event, "slate_id", event.slate_id, limits)


def _check_value(event: Event) -> None:
    value = event.value
    if event.type == "rating":
        if value is None:
            raise BadRecordError("missing_field", f"{_name(event)}: a rating needs the field value, 1 to 5 stars")
        if not FEWEST_STARS <= value <= MOST_STARS:
            raise BadRecordError("bad_value", f"{_name(event)}: the value of a rating must be 1 to 5, got {value}")
    elif value is not None and value <= 0.0:
        raise BadRecordError("bad_value", f"{_name(event)}: the value of a purchase must be above 0, got {value}")


def _decode_entry(record: KafkaRecord, limits: EventLimits) -> tuple[str, CatalogEntry | None]:
    value = record.value
    if value is None:
        return _tombstone(record, limits), None
    if not value:
        raise BadRecordError("empty", "catalogue entry: the value has no bytes; to remove an item, send a null value")
    entry = _decode_json(_catalog_decoder, "catalogue entry", value, limits)
    certain = limits.max_id_bytes // _MOST_BYTES_PER_CHARACTER
    if len(entry.item_id) > certain:
        _check_length(entry, "item_id", entry.item_id, limits)
    for level in entry.category:
        if len(level) > certain:
            _check_length(entry, "a level of category", level, limits)
    if record.key != entry.item_id.encode():
        raise _key_mismatch(entry, "item_id", record.key, "compaction keeps the newest entry of each item")
    return entry.item_id, entry


def _tombstone(record: KafkaRecord, limits: EventLimits) -> str:
    where = "catalogue tombstone"
    if not record.key:
        raise BadRecordError("key_mismatch", f"{where}: it has no key and so removes nothing; the key is the item_id")
    if len(record.key) > limits.max_id_bytes:
        raise _too_long(where, "key", len(record.key), limits)
    try:
        return record.key.decode()
    except UnicodeDecodeError as error:
        raise BadRecordError("not_utf8", f"{where}: the key is not UTF-8 at byte {error.start}") from error


def _decode_json(decoder: msgspec.json.Decoder[_Record], what: str, value: bytes, limits: EventLimits) -> _Record:
    if len(value) > limits.max_record_bytes:
        reason = f"{what}: the value has {len(value)} bytes, more than max_record_bytes ({limits.max_record_bytes})"
        raise BadRecordError("oversized", reason)
    if not value.isascii():  # msgspec looks at the bytes of those strings only that it keeps
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise BadRecordError("not_utf8", f"{what}: the value is not UTF-8 at byte {error.start}") from error
    try:
        return decoder.decode(value)
    except UNREADABLE as error:
        raise diagnose(what, value, error) from error


def _name(record: Event | CatalogEntry) -> str:
    if isinstance(record, Event):
        return f"event {shown(record.event_id)}"
    return f"catalogue entry {shown(record.item_id)}"


def _check_length(record: Event | CatalogEntry, name: str, text: str, limits: EventLimits) -> None:
    n_bytes = len(text.encode())
    if n_bytes > limits.max_id_bytes:
        raise _too_long(_name(record), name, n_bytes, limits)


def _too_long(where: str, name: str, n_bytes: int, limits: EventLimits) -> BadRecordError:
    reason = f"{where}: {name} must have at most {limits.max_id_bytes} bytes of UTF-8 (max_id_bytes), got {n_bytes}"
    return BadRecordError("id_too_long", reason)


def _key_mismatch(record: Event | CatalogEntry, name: str, key: bytes | None, why: str) -> BadRecordError:
    got = "no key" if key is None else shown(key.decode("utf-8", "backslashreplace"))
    return BadRecordError("key_mismatch", f"{_name(record)}: the key must be the {name}, so that {why}; got {got}")
