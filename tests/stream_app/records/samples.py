"""Records to test with: good ones, ones that are wrong in a known way, and strategies that make either."""

import json
import random
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from stream_app.records import CatalogEntry, Event, EventLimits
from stream_app.records.event import EVENT_TYPES, FIRST_TIME_MS, LAST_POSITION

NOW_MS = 1_764_000_000_000
LIMITS = EventLimits(max_future_ms=60_000, max_id_bytes=40, max_record_bytes=4_000)
EVENT: dict[str, Any] = {
    "event_id": "e-1",
    "type": "view",
    "user_id": "ada",
    "item_id": "cheese",
    "event_time_ms": NOW_MS - 5,
}
ENTRY: dict[str, Any] = {"item_id": "cheese", "category": ["GROCERY", "CHEESE"]}


@dataclass(frozen=True)
class FakeRecord:
    """A record as a consumer gives it."""

    value: bytes | None
    key: bytes | None = b"ada"
    topic: str = "events"
    partition: int = 3
    offset: int = 41
    timestamp: int = NOW_MS
    headers: tuple[tuple[str, bytes], ...] = ()


def event_record(raw: bytes | None = None, *, key: bytes | None = b"ada", **fields: Any) -> FakeRecord:
    """Return a good event with other fields, or with other bytes; a field given as ``...`` is left out."""
    return FakeRecord(_json(EVENT, fields) if raw is None else raw, key)


def entry_record(raw: bytes | None = None, *, key: bytes | None = b"cheese", **fields: Any) -> FakeRecord:
    """Return a good catalogue entry with other fields, or with other bytes; a field given as ``...`` is left out."""
    return FakeRecord(_json(ENTRY, fields) if raw is None else raw, key, topic="catalog")


def event_text(**tokens: str) -> bytes:
    """Return a good event in which fields have been given as JSON text, which need not be JSON."""
    return _text(EVENT, tokens)


def entry_text(**tokens: str) -> bytes:
    """Return a good catalogue entry in which fields have been given as JSON text, which need not be JSON."""
    return _text(ENTRY, tokens)


def _json(good: dict[str, Any], fields: dict[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in {**good, **fields}.items() if v is not ...}, ensure_ascii=False).encode()


def _text(good: dict[str, Any], tokens: dict[str, str]) -> bytes:
    texts = {**{name: json.dumps(thing) for name, thing in good.items()}, **tokens}
    return ("{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items()) + "}").encode()


SCHEMA_CODES = {"missing_field", "wrong_type", "unknown_type", "empty_id", "bad_value"}
"""Codes of what a JSON Schema can tell, once a value is JSON."""


def parsed(record: FakeRecord) -> Any:
    """Return the value as any JSON parser gives it; ``...`` if it is no JSON, or not to all parsers."""
    constants: list[str] = []
    try:
        found = json.loads(record.value or b"", parse_constant=constants.append)
    except (ValueError, RecursionError):
        return ...
    return ... if constants else found


ids = st.text(min_size=1, max_size=10)
optional_texts = st.none() | st.text(max_size=10)
finite = st.floats(allow_nan=False, allow_infinity=False)
_values = {"rating": st.floats(1.0, 5.0), "purchase": st.none() | st.floats(0.0, 1e300, exclude_min=True)}


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Draw an event that keeps to all rules under ``LIMITS``."""
    kind = draw(st.sampled_from(EVENT_TYPES))
    return Event(
        event_id=draw(ids),
        type=kind,  # type: ignore[arg-type] # sampled from a tuple of str
        user_id=draw(ids),
        event_time_ms=draw(st.integers(FIRST_TIME_MS, NOW_MS + LIMITS.max_future_ms)),
        item_id=draw(ids | st.none() if kind == "forget" else ids),
        value=draw(_values.get(kind, st.none() | finite)),
        session_id=draw(optional_texts),
        slate_id=draw(optional_texts),
        position=draw(st.none() | st.integers(0, LAST_POSITION)),
    )


entries = st.builds(
    CatalogEntry,
    item_id=ids,
    category=st.lists(ids, max_size=5),
    brand=optional_texts,
    price=st.none() | st.floats(0.0, allow_infinity=False),
    title=optional_texts,
    rating=st.none() | st.floats(1.0, 5.0),
    n_sold=st.none() | st.integers(0, 2**53),
    available=st.booleans(),
    tags=st.none() | st.lists(st.text(max_size=10), max_size=5),
    embedding=st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=5),
)

_odd_values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 6)
    | st.integers()
    | st.floats(-2, 6).filter(lambda x: not x.is_integer())
    | st.text(max_size=3)
    | st.lists(st.integers() | st.text(max_size=2), max_size=3)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
)


def shaken(good: dict[str, Any], names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of good records in which some fields are gone, strange or new."""
    changes = st.dictionaries(st.sampled_from(names) | st.text(max_size=3), _odd_values, max_size=3)
    gone = st.sets(st.sampled_from(names), max_size=1)
    return st.builds(lambda new, old: {k: v for k, v in {**good, **new}.items() if k not in old}, changes, gone)


HOSTILE_TOKENS = (
    "NaN", "-Infinity", "Infinity", "1e400", "-1e400", "1e39", "1.0", "-1", "0", "-0.0", "5.01", "00", "+1", ".5",
    "9" * 30, "9" * 400, "9" * 5_000, "-" + "9" * 30, "true", "null", "[]", "{}", '""', '" "', '"view"', '"purchase"',
    '"rating"', '"forget"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\x00"',
    '"' + "x" * 50 + '"', '"' + "é" * 25 + '"', '"' + "x" * 5_000 + '"', "[" * 900, "[" * 1_900 + "]" * 1_900,
    '{"a":' * 600 + "1" + "}" * 600, "[1,2", '["a","",3]', '["a"]', "[NaN]", "[1e39]", "'a'", "/* */1", "undefined",
    "\ufeff", "1764000000000", "1764000000000.0", "17640000000000", "946684799999",
)  # fmt: skip
"""Texts to put where a value belongs: some are JSON, some nearly, some are meant to hurt."""

_HOSTILE_BYTES = (
    b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x00", b"\xef\xbb\xbf", b'"', b"\\", b"{",
)  # fmt: skip


def _cut(value: bytes, rng: random.Random) -> bytes | None:
    return value[: rng.randrange(len(value))]


def _splice(value: bytes, rng: random.Random) -> bytes | None:
    at = rng.randrange(len(value))
    return value[:at] + rng.choice(_HOSTILE_BYTES) + value[at + rng.randrange(2) :]


def _flip(value: bytes, rng: random.Random) -> bytes | None:
    at = rng.randrange(len(value))
    return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]


def _noise(_value: bytes, rng: random.Random) -> bytes | None:
    return rng.randbytes(rng.randrange(40))


def _append(value: bytes, rng: random.Random) -> bytes | None:
    return value + rng.choice((b" ", b"}", b"\n{}", b" " * 5_000, value))


def _replace(value: bytes, rng: random.Random) -> bytes | None:
    return rng.choice((None, b"", b"null", b"[]", b"7", b'"a"', b"\xef\xbb\xbf" + value))


_MUTATIONS = (_cut, _splice, _flip, _noise, _append, _replace)


def mutate(record: FakeRecord, good: dict[str, Any], names: tuple[str, ...], rng: random.Random) -> FakeRecord:
    """Return a record that is wrong somewhere, most of the time: in its key, fields, a value's text or its bytes."""
    lot = rng.random()
    if lot < 0.1:
        return replace(record, key=rng.choice((None, b"", b"\xff", b"another", (record.key or b"") + b" ")))
    if lot < 0.2:
        return replace(record, value=_json({name: good[name] for name in good if rng.random() > 1 / len(good)}, {}))
    if lot < 0.5:
        return replace(record, value=_text(good, {rng.choice((*names, "new")): rng.choice(HOSTILE_TOKENS)}))
    return replace(record, value=rng.choice(_MUTATIONS)(record.value or b"", rng))
