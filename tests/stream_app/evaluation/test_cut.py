"""The four lists of a baseline, cut from one ranking by the rules of the product."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_app.evaluation.baselines.base import Cut
from stream_app.evaluation.history import History, Numbering
from stream_app.evaluation.source import read_catalog
from stream_app.records import Event
from stream_app.settings import Settings
from tests.stream_app.evaluation.files_of import event, write_lines

if TYPE_CHECKING:
    from pathlib import Path

N_EACH = 12
"""Items of a category; the ranking begins with all of the first one."""


def slate(tmp_path: Path, n_categories: int, n_gone: int, cap: int) -> list[int]:
    """Return how many items of each category a user's slate holds, most first; the last category is the context.

    All items of the last ``n_gone`` categories before it are out of stock.
    """
    gone = range(n_categories - 1 - n_gone, n_categories - 1)
    entries = [
        {"item_id": f"i{k}", "category": [f"c{k // N_EACH}"], "available": k // N_EACH not in gone}
        for k in range(n_categories * N_EACH)
    ]
    catalog = read_catalog(write_lines(tmp_path / "catalog.jsonl", entries), Settings())
    numbering = Numbering(catalog)
    history = History(numbering)
    history.learn(msgspec.convert(event(0, "u", f"i{n_categories * N_EACH - 1}"), Event))
    before = history.before(msgspec.convert(event(1, "u", "i0"), Event))
    cut = Cut(numbering, catalog, cap=cap, discovery_slots=2)
    items = cut.lists(range(len(entries)), before, set())["slate"]
    return [n for _, n in Counter(int(item[1:]) // N_EACH for item in items).most_common()]


@pytest.mark.parametrize(
    ("n_categories", "n_gone", "cap", "expected"),
    [
        (4, 0, 2, [7, 3]),
        (6, 0, 2, [4, 4, 2]),
        (6, 2, 2, [7, 3]),
        (11, 0, 2, [2] * 5),
        (11, 1, 2, [3, 3, 3, 1]),
        (30, 0, 2, [2] * 5),
        (30, 0, 1, [1] * 10),
        (4, 0, 0, [10]),
    ],
)
def test_slates_keep_the_cap_in_force(
    tmp_path: Path, n_categories: int, n_gone: int, cap: int, expected: list[int]
) -> None:
    """Categories of the context and those without anything to show do not count; with enough others the cap stays."""
    assert slate(tmp_path, n_categories, n_gone, cap) == expected
