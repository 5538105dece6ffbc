"""Tests of decoding catalogue entries: which are taken, and which code and sentence the others get."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # its stubs are another package

from stream_app.records import CatalogEntry, decode_catalog, json_schemas
from tests.stream_app.records import samples
from tests.stream_app.records.samples import LIMITS, FakeRecord, entry_record, entry_text

SCHEMA = Draft202012Validator(json_schemas()["catalog"])


def decoded(record: FakeRecord) -> tuple[str, CatalogEntry | None] | str:
    """Decode one record: item id and entry, or ``code: reason``."""
    out = decode_catalog([record], limits=LIMITS)
    if out.entries:
        assert out.rejections == []
        return out.entries[0]
    (rejection,) = out.rejections
    assert rejection.index == 0
    return f"{rejection.code}: {rejection.reason}"


BAD = {
    "no bytes": (entry_record(b""), "empty", "to remove an item, send a null value"),
    "too many bytes": (entry_record(title="x" * 4_000), "oversized", "more than max_record_bytes (4000)"),
    "not UTF-8": (entry_record(entry_text(title='"?"').replace(b"?", b"\xff")), "not_utf8", "not UTF-8 at byte"),
    "half a surrogate pair": (entry_record(entry_text(tags='["\\udc00"]')), "not_utf8", "stands alone"),
    "no JSON": (entry_record(b"{'item_id'}"), "not_json", "double quotes"),
    "no object": (entry_record(b"7"), "wrong_type", "got `int`"),
    "no item_id": (entry_record(item_id=...), "missing_field", "catalogue entry: the field item_id is missing"),
    "no category": (entry_record(category=...), "missing_field", "catalogue entry 'cheese': the field category"),
    "category as text": (entry_record(category="GROCERY"), "wrong_type", "category must be array, got 'GROCERY'"),
    "list of Python": (
        entry_record(category="['A', 'B']"),
        "wrong_type",
        """; write ["Food", "Dairy"], or Food|Dairy in""",
    ),
    "tags as text": (entry_record(tags="new"), "wrong_type", '; write ["chilled", "new"], or'),
    "embedding as text": (entry_record(embedding="0.1"), "wrong_type", "; write [0.1, 0.2], or"),
    "number as level": (entry_record(category=["A", 7]), "wrong_type", "category[1] must be str, got 7"),
    "number as available": (entry_record(available=1), "wrong_type", "available must be bool, got 1"),
    "float as n_sold": (entry_record(n_sold=12.0), "wrong_type", "without point and exponent), got 12.0"),
    "text as price": (entry_record(price="9.99"), "wrong_type", "price must be float | null, got '9.99'"),
    "text in embedding": (entry_record(embedding=[1, "x"]), "wrong_type", "embedding[1] must be float, got 'x'"),
    "empty item_id": (entry_record(item_id="", key=b""), "empty_id", "item_id"),
    "empty level": (entry_record(category=["A", ""]), "empty_id", "category[1] must be str of length >= 1, got ''"),
    "long item_id": (entry_record(item_id="x" * 41, key=b"x" * 41), "id_too_long", "at most 40 bytes"),
    "long level": (entry_record(category=["é" * 21]), "id_too_long", "a level of category must have at most 40 bytes"),
    "many levels": (entry_record(category=["x"] * 33), "bad_value", "array of length <= 32, got an array of 33"),
    "negative price": (entry_record(price=-0.01), "bad_value", "price must be float >= 0.0, got -0.01"),
    "price of NaN": (entry_record(price=float("nan")), "bad_value", "NaN is no JSON number"),
    "price without end": (entry_record(entry_text(price="1e999")), "bad_value", "price must be a number within range"),
    "no stars": (entry_record(rating=0), "bad_value", "rating must be float >= 1.0, got 0"),
    "six stars": (entry_record(rating=6), "bad_value", "rating must be float <= 5.0, got 6"),
    "minus one sold": (entry_record(n_sold=-1), "bad_value", "n_sold must be int >= 0, got -1"),
    "too many sold": (entry_record(n_sold=2**53 + 1), "bad_value", "n_sold must be int <= 9007199254740992"),
    "n_sold of 400 digits": (entry_record(entry_text(n_sold="9" * 400)), "bad_value", "more than 80 digits"),
    "more than a 32-bit float": (entry_record(embedding=[0, -1e39]), "bad_value", "embedding[1] must be float >="),
    "no key": (
        entry_record(key=None),
        "key_mismatch",
        "so that compaction keeps the newest entry of each item; got no",
    ),
    "another's key": (entry_record(key=b"bread"), "key_mismatch", "the key must be the item_id"),
    "tombstone without key": (FakeRecord(None, None), "key_mismatch", "removes nothing"),
    "tombstone with empty key": (FakeRecord(None, b""), "key_mismatch", "removes nothing"),
    "tombstone whose key is not UTF-8": (FakeRecord(None, b"a\xff"), "not_utf8", "the key is not UTF-8 at byte 1"),
    "tombstone with a long key": (FakeRecord(None, b"x" * 41), "id_too_long", "key must have at most 40 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_entry_gets_its_code(name: str) -> None:
    """Each kind of bad entry gets one code, and a sentence that says what is wrong."""
    record, code, words = BAD[name]
    got = decoded(record)
    assert isinstance(got, str), got
    assert got.startswith(f"{code}: ")
    assert words in got


BEYOND_SCHEMAS = {"float as n_sold", "price without end"}
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
    "the least": entry_record(),
    "no category": entry_record(category=[]),
    "32 levels": entry_record(category=["é" * 20] * 32),
    "nulls": entry_record(brand=None, price=None, title=None, rating=None, n_sold=None, tags=None, embedding=None),
    "bounds": entry_record(price=0, rating=5, n_sold=2**53, embedding=[3.4028235e38, -3.4028235e38]),
    "unknown fields": entry_record(colour="red", nested={"a": [None]}),
    "long title": entry_record(title="x" * 3_000),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_entry_is_taken(name: str) -> None:
    """What keeps to the rules, if only just, is taken."""
    got = decoded(GOOD[name])
    assert not isinstance(got, str), got
    assert got[1] is not None
    SCHEMA.validate(samples.parsed(GOOD[name]))


def test_tombstone_removes_the_item_of_its_key() -> None:
    """A null value names the item by its key alone."""
    assert decoded(FakeRecord(None, "käse".encode())) == ("käse", None)


def test_order_is_kept() -> None:
    """Entries and tombstones of one item come out in the order in which they came in."""
    records = [entry_record(price=1), FakeRecord(None, b"cheese"), entry_record(b"?"), entry_record(price=2)]
    out = decode_catalog(records, limits=LIMITS)
    assert [(item, entry and entry.price) for item, entry in out.entries] == [
        ("cheese", 1.0),
        ("cheese", None),
        ("cheese", 2.0),
    ]
    assert [r.index for r in out.rejections] == [2]


@given(
    entries=st.lists(samples.entries, max_size=4),
    bad=st.lists(st.sampled_from(sorted(BAD)), max_size=4),
    data=st.data(),
)
def test_neighbours_are_unaffected(entries: list[CatalogEntry], bad: list[str], data: st.DataObject) -> None:
    """Good and bad records in any order: each good one comes out as it went in, each bad one with its own code."""
    good = [FakeRecord(msgspec.json.encode(entry), entry.item_id.encode()) for entry in entries]
    where = data.draw(st.permutations(range(len(good) + len(bad))))
    things = [*good, *(BAD[name][0] for name in bad)]
    out = decode_catalog([things[k] for k in where], limits=LIMITS)
    assert [entry for _, entry in out.entries] == [entries[k] for k in where if k < len(good)]
    assert [(r.index, r.code) for r in out.rejections] == [
        (at, BAD[bad[k - len(good)]][1]) for at, k in enumerate(where) if k >= len(good)
    ]


@given(samples.entries)
def test_entry_round_trips(entry: CatalogEntry) -> None:
    """An encoded entry decodes to itself, and keeps to the JSON Schema."""
    raw = msgspec.json.encode(entry)
    assert decoded(FakeRecord(raw, entry.item_id.encode())) == (entry.item_id, entry)
    SCHEMA.validate(json.loads(raw))


@given(samples.shaken(samples.ENTRY, CatalogEntry.__struct_fields__))
def test_schema_and_decoding_agree(fields: dict[str, object]) -> None:
    """What decoding takes is just what the schema takes."""
    item_id = fields.get("item_id")
    key = item_id.encode() if isinstance(item_id, str) else b""
    taken = not isinstance(decoded(FakeRecord(json.dumps(fields).encode(), key)), str)
    assert taken == SCHEMA.is_valid(fields)
