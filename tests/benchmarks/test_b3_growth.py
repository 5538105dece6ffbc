"""B3: beyond ``hot_rows`` rows come and go, of items as of users."""

from __future__ import annotations

import asyncio

from benchmarks.b3_growth import RATIOS, measure


def test_more_rows_than_memory_holds_come_and_go() -> None:
    """With the fewest users and items all stay in memory; with the most, both kinds are evicted as they are loaded."""
    figures = asyncio.run(measure(quick=True))
    few, many_users, many_items = figures["users"][0], figures["users"][-1], figures["items"][-1]
    assert few["users_evicted_per_event"] == few["items_evicted_per_event"] == 0
    assert many_users["users"] > figures["hot_rows"]
    assert many_users["users_evicted_per_event"] > 0.5
    assert many_items["items"] > figures["hot_rows"]
    assert many_items["items_evicted_per_event"] > 0.5
    assert many_users["users_in_memory"] <= figures["hot_rows"]
    assert many_items["items_in_memory"] <= figures["hot_rows"]
    assert all(f"{kind}_{name}" in figures for kind in ("users", "items") for name in RATIOS)
    assert set(RATIOS.values()) <= set(many_items["skewed"])
