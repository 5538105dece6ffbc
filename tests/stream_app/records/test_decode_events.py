"""Tests of decoding events: which are taken, and which code and sentence the others get."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # its stubs are another package

from stream_app.records import EVENT_TYPES, Event, EventLimits, decode_events, json_schemas
from stream_app.records.event import FIRST_TIME_MS
from tests.stream_app.records import samples
from tests.stream_app.records.samples import LIMITS, NOW_MS, FakeRecord, event_record, event_text

LAST_MS = NOW_MS + LIMITS.max_future_ms
SCHEMA = Draft202012Validator(json_schemas()["event"])


def decoded(record: FakeRecord, limits: EventLimits = LIMITS) -> Event | tuple[str, str]:
    """Decode one record: the event, or code and reason."""
    out = decode_events([record], now_ms=NOW_MS, limits=limits)
    if out.events:
        assert (out.index, out.rejections) == ([0], [])
        return out.events[0]
    (rejection,) = out.rejections
    assert rejection.index == 0
    return rejection.code, rejection.reason


BAD = {
    "null value": (FakeRecord(None), "empty", "no value"),
    "no bytes": (event_record(b""), "empty", "no value"),
    "too many bytes": (event_record(b"x" * 4_001), "oversized", "4001 bytes, more than max_record_bytes (4000)"),
    "not UTF-8": (event_record(event_text().replace(b"ada", b"\xff")), "not_utf8", "byte 43"),
    "not UTF-8 in an unknown field": (event_record(event_text(x='"?"').replace(b"?", b"\xff")), "not_utf8", "byte"),
    "UTF-16": (event_record(event_text().decode().encode("utf-16")), "not_utf8", "byte 0"),
    "half a surrogate pair": (event_record(event_text(session_id='"\\ud800"')), "not_utf8", "stands alone"),
    "the other half": (event_record(event_text(x='"\\uDC00 and more"')), "not_utf8", "stands alone"),
    "half a pair in the type": (event_record(event_text(type='"\\ud800 and more"')), "not_utf8", "stands alone"),
    "no JSON": (event_record(b"hello"), "not_json", "Expecting value"),
    "cut off": (event_record(event_text()[:-1]), "not_json", "char"),
    "two values": (event_record(event_text() * 2), "not_json", "Extra data"),
    "byte order mark": (event_record(b"\xef\xbb\xbf" + event_text()), "not_json", "BOM"),
    "single quotes": (event_record(event_text().replace(b'"', b"'")), "not_json", "double quotes"),
    "line break in a string": (event_record(event_text(session_id='"a\nb"')), "not_json", "control character"),
    "nesting bomb": (event_record(event_text(x="[" * 1_900 + "]" * 1_900)), "not_json", "nested too deeply"),
    "open nesting bomb": (event_record(b"[" * 4_000), "wrong_type", "JSON object"),
    "nesting bomb in a field": (event_record(event_text(value="[" * 1_900 + "]" * 1_900)), "wrong_type", "value must"),
    "no object": (event_record(b"[1,2]"), "wrong_type", "must be a JSON object; expected `object`, got `array`"),
    "null": (event_record(b"null"), "wrong_type", "got `null`"),
    "no event_id": (event_record(event_id=...), "missing_field", "event: the field event_id is missing"),
    "no type": (event_record(type=...), "missing_field", "event 'e-1': the field type is missing"),
    "no user_id": (event_record(user_id=...), "missing_field", "field user_id"),
    "no event_time_ms": (event_record(event_time_ms=...), "missing_field", "field event_time_ms"),
    "no item_id": (event_record(item_id=...), "missing_field", "a view needs the field item_id"),
    "null item_id": (event_record(item_id=None), "missing_field", "a view needs the field item_id"),
    "rating without value": (event_record(type="rating"), "missing_field", "a rating needs the field value"),
    "number as id": (event_record(user_id=7), "wrong_type", "event 'e-1': user_id must be str, got 7"),
    "string as time": (event_record(event_time_ms="2025-11-24"), "wrong_type", "must be int, got '2025-11-24'"),
    "date as time": (event_record(event_time_ms="2023-11-14T22:13:20Z"), "wrong_type", "; write milliseconds since"),
    "digits as time": (event_record(event_time_ms="1764000000000"), "wrong_type", "; write it without quotes"),
    "whole float as time": (event_record(event_text(event_time_ms="1.7e12")), "wrong_type", "without point and exp"),
    "bool as time": (event_record(event_time_ms=True), "wrong_type", "event_time_ms must be int, got true"),
    "object as value": (event_record(value={"a": 1}), "wrong_type", "value must be float | null, got an object"),
    "array as value": (event_record(value=[1, 2]), "wrong_type", "got an array of 2"),
    "null as type": (event_record(type=None), "wrong_type", "type must be str, got null"),
    "unknown type": (event_record(type="bought"), "unknown_type", "view, click, favorite, cart, purchase"),
    "upper case type": (event_record(type="View"), "unknown_type", "got 'View'"),
    "type that reads like another error": (event_record(type="Object missing required field"), "unknown_type", "type"),
    "empty event_id": (event_record(event_id=""), "empty_id", "event: event_id must be str of length >= 1, got ''"),
    "empty user_id": (event_record(user_id="", key=b""), "empty_id", "user_id"),
    "empty item_id": (event_record(item_id=""), "empty_id", "item_id"),
    "long event_id": (event_record(event_id="x" * 41), "id_too_long", "event_id must have at most 40 bytes"),
    "long user_id": (event_record(user_id="é" * 21, key=("é" * 21).encode()), "id_too_long", "got 42"),
    "long item_id": (event_record(item_id="x" * 41), "id_too_long", "item_id"),
    "long session_id": (event_record(session_id="x" * 41), "id_too_long", "session_id"),
    "long in bytes only": (event_record(session_id="𝄞" * 11), "id_too_long", "session_id must have at most 40"),
    "long slate_id": (event_record(slate_id="x" * 41), "id_too_long", "slate_id"),
    "no stars": (event_record(type="rating", value=0.99), "bad_value", "must be 1 to 5, got 0.99"),
    "six stars": (event_record(type="rating", value=6), "bad_value", "must be 1 to 5, got 6.0"),
    "no pieces": (event_record(type="purchase", value=0), "bad_value", "must be above 0, got 0.0"),
    "minus one piece": (event_record(type="purchase", value=-1), "bad_value", "must be above 0, got -1.0"),
    "NaN": (event_record(value=float("nan")), "bad_value", "NaN is no JSON number"),
    "Infinity": (event_record(value=float("inf")), "bad_value", "Infinity is no JSON number"),
    "-Infinity": (event_record(value=float("-inf")), "bad_value", "-Infinity is no JSON number"),
    "NaN in an unknown field": (event_record(x=float("nan")), "bad_value", "NaN is no JSON number"),
    "more than a double": (event_record(event_text(value="1e400")), "bad_value", "value must be a number within range"),
    "negative position": (event_record(position=-1), "bad_value", "position must be int >= 0, got -1"),
    "huge position": (event_record(position=2**31), "bad_value", "position must be int <= 2147483647"),
    "1999": (event_record(event_time_ms=FIRST_TIME_MS - 1), "bad_time", ">= 946684800000, got 946684799999"),
    "day of the month": (
        event_record(event_time_ms=20231114),
        "bad_time",
        "; 946684800000 is the beginning of the year",
    ),
    "seconds": (event_record(event_time_ms=NOW_MS // 1000), "bad_time", "got 1764000000; milliseconds are wanted"),
    "microseconds": (event_record(event_time_ms=NOW_MS * 1000), "bad_time", "max_future_ms"),
    "just too late": (event_record(event_time_ms=LAST_MS + 1), "bad_time", f"got {LAST_MS + 1}"),
    "time of 30 digits": (event_record(event_time_ms=10**30), "bad_time", "got 1000000"),
    "time of 400 digits": (event_record(event_text(event_time_ms="9" * 400)), "bad_time", "more than 80 digits"),
    "time of minus 400 digits": (event_record(event_text(event_time_ms="-" + "9" * 400)), "bad_time", "than 80 digits"),
    "no key": (
        event_record(key=None),
        "key_mismatch",
        "so that all of a user's events meet in one partition; got no k",
    ),
    "empty key": (event_record(key=b""), "key_mismatch", "the key must be the user_id"),
    "another's key": (event_record(key=b"bob"), "key_mismatch", "got 'bob'"),
    "key that is not UTF-8": (event_record(key=b"\xff\xfe"), "key_mismatch", r"got '\\xff\\xfe'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_event_gets_its_code(name: str) -> None:
    """Each kind of bad event gets one code, and a sentence that says what is wrong."""
    record, code, words = BAD[name]
    got = decoded(record)
    assert isinstance(got, tuple), got
    assert got[0] == code
    assert words in got[1]


BEYOND_SCHEMAS = {"whole float as time", "more than a double"}
REFUSED_BY_SCHEMA = [
    name
    for name, (record, code, _) in BAD.items()
    if code in samples.SCHEMA_CODES and samples.parsed(record) is not ... and name not in BEYOND_SCHEMAS
]


@pytest.mark.parametrize("name", REFUSED_BY_SCHEMA)
def test_schema_refuses_bad_fields(name: str) -> None:
    """What decoding refuses for its fields, the schema refuses, too."""
    assert not SCHEMA.is_valid(samples.parsed(BAD[name][0]))


GOOD = {
    "the least": event_record(),
    "first moment": event_record(event_time_ms=FIRST_TIME_MS),
    "last moment": event_record(event_time_ms=LAST_MS),
    "purchase of unknown quantity": event_record(type="purchase"),
    "half a pound": event_record(type="purchase", value=0.5),
    "one star": event_record(type="rating", value=1),
    "five stars": event_record(type="rating", value=5.0),
    "forget": event_record(type="forget", item_id=...),
    "forget with null": event_record(type="forget", item_id=None),
    "forget with an item": event_record(type="forget"),
    "nulls": event_record(value=None, session_id=None, slate_id=None, position=None),
    "empty session": event_record(session_id="", slate_id=""),
    "unknown fields": event_record(colour="red", nested={"a": [1, {"b": None}]}),
    "largest ids": event_record(event_id="é" * 20, item_id="x" * 40, session_id="𝄞" * 10, slate_id="x" * 40),
    "largest record": event_record(event_text() + b" " * (4_000 - len(event_text()))),
    "white space": event_record(b" \n\t" + event_text() + b"\r\n"),
    "value that is not looked at": event_record(type="view", value=-7),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_event_is_taken(name: str) -> None:
    """What keeps to the rules, if only just, is taken."""
    assert isinstance(decoded(GOOD[name]), Event)
    SCHEMA.validate(samples.parsed(GOOD[name]))


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_type_is_taken(kind: str) -> None:
    """Each type of the design decodes to an event of that type."""
    event = decoded(event_record(type=kind, value=3))
    assert isinstance(event, Event)
    assert event.type == kind


def test_last_of_duplicate_fields_counts() -> None:
    """A field given twice has its last value, and the key must match that."""
    raw = event_text()[:-1] + b',"user_id":"bob"}'
    event = decoded(event_record(raw, key=b"bob"))
    assert isinstance(event, Event)
    assert event.user_id == "bob"
    assert decoded(event_record(raw, key=b"ada"))[0] == "key_mismatch"  # type: ignore[index] # a rejection


def test_surrogate_pair_is_one_character() -> None:
    """An escaped pair of surrogates is the character it stands for, and the key is its UTF-8."""
    event = decoded(event_record(event_text(user_id='"\\ud83d\\ude00"'), key="😀".encode()))
    assert isinstance(event, Event)
    assert event.user_id == "😀"


def test_reasons_stay_short() -> None:
    """However long what arrived is, and whatever is in it, the sentence can be shown."""
    for record in (
        event_record(event_id="\x1b[2J" * 9, type="x" * 3_000),
        event_record(event_id="x" * 3_000),
        event_record(key=b"\x00\xff" * 3_000),
        event_record(event_text(event_time_ms="9" * 3_900)),
    ):
        got = decoded(record)
        assert isinstance(got, tuple)
        assert len(got[1]) < 400
        assert got[1].isprintable()


# Hypothesis raises the limit on nesting, so that the bomb would go through.
SHALLOW = [name for name in BAD if name != "nesting bomb"]


@given(
    events=st.lists(samples.events(), max_size=5), bad=st.lists(st.sampled_from(SHALLOW), max_size=5), data=st.data()
)
def test_neighbours_are_unaffected(events: list[Event], bad: list[str], data: st.DataObject) -> None:
    """Good and bad records in any order: each good one comes out as it went in, each bad one with its own code."""
    good = [FakeRecord(msgspec.json.encode(event), event.user_id.encode()) for event in events]
    where = data.draw(st.permutations(range(len(good) + len(bad))))
    things = [*good, *(BAD[name][0] for name in bad)]
    out = decode_events([things[k] for k in where], now_ms=NOW_MS, limits=LIMITS)
    assert out.index == [at for at, k in enumerate(where) if k < len(good)]
    assert out.events == [events[k] for k in where if k < len(good)]
    assert [(r.index, r.code) for r in out.rejections] == [
        (at, BAD[bad[k - len(good)]][1]) for at, k in enumerate(where) if k >= len(good)
    ]


@given(samples.events())
def test_event_round_trips(event: Event) -> None:
    """An encoded event decodes to itself, and keeps to the JSON Schema."""
    raw = msgspec.json.encode(event)
    assert decoded(FakeRecord(raw, event.user_id.encode())) == event
    SCHEMA.validate(json.loads(raw))


@given(samples.shaken(samples.EVENT, Event.__struct_fields__))
def test_schema_and_decoding_agree(fields: dict[str, object]) -> None:
    """What decoding takes is just what the schema takes, apart from times in the future."""
    user_id = fields.get("user_id")
    key = user_id.encode() if isinstance(user_id, str) else b""
    raw = json.dumps(fields).encode()
    valid = SCHEMA.is_valid(fields)
    time_ms = fields.get("event_time_ms")
    early = not isinstance(time_ms, int) or time_ms <= LAST_MS
    assert isinstance(decoded(FakeRecord(raw, key)), Event) == (valid and early)
