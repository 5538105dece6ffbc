"""Record batches with names of headers that are not UTF-8."""

from __future__ import annotations

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from stream_app.header_names import ReadableRecords
from tests.stream_app.odd_headers import OddName, builder

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
RECORDS = [
    (b"ann", b"first", [("trace", b"\xff")]),
    (b"bob", b"second", [(OddName("\xff\xfetrace"), b"1"), ("", b""), ("again", None)]),
    (None, b"\xff\xfe", []),
    (b"cyd", None, [(OddName("caf\xe9"), b"\x00")]),
]


def batch_of(records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]], codec: int) -> bytearray:
    """Return a record batch of these keys, values and headers."""
    building = builder(codec)
    for offset, (key, value, headers) in enumerate(records):
        building.append(offset, 1_700_000_000_000 + offset, key, value, headers)
    return bytearray(building.build())


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_names_that_are_not_utf8_are_replaced(codec: int) -> None:
    """All else of the batch is as it was sent, and batches before and after it are read as well."""
    plain = batch_of([(b"dan", b"plain", [("trace", b"x")])], codec)
    data = bytes(plain + batch_of(RECORDS, codec) + plain)
    reading = MemoryRecords(data)
    reading.next_batch()
    with pytest.raises((UnicodeDecodeError, CorruptRecordException)):
        list(reading.next_batch())
    found, batches = ReadableRecords(data), []
    while found.has_next():
        batch = found.next_batch()
        assert batch.validate_crc()
        assert not batch.is_control_batch
        batches.append(list(batch))
    assert [[(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in batch] for batch in batches] == [
        [(0, 1_700_000_000_000, b"dan", b"plain", [("trace", b"x")])],
        [
            (0, 1_700_000_000_000, b"ann", b"first", [("trace", b"\xff")]),
            (1, 1_700_000_000_001, b"bob", b"second", [("\ufffd\ufffdtrace", b"1"), ("", b""), ("again", None)]),
            (2, 1_700_000_000_002, None, b"\xff\xfe", []),
            (3, 1_700_000_000_003, b"cyd", None, [("caf\ufffd", b"\x00")]),
        ],
        [(0, 1_700_000_000_000, b"dan", b"plain", [("trace", b"x")])],
    ]


def test_a_batch_that_is_cut_off_is_not_read() -> None:
    """The last batch of an answer may be: it is fetched again."""
    whole = batch_of(RECORDS, 0)
    found = ReadableRecords(bytes(whole + whole[:-1]))
    assert len(list(found.next_batch())) == len(RECORDS)
    assert not found.has_next()


def test_a_batch_that_is_damaged_is_still_refused() -> None:
    """What is no record is none with other names of headers either."""
    building = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    building.append(0, 1_700_000_000_000, b"ann", b"value", [("trace", b"x")])
    data = bytearray(building.build())
    data[-8] = 0x7F  # the length of a header's name
    with pytest.raises(CorruptRecordException):
        list(ReadableRecords(bytes(data)).next_batch())
