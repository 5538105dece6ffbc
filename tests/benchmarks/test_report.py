"""The tables of the page on speed: what results of any age hold is in them."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from benchmarks.report import RENDER, RESULTS, section


def _kept(scenario: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{scenario}.json").read_text())
    return found


@pytest.mark.parametrize("scenario", sorted(RENDER))
def test_kept_results_render(scenario: str) -> None:
    """Whatever version measured them."""
    assert section(_kept(scenario)).startswith(f"## {scenario}: ")


def _contestant(events_per_s: float, cpu_us: float, slates: float = 1.0) -> dict[str, float]:
    return {
        "events_per_s": events_per_s,
        "cpu_us_per_event": cpu_us,
        "rss_mb": 100.0,
        "slates_per_event": slates,
        "warm_up_events_per_s": 1.0,
    }


def test_b1_tells_both_ratios() -> None:
    """By events per second and by CPU time; contestants that were not measured have no line."""
    figures = {
        "processes": {"quix_processes": 2},
        "contestants": {
            "raw": _contestant(100_000, 5),
            "worker": _contestant(20_000, 80, 0.05),
            "quix": _contestant(5_000, 200),
            "quix_processes": _contestant(8_000, 240),
            "faust": _contestant(2_000, 480),
        },
        "rounds": {"raw": [{}, {}]},
        "worker_share_of_raw": 0.2,
        "worker_times_faust": 10.0,
        "worker_times_quix": 4.0,
    }
    text = RENDER["B1"](figures)
    assert "| Quix Streams, state, River | 5,000 | 0.050 | 4.00 | 200 | 2.50 | 1.00 | 100 | 1.00 |" in text
    assert "| Quix Streams, as many processes as cores (2) | 8,000 |" in text
    assert "slate per user and second" not in text
    assert "10.0 x Faust with River, 4.0 x Quix" in text
    assert "Faust takes 6.0 times as much, Quix Streams 2.5 times" in text


def test_b3_tells_all_ratios() -> None:
    """Those of one thread, of all, and of the clock, and how many rows went."""
    figures = _kept("B3")["figures"]
    for number, point in enumerate((*figures["users"], *figures["items"])):
        point["us_per_event"] = point["process_us_per_event"] = point["wall_us_per_event"] = 100.0 + number
        point["users_evicted_per_event"], point["items_evicted_per_event"] = 0.9, 1.5
    figures["items"][-1]["skewed"] = deepcopy(figures["items"][-1])
    for kind in ("users", "items"):
        figures |= {f"{kind}_ratio": 1.1, f"{kind}_process_ratio": 1.2, f"{kind}_wall_ratio": 1.4}
    text = RENDER["B3"](figures)
    assert "| 10,000 users, 1,000,000 items | 107 | 107 | 107 | 0.90 | 1.50 |" in text
    assert "few of them asked for often | 107 |" in text
    assert "items 1.10 times by CPU time of one thread, 1.20 of all threads, 1.40 by the clock" in text


def test_b4_names_what_is_counted() -> None:
    """Earlier results counted all records of the changelogs, and called them records."""
    old = RENDER["B4"]({"empty_beyond_start_s_per_million_records": 3.7})
    new = RENDER["B4"]({"rows": 30, "empty_beyond_start_s_per_million_rows": 9.0})
    assert "| empty beyond start s per million changelog records | 3.70 |" in old
    assert "| empty beyond start s per million rows | 9.00 |" in new


def test_b5_has_a_column_for_each_size_of_commits() -> None:
    """What hangs on no commit stands in both; earlier results have one column, and say of which commits."""
    figures = {
        "events": 10,
        "by_batch": {
            "2000": {"batch": 2_000, "user": {"rows": 3, "changelog_bytes_per_event": 1.5}},
            "50": {"batch": 50, "user": {"rows": 3, "changelog_bytes_per_event": 2.5}},
        },
    }
    text = RENDER["B5"](figures)
    assert "|  | commits of 2,000 events | commits of 50 events |" in text
    assert "| events | 10 | 10 |" in text
    assert "| user: changelog bytes per event | 1.50 | 2.50 |" in text
    assert RENDER["B5"]({"events": 10}).endswith("Commits of 2,000 events.")
