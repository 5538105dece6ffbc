"""New items are found before anybody had them, and with content vectors more often: measured on a small shop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_app.evaluation.files import Request, evaluate_files
from stream_app.evaluation.replay import ReplayModel
from stream_app.records import Event, LocalRecord
from stream_app.settings import Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, with_sizes
from tests.stream_app.evaluation.files_of import NOW_MS, START_MS

SHOP = replace(
    with_sizes(KINDS["groceries"], n_users=300, n_items=600, n_categories=12, days=90, seed=5),
    drift_day=None, new_items=0.4, n_staples=3.0, loyalty=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """Return what the product earns in one shop, by the components of the content vectors."""
    out = {}
    for components in (0, 24):
        folder = tmp_path_factory.mktemp("shop")
        write_synthetic(folder, replace(SHOP, embedding=components))
        request = Request(
            folder / "events.jsonl", folder / "catalog.jsonl", folder / "out", ("crossaisle",), NOW_MS, warmup=0.3
        )
        out[components] = evaluate_files(request, Settings())["models"]["crossaisle"]
    return out


def test_new_items_are_listed_before_their_first_event(figures: dict[int, dict[str, Any]]) -> None:
    """With content vectors or without, half of the new items are on a list before anybody had them."""
    for of_shop in figures.values():
        new = of_shop["cold_start"]["new_items"]
        assert new["n"] > 50
        assert new["before_first_event"] > 0.4
        assert new["before_second_event"] > 0.7


def test_content_vectors_find_new_items(figures: dict[int, dict[str, Any]]) -> None:
    """Of items in their first ten events more is on the right list, and nothing else becomes worse."""
    plain, told = figures[0], figures[24]
    of_new = [of_shop["by_item_events"]["1-9"]["e"]["mean"] for of_shop in (plain, told)]
    assert of_new[1] > of_new[0] + 0.01
    of_all = {name: [of_shop["lists"][name]["all"]["hr"]["mean"] for of_shop in (plain, told)] for name in ("x", "e")}
    assert of_all["e"][1] > of_all["e"][0] + 0.005
    assert of_all["x"][1] > of_all["x"][0] - 0.003


def test_items_come_when_they_are_listed() -> None:
    """The replay hands over a record of the catalogue when its time has come, and not before."""
    early = LocalRecord(b"i1", b'{"item_id":"i1","category":["a"]}')
    late = LocalRecord(b"i2", b'{"item_id":"i2","category":["b"]}', timestamp=START_MS + 2_000)
    model = ReplayModel(Settings(), [late, early], replica_lag=1)
    known = []
    for k in range(4):
        time_ms = START_MS + 1_000 * k
        event = Event(event_id=f"e{k}", type="purchase", user_id="u", item_id="i1", event_time_ms=time_ms)
        model.score_and_learn([event], k, np.zeros(1, np.bool_))
        known.append(len(model._replica.listed))
    assert known == [1, 1, 2, 2]
