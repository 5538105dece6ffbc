"""``crossaisle ope`` on files: formats, slates, groups, errors that name the row, output for people and scripts."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from typer.testing import CliRunner

from stream_app.cli import CommandError
from stream_app.cli.main import app
from stream_app.ope_log import LogError, read_log

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"slate_id": "a", "position": 0, "propensity": 0.5, "target_propensity": 0.75, "reward": 1.0, "segment": "new"},
    {"slate_id": "a", "position": 1, "propensity": 0.5, "target_propensity": 0.25, "reward": 0.0, "segment": "new"},
    {"slate_id": "b", "position": 0, "propensity": 0.25, "target_propensity": 0.5, "reward": 0.0, "segment": "old"},
    {"slate_id": "b", "position": 1, "propensity": 0.4, "target_propensity": 0.2, "reward": 2.0, "segment": "old"},
]
"""Two slates: slot ratios 1.5, 0.5 and 2, 0.5."""


def without(*names: str) -> list[dict[str, Any]]:
    """Return the rows without some columns."""
    return [{name: cell for name, cell in row.items() if name not in names} for row in ROWS]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format of the file's name."""
    if ".parquet" in path.name:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".csv" in path.name:
        lines = [",".join(rows[0]), *(",".join(str(row.get(name, "")) for name in rows[0]) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    content = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = zstandard.compress(content)
    path.write_bytes(content)
    return path


def run(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Return what the command prints with ``--json``, and its notes."""
    done = CliRunner().invoke(app, ["ope", *arguments, "--json"])
    if done.exception is not None:
        raise done.exception
    return [json.loads(line) for line in done.stdout.splitlines()], " ".join(done.stderr.split())


def by_name(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return the estimates by estimator."""
    return {record["estimator"]: record["value"] for record in records}


@pytest.mark.parametrize(
    "name", ["l.csv", "l.csv.gz", "l.csv.zst", "l.jsonl", "l.jsonl.gz", "l.jsonl.zst", "l.parquet"]
)
@pytest.mark.parametrize("dropped", [(), ("slate_id",)])
def test_every_format_gives_the_same(tmp_path: Path, name: str, dropped: tuple[str, ...]) -> None:
    """By hand, from ratios and rewards; slates by id or by positions."""
    records, notes = run(str(written(tmp_path / name, without(*dropped))))
    assert by_name(records) == pytest.approx(
        {"ips": 1.25, "snips": 1.5 / 3.5 + 1.0 / 1.0, "slate-ips": 1.375, "rips": 1.75}
    )
    assert all(record["lower"] <= record["value"] <= record["upper"] for record in records)
    assert {record["logged_value"] for record in records} == {1.5}
    assert "left out: dr needs the columns q_logged and q_target" in notes


def test_model_columns_bring_the_doubly_robust_ones(tmp_path: Path) -> None:
    """By hand, with a model that always says .5: dr and cascade-dr beside the others, and nothing left out."""
    rows = [{**row, "q_logged": 0.5, "q_target": 0.5} for row in ROWS]
    records, notes = run(str(written(tmp_path / "l.csv", rows)), "--estimators", "dr, cascade-dr")
    assert notes == ""
    # a: .5 + 1.5 * .5 + .5 - .5 * .5 and .5 + 1.5 * .5 + 1.5 * .5 - .75 * .5; b: likewise with 2, .5 and 2, 1
    assert by_name(records) == pytest.approx({"dr": (1.5 + 0.75) / 2, "cascade-dr": (1.625 + 2.0) / 2})


def test_positions_that_do_not_run_make_rows_stand_alone(tmp_path: Path) -> None:
    """Single choices at random places are slates of one slot, said so, and divided by place on demand."""
    rows = [{**row, "position": place} for row, place in zip(without("slate_id"), (2, 0, 2, 1), strict=True)]
    path = str(written(tmp_path / "l.csv", rows))
    records, notes = run(path, "--estimators", "ips,slate-ips")
    assert by_name(records) == pytest.approx({"ips": 2.5 / 4, "slate-ips": 2.5 / 4})
    assert "each row is taken as a slate of one slot" in notes
    records, _ = run(path, "--estimators", "ips", "--group-by", "position")
    assert [(record["group"], record["n_slates"]) for record in records] == [("0", 1), ("1", 1), ("2", 2)]


def test_groups(tmp_path: Path) -> None:
    """Each value of a column is evaluated by itself; positions sum to the whole; outcomes are refused."""
    path = str(written(tmp_path / "l.jsonl", ROWS))
    records, _ = run(path, "--group-by", "segment", "--estimators", "rips")
    assert [(record["group"], record["value"], record["lower"]) for record in records] == [
        ("new", 1.5, None),
        ("old", 2.0, None),
    ]
    records, _ = run(path, "--group-by", "position", "--estimators", "rips")
    assert [(record["group"], record["value"]) for record in records] == [("0", 0.75), ("1", 1.0)]
    assert [(record["n_slots"], record["value_per_slot"]) for record in records] == [(2, 0.75), (2, 1.0)]
    with pytest.raises(CommandError, match="cannot group by reward"):
        run(path, "--group-by", "reward")
    with pytest.raises(CommandError, match=r"l\.jsonl:1: no column 'aisle' to group by"):
        run(path, "--group-by", "aisle")
    mixed = written(tmp_path / "mixed.jsonl", [{**row, "segment": str(k)} for k, row in enumerate(ROWS)])
    with pytest.raises(CommandError, match=r"mixed\.jsonl:2: segment is '1' here and '0' at another slot"):
        run(str(mixed), "--group-by", "segment")


@pytest.mark.parametrize(
    ("row", "cells", "message"),
    [
        (2, {"propensity": 0}, r":4: propensity must be in \(0, 1\], got 0"),
        (1, {"propensity": 1.5}, r":3: propensity must be in \(0, 1\], got 1.5"),
        (3, {"target_propensity": -1}, r":5: target_propensity must be in \[0, 1\], got -1"),
        (0, {"reward": "nan"}, r":2: reward must be a finite number, got 'nan'"),
        (1, {"reward": ""}, ":3: reward is missing"),
        (1, {"reward": "much"}, r":3: reward must be a finite number, got 'much'"),
        (1, {"position": 0.5}, ":3: position must be a whole number from 0"),
        (1, {"position": 0}, ":3: position 0 stands twice in one slate"),
        (2, {"slate_id": ""}, ":4: slate_id is missing here"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: int, cells: dict[str, object], message: str) -> None:
    """The error names file, line, column and value."""
    rows = [dict(one) for one in ROWS]
    rows[row].update(cells)
    with pytest.raises(LogError, match=r"l\.csv" + message):
        read_log(written(tmp_path / "l.csv", rows))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file holds no rows"),
        (b'{"position": 0, "propensity": 0.5}\n', ":1: columns target_propensity, reward are missing"),
        (b"[1]\n", ":1: a row must be an object, got list"),
        (b"{\n", ":1: not JSON"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """An empty file, missing columns and broken lines end in one sentence."""
    path = tmp_path / "l.jsonl"
    path.write_bytes(content)
    with pytest.raises(LogError, match=message):
        read_log(path)


def test_columns_that_come_late_are_refused(tmp_path: Path) -> None:
    """A model or a slate that only later rows have is no column; silently passing over it would be worse."""
    for name in ("q_logged", "slate_id"):
        rows = without("slate_id")
        rows[2][name] = 1
        with pytest.raises(LogError, match=f":3: {name} is given here, but not in the first row"):
            read_log(written(tmp_path / "l.jsonl", rows))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--estimators", "ips,magic"), "--estimators: got magic, know ips, snips"),
        (("--estimators", "dr"), r"l\.csv: dr needs the columns q_logged and q_target"),
        (("--clip", "0"), "clip must be positive"),
        (("--alpha", "2"), "alpha must be in"),
        (("--reward-range", "0", "1"), r"l\.csv:5: reward must be in \[0, 1\]"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Unknown estimators, one without its columns, and wrong options end in one sentence with the remedy."""
    with pytest.raises(CommandError, match=message):
        run(str(written(tmp_path / "l.csv", ROWS)), *arguments)


def test_whole_slates_are_asked_for(tmp_path: Path) -> None:
    """With a slot missing, the estimators that multiply are left out, with the row; asked for, they are an error."""
    path = str(written(tmp_path / "l.csv", ROWS[:2] + ROWS[3:]))
    records, notes = run(path)
    assert set(by_name(records)) == {"ips", "snips"}
    assert "l.csv:4: slate-ips needs whole slates, but the slot above position 1 is missing" in notes
    with pytest.raises(CommandError, match=r"l\.csv:4: rips needs whole slates"):
        run(path, "--estimators", "rips")


def test_people_get_a_table(tmp_path: Path) -> None:
    """Without ``--json`` there is a table with the estimates, and every warning in a sentence."""
    done = CliRunner().invoke(
        app, ["ope", str(written(tmp_path / "[red]l.csv", ROWS)), "--clip", "1.5"], env={"COLUMNS": "140"}
    )
    assert done.exit_code == 0
    assert "[red]l.csv: 2 slates, 4 slots; the log itself earned 1.5 a slate" in done.stdout
    assert "cascade-dr" not in done.stdout
    assert "of the weights were clipped" in done.stdout


@pytest.mark.parametrize("line", [b'{"x":' + b"[" * 60_000, b'{"a": "\xff"}', b"no JSON"])
def test_a_line_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, line: bytes) -> None:
    """Brackets nested too deeply, bytes that are not UTF-8, and no JSON at all: the message says which line it is."""
    path = written(tmp_path / "log.jsonl", ROWS)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LogError, match=r"log\.jsonl:5: not JSON"):
        read_log(path)
