"""Tests of reading records from files."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stream_app.reading import ReadingError, RecordFile, read_records

ARCHIVES = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1\x15")
"""What archives and Parquet files begin with: as lines they are refused."""
LINES = [b'{"event_id":"e1","value":1}', b"not json at all \xff\xfe", b'{"event_id":"e2"}']


def packed(content: bytes, suffix: str) -> bytes:
    """Pack bytes as the suffix says."""
    if suffix.endswith(".gz"):
        return gzip.compress(content)
    if suffix.endswith(".zst"):
        return zstandard.ZstdCompressor().compress(content)
    return content


def written(path: Path, content: bytes) -> Path:
    """Write a file, packed as its name says, and return its path."""
    path.write_bytes(packed(content, path.name))
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst", ".JSONL"])
def test_json_lines_are_handed_out_as_they_stand(tmp_path: Path, suffix: str) -> None:
    """Every line comes out byte for byte, bad ones too, from plain files and archives alike."""
    path = written(tmp_path / f"events{suffix}", b"\n".join(LINES) + b"\n")
    assert list(read_records(path)) == LINES


def test_blank_lines_line_ends_and_a_byte_order_mark_are_no_records(tmp_path: Path) -> None:
    """Blank lines are passed over, and neither a BOM nor a carriage return becomes part of a record."""
    path = written(tmp_path / "events.jsonl", b"\xef\xbb\xbf" + LINES[0] + b"\r\n\n  \r\n" + LINES[2])
    with RecordFile(path) as records:
        assert list(records) == [LINES[0], LINES[2]]
        assert records.where == f"{path}:4"


@given(
    lines=st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line and line.strip() == line), max_size=20),
    suffix=st.sampled_from([".jsonl", ".jsonl.gz", ".jsonl.zst"]),
)
def test_no_line_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], suffix: str) -> None:
    """Whatever bytes the lines hold, all come out in their order, unless the file begins as an archive or array."""
    lines = [line for line in lines if not line.startswith(b"\xef\xbb\xbf")]
    path = written(tmp_path_factory.mktemp("lines") / f"events{suffix}", b"".join(line + b"\n" for line in lines))
    if suffix == ".jsonl" and lines and lines[0].startswith(ARCHIVES):
        with pytest.raises(ReadingError, match="rename it to"):
            list(read_records(path))
    elif lines and lines[0].startswith(b"[") and lines[0][1:].lstrip()[:1] in {b"", b"{"}:
        with pytest.raises(ReadingError, match="one JSON array"):
            list(read_records(path))
    else:
        assert list(read_records(path)) == lines


def test_archives_of_several_frames_are_read_to_the_end(tmp_path: Path) -> None:
    """Archives that were appended to hold several frames; all are read."""
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"events.jsonl{suffix}"
        path.write_bytes(b"".join(packed(line + b"\n", suffix) for line in LINES))
        assert list(read_records(path)) == LINES


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_an_archive_that_is_cut_short_is_an_error(tmp_path: Path, suffix: str) -> None:
    """A download that broke off is reported with file and line, not taken for the whole file."""
    content = b"".join(b'{"event_id":"%d"}\n' % number for number in range(50_000))
    path = tmp_path / f"events.jsonl{suffix}"
    path.write_bytes(packed(content, suffix)[:-200])
    with RecordFile(path) as records, pytest.raises(ReadingError, match=rf"events\.jsonl\{suffix}:\d+: .*cut short"):
        list(records)


def test_bytes_that_are_no_archive_are_an_error(tmp_path: Path) -> None:
    """A wrong suffix is reported instead of read as garbage."""
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"events.jsonl{suffix}"
        path.write_bytes(b"plain text\n")
        with pytest.raises(ReadingError, match="damaged"):
            list(read_records(path))


@pytest.mark.parametrize(
    ("name", "content", "right"),
    [
        ("events.jsonl", packed(b"{}\n", ".gz"), "events.jsonl.gz"),
        ("events.csv", packed(b"a,b\n", ".zst"), "events.csv.zst"),
        ("events.json.gz", packed(b"{}\n", ".zst"), "events.json.zst"),
        ("events.jsonl", b"PAR1\x15\x04", "events.parquet"),
    ],
)
def test_an_archive_under_another_name_is_refused(tmp_path: Path, name: str, content: bytes, right: str) -> None:
    """Packed bytes are not sent as lines: the error says what the file is to be called."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadingError, match=f"{name}: .*; rename it to {right}$"):
        RecordFile(tmp_path / name)


def test_a_table_that_begins_like_parquet_is_read(tmp_path: Path) -> None:
    """A column may be called PAR1."""
    assert list(read_records(written(tmp_path / "e.csv", b"PAR1,b\nx,y\n"))) == [{"PAR1": "x", "b": "y"}]


def test_standard_input_names_the_way() -> None:
    """A dash is no file: the error says what to do with what comes through a pipe."""
    with pytest.raises(ReadingError, match="write it into a file"):
        RecordFile(Path("-"))


def test_a_table_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    """No row of it could be used: the missing columns are named before the first row; other columns may be there."""
    path = written(tmp_path / "events.csv", b"user_id,what\nu1,x\n")
    wanted = r"events\.csv: no column event_id; there are user_id, what\. Rename"
    with RecordFile(path, columns=("event_id", "user_id")) as records, pytest.raises(ReadingError, match=wanted):
        list(records)
    with RecordFile(path, columns=("user_id",)) as records:
        assert list(records) == [{"user_id": "u1", "what": "x"}]
    parquet = tmp_path / "events.parquet"
    pq.write_table(pa.table({"user_id": ["u1"]}), parquet)
    with RecordFile(parquet, columns=("event_id",)) as records, pytest.raises(ReadingError, match="no column event_id"):
        list(records)


@pytest.mark.parametrize("name", ["events.json", "events.jsonl", "events.ndjson.gz"])
@pytest.mark.parametrize("content", [b"[\n" + LINES[0] + b"]\n", b"\xef\xbb\xbf\n [" + LINES[0] + b"]", b"[{}]"])
def test_a_json_array_names_the_way_to_lines(tmp_path: Path, name: str, content: bytes) -> None:
    """A file that is one array, whatever its name, is refused with the command that converts it."""
    path = written(tmp_path / name, content)
    with pytest.raises(ReadingError, match=rf"{name}:[12]: .*jq"):
        list(read_records(path))


def test_a_line_that_is_an_array_is_a_bad_record_like_others(tmp_path: Path) -> None:
    """Lines follow it: the worker rejects it, and it does not keep the others back."""
    path = written(tmp_path / "events.jsonl", b"[7]\n" + LINES[0])
    assert list(read_records(path)) == [b"[7]", LINES[0]]


def test_a_folder_names_the_way_to_one_file(tmp_path: Path) -> None:
    """Spark writes a folder of parts, which may be called like a file: the error says how to make one of them."""
    for name in ("events", "events.parquet"):
        (tmp_path / name).mkdir()
        wanted = rf"{name}: this is a folder; give one file.*COPY \(FROM '.*{name}/\*\.parquet'\) TO"
        with pytest.raises(ReadingError, match=wanted):
            RecordFile(tmp_path / name)


def test_csv_cells_are_converted_by_their_column(tmp_path: Path) -> None:
    """Numbers, lists and booleans become such, ids stay text, empty cells are left out."""
    path = written(
        tmp_path / "catalog.csv",
        b"item_id,category,price,n_sold,available,title,embedding,event_time_ms,brand\n"
        b'007,Food|Dairy,1.5,12,true,"Milk, ""fresh""",0.5|1,1600000000000,\n'
        b'8,"[""A|B"",""C""]",x,1e3,maybe,"two\nlines",,nan,b\n',
    )
    assert list(read_records(path)) == [
        {
            "item_id": "007",
            "category": ["Food", "Dairy"],
            "price": 1.5,
            "n_sold": 12,
            "available": True,
            "title": 'Milk, "fresh"',
            "embedding": [0.5, 1],
            "event_time_ms": 1_600_000_000_000,
        },
        {
            "item_id": "8",
            "category": ["A|B", "C"],
            "price": "x",
            "n_sold": 1_000,
            "available": "maybe",
            "title": "two\nlines",
            "event_time_ms": "nan",
            "brand": "b",
        },
    ]


def test_a_list_within_lists_without_end_stays_text(tmp_path: Path) -> None:
    """The worker rejects what no reader of JSON can take."""
    cell = "[" * 100_000
    path = written(tmp_path / "catalog.csv", f"item_id,category\n1,{cell}\n".encode())
    assert list(read_records(path)) == [{"item_id": "1", "category": cell}]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_other_delimiters(tmp_path: Path, suffix: str, delimiter: str) -> None:
    """The delimiter is taken from the header, whatever the archive."""
    path = written(tmp_path / f"events{suffix}", f"user_id{delimiter}value\nu{delimiter}2\n".encode("utf-8-sig"))
    assert list(read_records(path)) == [{"user_id": "u", "value": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user_id,item_id\na,b\n\na,b,c\n", r":4: 3 fields where the header names 2"),
        (b"user_id,item_id\na,\xff\n", r":2: not UTF-8"),
        (b'user_id,item_id\na,"b" c\n', r":2: not CSV"),
        (b'"user_id"x,item_id\n1,2\n', r":1: not CSV"),
        (b"", r":1: the first line must name the columns"),
        (b"user_id,user_id\n", r":1: the first line must name the columns"),
    ],
)
def test_broken_csv_names_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    """What cannot be taken apart into cells is an error that tells where it stands."""
    path = written(tmp_path / "events.csv", content)
    with pytest.raises(ReadingError, match=r"events\.csv" + message):
        list(read_records(path))


def test_parquet_values_become_plain_json_values(tmp_path: Path) -> None:
    """Ids become text, times milliseconds, nulls and NaN are left out, lists stay lists."""
    path = tmp_path / "events.parquet"
    moment = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    table = pa.table(
        {
            "user_id": pa.array([7, 8], pa.int64()),
            "item_id": pa.array([70.0, None], pa.float64()),
            "event_time_ms": pa.array([moment, moment], pa.timestamp("ns", "UTC")),
            "value": pa.array([1.5, float("nan")]),
            "category": pa.array([["A", "B"], None]),
            "type": pa.array(["view", "view"]).dictionary_encode(),
        }
    )
    pq.write_table(table, path)
    time_ms = 1_600_000_000_000
    with RecordFile(path) as records:
        rows = list(records)
        assert records.fraction == 1.0
    assert rows == [
        {
            "user_id": "7",
            "item_id": "70",
            "event_time_ms": time_ms,
            "value": 1.5,
            "category": ["A", "B"],
            "type": "view",
        },
        {"user_id": "8", "event_time_ms": time_ms, "type": "view"},
    ]
    assert json.loads(json.dumps(rows)) == rows


def test_decimals_keep_their_digits(tmp_path: Path) -> None:
    """Keys of a warehouse are decimals with more digits than a float has; prices become plain numbers."""
    path = tmp_path / "events.parquet"
    keys = [Decimal(9007199254740993), Decimal(12345678901234567890123456789012345678)]
    table = pa.table(
        {
            "user_id": pa.array(keys, pa.decimal128(38, 0)),
            "item_id": pa.array([Decimal("9007199254740993.00"), Decimal("1.50")], pa.decimal128(38, 2)),
            "event_time_ms": pa.array([Decimal(1_600_000_000_000), None], pa.decimal128(20, 0)),
            "price": pa.array([Decimal("1.25"), Decimal("3.00")], pa.decimal128(10, 2)),
        }
    )
    pq.write_table(table, path)
    rows = list(read_records(path))
    assert rows == [
        {
            "user_id": "9007199254740993",
            "item_id": "9007199254740993",
            "event_time_ms": 1_600_000_000_000,
            "price": 1.25,
        },
        {"user_id": "12345678901234567890123456789012345678", "item_id": "1.5", "price": 3.0},
    ]
    assert [type(value) for value in rows[0].values()] == [str, str, int, float]


def test_whole_numbers_may_have_a_point(tmp_path: Path) -> None:
    """A table with gaps has floats in its columns of whole numbers, in either format; others are left as they are."""
    at_ms = 1_704_067_200_000
    expected = [
        {"item_id": "a", "n_sold": 12, "event_time_ms": at_ms, "listed_ms": at_ms, "position": 1, "price": 2.0},
        {"item_id": "b", "n_sold": 1.5},
    ]
    (tmp_path / "t.csv").write_text(
        "item_id,n_sold,event_time_ms,listed_ms,position,price\n"
        "a,12.0,1704067200000.0,1704067200000.0,1.0,2.0\nb,1.5,,,,\n"
    )
    columns = {
        "item_id": ["a", "b"],
        "n_sold": [12.0, 1.5],
        "event_time_ms": [float(at_ms), None],
        "listed_ms": [float(at_ms), None],
        "position": [1.0, None],
        "price": [2.0, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        rows = list(read_records(tmp_path / name))
        assert rows == expected
        assert [type(value) for value in rows[0].values()] == [str, int, int, int, int, float]


def test_ids_of_a_column_with_gaps_are_whole_numbers(tmp_path: Path) -> None:
    """Integer ids that pandas wrote as floats are integers again, in either format; other text stays."""
    (tmp_path / "t.csv").write_text(
        "event_id,user_id,item_id,session_id,title\n1.0,-7.0,1000.0,0.0,2.0\na1.0,1.50,007.0,1.0.0,x\n"
    )
    pq.write_table(pa.table({"event_id": [1.0], "user_id": [-7.0], "item_id": [1000.0]}), tmp_path / "t.parquet")
    rows = list(read_records(tmp_path / "t.csv"))
    assert rows == [
        {"event_id": "1", "user_id": "-7", "item_id": "1000", "session_id": "0", "title": "2.0"},
        {"event_id": "a1.0", "user_id": "1.50", "item_id": "007.0", "session_id": "1.0.0", "title": "x"},
    ]
    (row,) = read_records(tmp_path / "t.parquet")
    assert row == {name: rows[0][name] for name in row}


def test_lists_as_text_are_read_alike_in_both_formats(tmp_path: Path) -> None:
    """Parquet may hold a path as text, as CSV must; what is no list in either of its forms stays text."""
    columns = {
        "item_id": ["a", "b", "c", "d"],
        "category": ["Food|Dairy", '["Food","Dairy"]', "['Food', 'Dairy']", ""],
        "tags": ["new|chilled", "", "new", "[1"],
        "embedding": ["0.5|1", "[0.5, 1]", "", "x"],
    }
    with (tmp_path / "t.csv").open("w") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    rows = list(read_records(tmp_path / "t.parquet"))
    assert rows == [
        {"item_id": "a", "category": ["Food", "Dairy"], "tags": ["new", "chilled"], "embedding": [0.5, 1]},
        {"item_id": "b", "category": ["Food", "Dairy"], "embedding": [0.5, 1]},
        {"item_id": "c", "category": "['Food', 'Dairy']", "tags": ["new"]},
        {"item_id": "d", "tags": "[1", "embedding": ["x"]},
    ]
    assert list(read_records(tmp_path / "t.csv")) == rows


def test_dates_are_midnight_utc_where_a_time_is_wanted(tmp_path: Path) -> None:
    """Of a day nothing else is known; other columns of dates stay what they are."""
    path = tmp_path / "events.parquet"
    day = datetime(2020, 9, 13, tzinfo=UTC)
    days = pa.array([day.date(), None])
    table = pa.table({"event_time_ms": days, "listed_ms": days.cast(pa.date64()), "day": days, "user_id": ["u", "v"]})
    pq.write_table(table, path)
    time_ms = int(day.timestamp() * 1_000)
    assert list(read_records(path)) == [
        {"event_time_ms": time_ms, "listed_ms": time_ms, "day": day.date(), "user_id": "u"},
        {"user_id": "v"},
    ]


def test_text_that_is_no_utf8_is_an_error(tmp_path: Path) -> None:
    """Parquet does not look whether its texts are UTF-8."""
    path = tmp_path / "events.parquet"
    text = pa.array([b"ann", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"user_id": text}), path)
    with pytest.raises(ReadingError, match=r"events\.parquet:\d+: .*utf-8.*write it again"):
        list(read_records(path))


def test_long_cells_are_read(tmp_path: Path) -> None:
    """A cell of CSV may be longer than Python's own limit; the record's is the worker's to apply."""
    path = tmp_path / "events.csv"
    path.write_text("user_id,title\nann," + "x" * 200_000 + "\n")
    (row,) = read_records(path)
    assert len(row["title"]) == 200_000


def test_a_date_that_no_calendar_has_is_an_error(tmp_path: Path) -> None:
    """Parquet can hold days that Python cannot."""
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"day": pa.array([10**9], pa.int32()).cast(pa.date32())}), path)
    with pytest.raises(ReadingError, match=r"events\.parquet:0: .*write it again"):
        list(read_records(path))


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    """A file that only bears the name is reported with the remedy."""
    path = written(tmp_path / "events.parquet", b"PAR1 but no more")
    with pytest.raises(ReadingError, match=r"events\.parquet:0: .*write it again"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["events", "events.txt", "events.gz", "events.parquet.gz"])
def test_an_unknown_format_is_refused(tmp_path: Path, name: str) -> None:
    """The error says which names are understood."""
    with pytest.raises(ReadingError, match=r"use \.jsonl, \.csv"):
        RecordFile(tmp_path / name)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(ReadingError, match=r"absent\.jsonl: No such file"):
        RecordFile(tmp_path / "absent.jsonl")


def test_the_fraction_grows_from_zero_to_one(tmp_path: Path) -> None:
    """Progress can be drawn: it never falls, and ends at 1."""
    path = written(tmp_path / "events.jsonl", b'{"event_id":"e"}\n' * 20_000)
    with RecordFile(path) as records:
        assert records.fraction == 0.0
        seen = [records.fraction for _ in records]
        assert seen == sorted(seen)
        assert seen[0] < 1.0
        assert records.fraction == 1.0
