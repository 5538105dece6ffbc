"""B7: CPU time of each part of the work, alone and in one thread, on real purchases."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import benchmarks.offline as offline_module
from benchmarks.cluster import lines, purchases
from benchmarks.offline import Offline, Stopwatch, records
from stream_app import item_stage, user_stage

TITLE = "Kernels: CPU microseconds of each part"
PER_EVENT = {
    "decode": "decode and validate",
    "learn": "learn: profile, factors, rankers, pairs",
    "sum": "sum up the interval's updates",
    "item step": "item stage: Adagrad, counts, co-occurrence",
    "user pages": "collect changed user pages",
    "item pages": "collect changed item pages",
    "pack": "pages into record batches",
    "user store": "local store, users",
    "item store": "local store, items",
    "replica": "replica takes over item pages",
    "whole": "everything, both stages",
}
PER_SLATE = {"rank": "recall, rank and pick", "encode": "encode the slate"}
_BATCH = 2_000


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return CPU microseconds per event and per slate, after a warm-up on the first events."""
    n_warm, n = (1_000, 2_000) if quick else (100_000, 60_000)
    events_path, catalog_path = purchases(n_warm + n)
    with TemporaryDirectory(prefix="crossaisle-bench-") as folder:
        world = Offline(Path(folder))
        world.replica.apply_catalog(records("catalog", lines(catalog_path), "item_id"))
        events = records("events", lines(events_path, n_warm + n), "user_id")
        for at in range(0, n_warm, _BATCH):
            world.step(events[at : min(at + _BATCH, n_warm)])
        watch = _watched(world)
        world.sizes.clear()
        step = watch.timed("whole", world.step)
        for at in range(n_warm, n_warm + n, _BATCH):
            step(events[at : at + _BATCH])
        spent, sizes = watch.spent, world.sizes
        world.close()
    return {
        "batch": _BATCH,
        "events_per_slate": sizes["events"] / max(sizes["slates"], 1),
        "us_per_event": {text: spent[name] / sizes["events"] * 1e6 for name, text in PER_EVENT.items()},
        "us_per_slate": {text: spent[name] / max(sizes["slates"], 1) * 1e6 for name, text in PER_SLATE.items()},
    }


def _watched(world: Offline) -> Stopwatch:
    watch = Stopwatch()
    watch.wrap(user_stage, "decode_events", "decode")
    watch.wrap(user_stage, "learn_batch", "learn")
    watch.wrap(user_stage, "summed_updates", "sum")
    watch.wrap(user_stage, "fill_slates", "rank")
    watch.wrap(user_stage, "build_slate", "encode")
    for name in ("apply_counts", "apply_targets", "apply_contexts", "apply_pairs"):
        watch.wrap(item_stage, name, "item step")
    watch.wrap(world.users.table, "changed", "user pages")
    watch.wrap(world.items.table, "changed", "item pages")
    watch.wrap(offline_module, "pack", "pack")
    watch.wrap(world.user_store, "write", "user store")
    watch.wrap(world.item_store, "write", "item store")
    watch.wrap(world.replica, "apply_pages", "replica")
    return watch
