"""Files of an evaluation: bad records are counted with their reason, time order is made, nothing crashes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from stream_app.evaluation.source import EvaluationError, read_catalog, read_events
from stream_app.settings import Settings
from tests.stream_app.evaluation.files_of import NOW_MS, event, write_lines

if TYPE_CHECKING:
    from pathlib import Path


def test_bad_records_are_counted(tmp_path: Path) -> None:
    """Each bad record is counted by the worker's code for it, and the good ones stay."""
    good = [event(k, "u", "i1") for k in range(3)]
    bad = ["{not json", event(7, "u", "i1", type="stolen"), event(8, "u", "i1", event_time_ms=NOW_MS * 2)]
    log = read_events(write_lines(tmp_path / "e.jsonl", [*bad, *good]), Settings(), now_ms=NOW_MS)
    assert len(log) == 3
    assert log.rejects.by_code == {"not_json": 1, "unknown_type": 1, "bad_time": 1}
    assert log.rejects.first.startswith("record 1: ")


def test_duplicates_are_left_out(tmp_path: Path) -> None:
    """An event id that the user had among his last events is left out; another user may have the same."""
    records = [event(0, "u", "i1"), event(0, "u", "i2"), event(0, "v", "i3")]
    log = read_events(write_lines(tmp_path / "e.jsonl", records), Settings(), now_ms=NOW_MS)
    assert (len(log), log.n_duplicates) == (2, 1)


def test_sorted_by_time(tmp_path: Path) -> None:
    """Events out of order are sorted, and equal times keep the order of the file."""
    records = [
        event(5, "u", "i1"),
        event(3, "u", "i2"),
        event(9, "u", "i3", event_time_ms=event(5, "u", "")["event_time_ms"]),
    ]
    log = read_events(write_lines(tmp_path / "e.jsonl", records), Settings(), now_ms=NOW_MS)
    assert [e.item_id for events in log.batches(2) for e in events] == ["i2", "i1", "i3"]
    assert log.n_out_of_order == 1


def test_repeats_are_looked_for_in_the_order_of_time(tmp_path: Path) -> None:
    """Of the same id twice the earlier event stays, though the file has it last, and one far from it stays, too."""
    later = [event(2 + k, "u", f"i{k}") for k in range(40)]
    twice = [event(60, "u", "i1", event_id="x"), *later, event(1, "u", "i2", event_id="x")]
    near = [event(2, "u", "i1", event_id="y"), event(0, "v", "i3"), event(1, "u", "i2", event_id="y")]
    kept = []
    for name, records in (("far.jsonl", twice), ("near.jsonl", near)):
        log = read_events(write_lines(tmp_path / name, records), Settings(), now_ms=NOW_MS)
        kept.append([e.item_id for e in next(log.batches(100)) if e.event_id in {"x", "y"}])
        assert log.n_duplicates == len(records) - len(log)
    assert kept == [["i2", "i1"], ["i2"]]


def test_an_id_may_come_again_after_forget(tmp_path: Path) -> None:
    """As in a worker, which remembers nothing of a user that was forgotten, and forgets as often as it is told to."""
    ids = ["a", "b", "a", "b", "a"]
    kinds = ["purchase", "forget", "purchase", "forget", "purchase"]
    records = [event(k, "u", "i1", event_id=i, type=kind) for k, (i, kind) in enumerate(zip(ids, kinds, strict=True))]
    log = read_events(write_lines(tmp_path / "e.jsonl", records), Settings(), now_ms=NOW_MS)
    assert (len(log), log.n_duplicates) == (5, 0)


def test_all_formats_are_one(tmp_path: Path) -> None:
    """Plain, packed, CSV and Parquet files with the same events give the same log."""
    records = [event(k, f"u{k % 3}", f"i{k}", value=2) for k in range(20)]
    plain = write_lines(tmp_path / "e.jsonl", records)
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "e.jsonl.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    columns = list(records[0])
    rows = [",".join(str(record[name]) for name in columns) for record in records]
    (tmp_path / "e.csv").write_text("\n".join([",".join(columns), *rows]))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "e.parquet")
    names = ("e.jsonl", "e.jsonl.gz", "e.jsonl.zst", "e.csv", "e.parquet")
    logs = [read_events(tmp_path / name, Settings(), now_ms=NOW_MS) for name in names]
    events = [[e for batch in log.batches(7) for e in batch] for log in logs]
    assert all(each == events[0] for each in events)
    assert len(events[0]) == 20


def test_values_that_json_does_not_have_are_an_error(tmp_path: Path) -> None:
    """A list of times with nanoseconds is no value of a record: the error says where it stands."""
    path = tmp_path / "e.parquet"
    times = pa.array([[1], [2]], pa.list_(pa.timestamp("ns")))
    pq.write_table(pa.table({"user_id": ["a", "b"], "seen": times}), path)
    with pytest.raises(EvaluationError, match=r"e\.parquet: record 1: "):
        read_events(path, Settings(), now_ms=NOW_MS)


def test_limit(tmp_path: Path) -> None:
    """A limit reads the first records only."""
    path = write_lines(tmp_path / "e.jsonl", [event(k, "u", "i1") for k in range(9)])
    assert len(read_events(path, Settings(), now_ms=NOW_MS, limit=4)) == 4


@pytest.mark.parametrize("content", ["", "{}\n{}\n"])
def test_nothing_valid_is_an_error(content: str, tmp_path: Path) -> None:
    """A file without one valid record is an error that says why and what a record needs."""
    path = tmp_path / "e.jsonl"
    path.write_text(content)
    with pytest.raises(EvaluationError, match="a record needs user_id"):
        read_events(path, Settings(), now_ms=NOW_MS)
    with pytest.raises(EvaluationError, match="a record needs item_id"):
        read_catalog(path, Settings())


def test_last_entry_holds(tmp_path: Path) -> None:
    """Of several entries of an item the last one holds; the depth cuts its path."""
    path = write_lines(
        tmp_path / "c.jsonl",
        [{"item_id": "i", "category": ["a", "b"]}, {"item_id": "i", "category": ["a", "c"]}, "oops"],
    )
    assert read_catalog(path, Settings()).category("i") == ("a", "c")
    catalog = read_catalog(path, Settings().model_copy(update={"category_depth": 1}))
    assert catalog.category("i") == ("a",)
    assert catalog.category("j") is None
    assert catalog.rejects.by_code == {"not_json": 1}


def test_a_catalogue_may_tell_when_items_came(tmp_path: Path) -> None:
    """``listed_ms`` is the record's timestamp, 0 where it is missing; what is no time is an error with the record."""
    path = write_lines(
        tmp_path / "c.jsonl",
        [{"item_id": "i", "category": ["a"], "listed_ms": 7}, {"item_id": "j", "category": ["a"]}],
    )
    assert [record.timestamp for record in read_catalog(path, Settings()).records] == [7, 0]
    write_lines(path, [{"item_id": "i", "category": ["a"]}, {"item_id": "j", "category": ["a"], "listed_ms": "May"}])
    with pytest.raises(EvaluationError, match=r"record 2: listed_ms must be"):
        read_catalog(path, Settings())
