"""The synthetic shop: repeatable, valid to the worker, and true to its own truth."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream_app.evaluation.source import read_catalog, read_events
from stream_app.settings import Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, ShopParams, SyntheticError, with_sizes
from stream_app.synthetic.simulation import DAY_MS, START_MS, Simulation

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS = 1_900_000_000_000
SMALL = ShopParams(n_users=40, n_items=200, n_categories=16, days=90, drift_day=60)


def small(kind: str) -> ShopParams:
    """Return a small shop of a kind."""
    return with_sizes(KINDS[kind], n_users=30, n_items=200, n_categories=20, days=90)


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_valid(kind: str, tmp_path: Path) -> None:
    """The worker's own decoder accepts every line, in order of time, and every item is in the catalogue."""
    summary = write_synthetic(tmp_path, small(kind))
    log = read_events(summary.events_path, Settings(), now_ms=NOW_MS)
    catalog = read_catalog(summary.catalog_path, Settings())
    assert (log.rejects.n, log.n_duplicates, log.n_out_of_order, catalog.rejects.n) == (0, 0, 0, 0)
    assert len(log) == summary.n_events > 0
    assert {event.item_id for events in log.batches(500) for event in events} <= set(catalog.entries)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """The same seed gives the same bytes, another seed others."""
    bytes_of = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        summary = write_synthetic(tmp_path / name, replace(SMALL, seed=seed))
        paths = (summary.events_path, summary.catalog_path, summary.truth_path)
        bytes_of[name] = [path.read_bytes() for path in paths]
    assert bytes_of["a"] == bytes_of["b"]
    assert all(one != other for one, other in zip(bytes_of["a"], bytes_of["c"], strict=True))


def test_staples_come_again(tmp_path: Path) -> None:
    """A user buys his staples far more often than his other items."""
    summary = write_synthetic(tmp_path, replace(SMALL, drift_day=None, visits_per_day=0.3))
    truth = json.loads(summary.truth_path.read_bytes())
    bought: dict[str, Counter[str]] = defaultdict(Counter)
    for line in summary.events_path.read_text().splitlines():
        event = json.loads(line)
        bought[event["user_id"]][event["item_id"]] += 1
    of_staples, of_others = [], []
    for user, counts in bought.items():
        staples = {staple["item_id"] for staple in truth["users"][user]["staples"]}
        of_staples += [counts[item] for item in staples]
        of_others += [n for item, n in counts.items() if item not in staples]
    assert sum(of_staples) / len(of_staples) > 1.5 * sum(of_others) / len(of_others)


def test_the_truth_tells_what_the_items_are_like(tmp_path: Path) -> None:
    """Each item has the style that its tags point to, and its appeal: in a category, more of it sells more."""
    summary = write_synthetic(tmp_path, replace(SMALL, n_users=150, n_staples=0.0))
    truth = json.loads(summary.truth_path.read_bytes())
    entries = {entry["item_id"]: entry for entry in map(json.loads, summary.catalog_path.read_text().splitlines())}
    items = truth["items"]
    assert set(items) == set(entries)
    for item_id, drawn in items.items():
        assert set(drawn) == {"style", "appeal"}
        for tag in entries[item_id].get("tags", ()):
            direction = drawn["style"][int(tag.split()[1][:-1])]
            assert (direction > 0) == tag.endswith("+")
    bought = Counter(json.loads(line)["item_id"] for line in summary.events_path.read_text().splitlines())
    there = [item_id for item_id in items if item_id not in truth["new_items"]]
    of_category: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for item_id in there:
        of_category[tuple(entries[item_id]["category"])].append(item_id)
    groups = [group for group in of_category.values() if len(group) > 1]
    likely = [max(group, key=lambda item_id: items[item_id]["appeal"]) for group in groups]
    unlikely = [min(group, key=lambda item_id: items[item_id]["appeal"]) for group in groups]
    assert sum(bought[item_id] for item_id in likely) > 2 * sum(bought[item_id] for item_id in unlikely)


def test_new_items_are_not_sold_before(tmp_path: Path) -> None:
    """No item is taken before the day that the truth says it came."""
    summary = write_synthetic(tmp_path, SMALL)
    born = json.loads(summary.truth_path.read_bytes())["new_items"]
    assert born
    for line in summary.events_path.read_text().splitlines():
        event = json.loads(line)
        day = (event["event_time_ms"] - START_MS) / DAY_MS
        assert day + 1e-9 >= born.get(event["item_id"], 0)


def test_content_vectors_tell_the_style(tmp_path: Path) -> None:
    """With content vectors all else stays as it was; items of one category whose vectors are near have a like style."""
    plain = write_synthetic(tmp_path / "plain", SMALL)
    told = write_synthetic(tmp_path / "told", replace(SMALL, embedding=24))
    assert plain.events_path.read_bytes() == told.events_path.read_bytes()
    entries = [json.loads(line) for line in told.catalog_path.read_text().splitlines()]
    vectors = [entry.pop("embedding") for entry in entries]
    assert entries == [json.loads(line) for line in plain.catalog_path.read_text().splitlines()]
    assert {len(vector) for vector in vectors} == {24}
    shop = Simulation(SMALL).shop
    largest = shop.members[int(np.argmax([members.size for members in shop.members]))]
    above = np.triu_indices(largest.size, 1)
    of_vectors, of_style = (np.array(x)[largest] for x in (vectors, shop.style))
    near = [np.linalg.norm(x[above[0]] - x[above[1]], axis=1) for x in (of_vectors, of_style)]
    assert np.corrcoef(*near)[0, 1] > 0.5


def test_new_items_tell_when_they_came(tmp_path: Path) -> None:
    """The catalogue file says when a new item was listed, and nothing of the others."""
    summary = write_synthetic(tmp_path, SMALL)
    born = json.loads(summary.truth_path.read_bytes())["new_items"]
    for entry in map(json.loads, summary.catalog_path.read_text().splitlines()):
        day = born.get(entry["item_id"])
        assert entry.get("listed_ms") == (None if day is None else START_MS + day * DAY_MS)


@pytest.mark.parametrize("kind", ["films", "courses"])
def test_nothing_is_taken_twice(kind: str, tmp_path: Path) -> None:
    """Where things are not wanted twice, no user has an item twice."""
    summary = write_synthetic(tmp_path, small(kind))
    lines = [json.loads(line) for line in summary.events_path.read_text().splitlines()]
    assert max(Counter((event["user_id"], event["item_id"]) for event in lines).values()) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_items": 3}, "--items must be at least 16, one for each category, got 3; give 16 or more$"),
        ({"n_items": 12}, "got 12; give 16 or more, or --categories 12 or fewer$"),
        ({"n_categories": 5}, "--categories must be at least 8, one for each department, got 5; give 8 or more$"),
        ({"n_categories": 1, "n_departments": 1}, "--categories must be at least 2, got 1; give 2 or more$"),
        ({"days": 0}, "--days must be at least 1, got 0; give 1 or more$"),
        ({"basket": 0}, "^basket must be at least 1"),
    ],
)
def test_bad_sizes_are_named(wrong: dict[str, int], words: str, tmp_path: Path) -> None:
    """A size that cannot be is refused with its option and with a number that would do, and nothing is written."""
    with pytest.raises(SyntheticError, match=words):
        write_synthetic(tmp_path / "shop", replace(SMALL, **wrong))  # type: ignore[arg-type]  # integers all
    assert not (tmp_path / "shop").exists()
