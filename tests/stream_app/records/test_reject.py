"""Tests of rejects: the original survives, and a reader learns where it came from and why."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.record_size import EMPTY_BATCH_BYTES, TOPIC_BYTES, record_bytes
from stream_app.records import (
    REJECT_CODES,
    REJECT_HEADERS,
    CatalogEntry,
    Event,
    EventLimits,
    Rejection,
    decode_catalog,
    decode_events,
    decode_reject,
    encode_reject,
)
from stream_app.records.reject import MAX_ORIGINAL_BYTES, PREFIX
from tests.stream_app.records.samples import NOW_MS, FakeRecord, entry_record, event_record
from tests.stream_app.records.test_hostile import mutated_entries, mutated_events

TOPIC_TAKES_BYTES = 1_048_588
"""``max.message.bytes`` of a topic, unless it is set otherwise."""
REJECTION = Rejection(0, "not_json", "event: not JSON")


def rejected(record: FakeRecord, rejection: Rejection = REJECTION) -> FakeRecord:
    """Return the record of the rejects topic."""
    key, value, headers = encode_reject(record, rejection)
    return FakeRecord(value, key, "rejects", partition=0, offset=9, headers=tuple(headers))


maybe_bytes = st.none() | st.binary(max_size=20)
records = st.builds(
    FakeRecord,
    maybe_bytes,
    maybe_bytes,
    st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-1, 2**63 - 1),
    st.lists(st.tuples(st.text(max_size=5) | st.just("crossaisle.code"), st.binary(max_size=5)), max_size=4).map(tuple),
)


@given(records, st.sampled_from(sorted(REJECT_CODES)), st.text(st.characters(codec=None)))
def test_original_and_position_survive(record: FakeRecord, code: str, reason: str) -> None:
    """Key, value and headers are the original ones to the byte; position, code and reason come back."""
    reject = decode_reject(rejected(record, Rejection(5, code, reason)))
    assert (reject.key, reject.value, tuple(reject.headers)) == (record.key, record.value, record.headers)
    assert (reject.topic, reject.partition, reject.offset) == (record.topic, record.partition, record.offset)
    assert (reject.timestamp_ms, reject.code, reject.n_cut_bytes) == (record.timestamp, code, 0)
    assert reject.reason == reason.encode("utf-8", "backslashreplace").decode()


def test_headers_are_the_documented_ones() -> None:
    """A reader in any language finds text headers under the documented names, after the original ones."""
    _, _, headers = encode_reject(replace(event_record(b"?"), headers=(("trace", b"7"),)), REJECTION)
    assert headers[0] == ("trace", b"7")
    assert [name for name, _ in headers[1:]] == [PREFIX + name for name in REJECT_HEADERS]
    assert dict(headers)["crossaisle.offset"] == b"41"
    assert dict(headers)["crossaisle.n_cut_bytes"] == b"0"


def test_reject_that_is_rejected_again() -> None:
    """A reject sent to events again is rejected again: the newest headers count, the old ones are the original's."""
    first = rejected(event_record(b"?"))
    second = decode_reject(rejected(first, Rejection(0, "empty", "again")))
    assert (second.code, second.topic, second.offset) == ("empty", "rejects", 9)
    assert tuple(second.headers) == first.headers


HUGE = {
    "value": FakeRecord(b"v" * 3_000_000, b"k", headers=(("h", b"x"),)),
    "key": FakeRecord(b"v" * 10, b"k" * 3_000_000, headers=(("h", b"x"),)),
    "headers": FakeRecord(b"v" * 10, b"k", headers=(("h", b"x" * 1_000_000), ("i", b"x" * 1_000_000))),
    "many headers": FakeRecord(b"v" * 10, b"k", headers=(("", b""),) * 200_000),
    "all": FakeRecord(b"v" * 900_000, b"k" * 900_000, headers=(("h", b"x" * 900_000),)),
    "key without value": FakeRecord(None, b"k" * 3_000_000),
    "value without key": FakeRecord(b"v" * 3_000_000, None),
}


@pytest.mark.parametrize("name", HUGE)
def test_no_reject_is_too_large_for_its_topic(name: str) -> None:
    """However large the original, its reject fits into a topic with default settings, and says what was cut off."""
    record = HUGE[name]
    out = rejected(record)
    lengths = [len(out.key or b""), len(out.value or b""), *(len(n) + len(v) + 10 for n, v in out.headers)]
    assert sum(lengths) < TOPIC_TAKES_BYTES - 1_000
    assert record_bytes(out.key, out.value, out.headers) + EMPTY_BATCH_BYTES < TOPIC_BYTES
    reject = decode_reject(out)
    assert reject.n_cut_bytes > 0
    assert (record.key or b"").startswith(reject.key or b"")
    assert (record.value or b"").startswith(reject.value or b"")
    assert (reject.key is None, reject.value is None) == (record.key is None, record.value is None)


LONG = "\x01" * 100_000
LONG_EVENTS = [event_record(key=LONG.encode(), **{name: LONG}) for name in Event.__struct_fields__]
LONG_ENTRIES = [entry_record(key=LONG.encode(), **{name: LONG}) for name in CatalogEntry.__struct_fields__]


def test_reasons_leave_room() -> None:
    """However long what arrived, and its topic's name, what is said of the largest original fits beside it."""
    limits = EventLimits(max_record_bytes=1_000_000)
    events = [*LONG_EVENTS, *mutated_events(seed=3)[:1_000]]
    entries = [*LONG_ENTRIES, *mutated_entries(seed=3)[:1_000]]
    rejections = [
        *decode_events(events, now_ms=NOW_MS, limits=limits).rejections,
        *decode_catalog(entries, limits=limits).rejections,
    ]
    assert len(rejections) > 1_000
    largest = FakeRecord(b"v" * MAX_ORIGINAL_BYTES, b"k", "t" * 249, 2**31 - 1, 2**63 - 1, 2**63 - 1)
    for rejection in rejections:
        key, value, headers = encode_reject(largest, rejection)
        assert record_bytes(key, value, headers) + EMPTY_BATCH_BYTES < TOPIC_BYTES


def test_nothing_is_cut_off_at_the_limit() -> None:
    """An original of just the limit survives whole; one byte more loses that byte."""
    limit = FakeRecord(b"v" * (MAX_ORIGINAL_BYTES - 3), b"key")
    assert decode_reject(rejected(limit)).n_cut_bytes == 0
    beyond = decode_reject(rejected(replace(limit, value=b"v" * (MAX_ORIGINAL_BYTES - 2))))
    assert (beyond.value, beyond.n_cut_bytes) == (limit.value, 1)


def test_foreign_record_is_refused() -> None:
    """A record that Crossaisle did not write is named, not misread."""
    good = rejected(event_record(b"?"))
    for headers in ((), good.headers[1:], good.headers[:-1], (*good.headers, ("other", b""))):
        with pytest.raises(ValueError, match=r"record at offset 9 of rejects, partition 0: .* pass it over"):
            decode_reject(replace(good, headers=headers))
