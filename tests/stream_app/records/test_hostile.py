"""Tests of 10,000 random and mutated records on each topic: every one is decoded or rejected, and none does harm."""

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.records import REJECT_CODES, CatalogEntry, Event, decode_catalog, decode_events
from stream_app.records.decode import _catalog_decoder, _event_decoder
from stream_app.records.diagnose import _CODES
from tests.stream_app.records.samples import (
    ENTRY,
    EVENT,
    LIMITS,
    NOW_MS,
    FakeRecord,
    entry_record,
    entry_text,
    event_record,
    event_text,
    mutate,
)

N_RECORDS = 10_000


def mutated_events(seed: int) -> list[FakeRecord]:
    """Return events of which most are wrong."""
    rng = random.Random(seed)  # noqa: S311 - the same records each time
    full = {**EVENT, "type": "rating", "value": 4, "session_id": "s", "slate_id": "0-1", "position": 2, "x": [1, "é"]}
    goods = [EVENT, full, {**EVENT, "type": "purchase", "value": 2}, {"event_id": "f", **EVENT, "type": "forget"}]
    out = []
    for _ in range(N_RECORDS):
        good = rng.choice(goods)
        out.append(mutate(event_record(**good), good, Event.__struct_fields__, rng))
    return out


def mutated_entries(seed: int) -> list[FakeRecord]:
    """Return catalogue entries of which most are wrong."""
    rng = random.Random(seed)  # noqa: S311 - the same records each time
    full = {**ENTRY, "brand": "b", "price": 1.5, "title": "é", "rating": 4.5, "n_sold": 3, "available": False}
    goods = [ENTRY, full, {**full, "tags": ["a"], "embedding": [0.5, 1.0]}]
    out = []
    for _ in range(N_RECORDS):
        good = rng.choice(goods)
        out.append(mutate(entry_record(**good), good, CatalogEntry.__struct_fields__, rng))
    return out


def test_10_000_mutated_events() -> None:
    """Each is an event or one rejection with a known code, alone as among the others; every code comes up."""
    records = mutated_events(seed=1)
    out = decode_events(records, now_ms=NOW_MS, limits=LIMITS)
    rejected = {r.index: r for r in out.rejections}
    assert len(out.events) == len(out.index)
    assert sorted([*out.index, *rejected]) == list(range(N_RECORDS))
    assert len(out.events) > 500
    assert Counter(r.code for r in out.rejections).keys() == REJECT_CODES.keys()
    assert all(r.reason for r in out.rejections)
    for index, event in zip(out.index, out.events, strict=True):
        alone = decode_events([records[index]], now_ms=NOW_MS, limits=LIMITS)
        assert alone.events == [event]
    for index, rejection in rejected.items():
        alone = decode_events([records[index]], now_ms=NOW_MS, limits=LIMITS)
        assert [(r.code, r.reason) for r in alone.rejections] == [(rejection.code, rejection.reason)]


def test_10_000_mutated_entries() -> None:
    """Each is an entry, a tombstone or one rejection with a known code; every code of the catalogue comes up."""
    records = mutated_entries(seed=2)
    out = decode_catalog(records, limits=LIMITS)
    assert len(out.entries) + len(out.rejections) == N_RECORDS
    assert len({r.index for r in out.rejections}) == len(out.rejections)
    assert len(out.entries) > 500
    assert Counter(r.code for r in out.rejections).keys() == REJECT_CODES.keys() - {"unknown_type", "bad_time"}
    bad = {r.index for r in out.rejections}
    good = [record for k, record in enumerate(records) if k not in bad]
    assert decode_catalog(good, limits=LIMITS).entries == out.entries


def test_what_is_taken_can_be_used() -> None:
    """Ids of a taken event have UTF-8 within the limit, times and numbers are in range and finite."""
    for event in decode_events(mutated_events(seed=3), now_ms=NOW_MS, limits=LIMITS).events:
        for text in (event.event_id, event.user_id, event.item_id, event.session_id, event.slate_id):
            assert text is None or len(text.encode()) <= LIMITS.max_id_bytes
        assert event.item_id or event.type == "forget"
        assert event.event_time_ms <= NOW_MS + LIMITS.max_future_ms
        assert event.type != "rating" or 1 <= (event.value or 0) <= 5
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


@given(st.lists(st.binary(max_size=60) | st.none(), max_size=8), st.binary(max_size=4) | st.none())
def test_any_bytes_are_survived(values: list[bytes | None], key: bytes | None) -> None:
    """Whatever the bytes, each record comes out once on either topic."""
    records = [FakeRecord(value, key) for value in values]
    events = decode_events(records, now_ms=NOW_MS, limits=LIMITS)
    assert sorted([*events.index, *(r.index for r in events.rejections)]) == list(range(len(records)))
    entries = decode_catalog(records, limits=LIMITS)
    assert len(entries.entries) + len(entries.rejections) == len(records)


@given(st.text(st.characters(codec=None), max_size=8))
def test_any_escapes_are_survived(text: str) -> None:
    r"""A user id of any code points, written as ``\\u`` escapes, is taken if it has a UTF-8 form, else rejected."""
    escaped = "".join(f"\\u{unit:04x}" for unit in _utf16_units(text))
    value = event_text(user_id=f'"{escaped}"')
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    out = decode_events([FakeRecord(value, joined.encode())], now_ms=NOW_MS, limits=LIMITS)
    whole = "\ufffd" not in joined or "\ufffd" in text
    wanted = "empty_id" if not text else None if whole else "not_utf8"
    assert [r.code for r in out.rejections] == ([wanted] if wanted else [])


def _utf16_units(text: str) -> list[int]:
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[k : k + 2]) for k in range(0, len(raw), 2)]


MSGSPEC_SAYS: dict[str, tuple[msgspec.json.Decoder[Any], bytes]] = {
    "Object missing required field": (_event_decoder, b"{}"),
    "Invalid enum value": (_event_decoder, event_text(type='"x"')),
    "Integer value out of range": (_event_decoder, event_text(event_time_ms="9" * 5_000)),
    "Number out of range": (_event_decoder, event_text(value="1e999")),
    "Expected `str` of length >=": (_event_decoder, event_text(user_id='""')),
    "Expected `array` of length <=": (_catalog_decoder, entry_text(category="[" + '"x",' * 32 + '"x"]')),
    "Expected `int` >=": (_event_decoder, event_text(position="-1")),
    "Expected `int` <=": (_event_decoder, event_text(position="9999999999")),
    "Expected `float` >=": (_catalog_decoder, entry_text(price="-1")),
    "Expected `float` <=": (_catalog_decoder, entry_text(rating="6")),
    "Expected ": (_event_decoder, b"[]"),
}


def test_each_beginning_is_provoked() -> None:
    """The table of what msgspec's errors begin with has no entry that the next test leaves out."""
    assert [start for start, _ in _CODES] == list(MSGSPEC_SAYS)


@pytest.mark.parametrize("start", MSGSPEC_SAYS)
def test_msgspec_words_its_errors_as_expected(start: str) -> None:
    """The codes rest on how msgspec's errors begin: another wording must not go unnoticed."""
    decoder, value = MSGSPEC_SAYS[start]
    with pytest.raises(msgspec.ValidationError) as caught:
        decoder.decode(value)
    assert str(caught.value).startswith(start)
