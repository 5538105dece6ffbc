"""B5: bytes of changelog, local store and memory, per event and per row, on real purchases."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cluster import lines, purchases
from benchmarks.offline import Offline, folder_bytes, records

TITLE = "Bytes: changelog, local store and memory"
_BATCH = 2_000


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return the figures after learning the events; record batches are counted as they go to the broker."""
    n = 3_000 if quick else 200_000
    events_path, catalog_path = purchases(n)
    with TemporaryDirectory(prefix="crossaisle-bench-") as folder:
        world = Offline(Path(folder))
        world.replica.apply_catalog(records("catalog", lines(catalog_path), "item_id"))
        events = records("events", lines(events_path, n), "user_id")
        for at in range(0, n, _BATCH):
            world.step(events[at : at + _BATCH])
        tables = {"user": world.users.table, "item": world.items.table}
        world.close()
        on_disk = {kind: folder_bytes(world.folder / kind) for kind in tables}
    sizes = world.sizes
    figures: dict[str, Any] = {
        "events": n,
        "input_bytes_per_event": sum(len(e.value) for e in events) / n,
        "slate_bytes_per_event": sizes["slate_bytes"] / n,
        "item_update_bytes_per_event": sizes["update_bytes"] / n,
    }
    for kind, table in tables.items():
        used = table.headers.records.dtype.itemsize * table.n_rows + sum(
            slab.records.dtype.itemsize * slab.n_used for slab in table.pages
        )
        figures[kind] = {
            "rows": table.n_rows,
            "pages_per_event": sizes[f"{kind}_pages"] / n,
            "changelog_bytes_per_event": sizes[f"{kind}_changelog_bytes"] / n,
            "changelog_overhead": sizes[f"{kind}_changelog_bytes"] / max(sizes[f"{kind}_page_bytes"], 1),
            "memory_bytes_per_row": used / table.n_rows,
            "memory_allocated_bytes_per_row": table.n_bytes / table.n_rows,
            "store_bytes_per_row": on_disk[kind] / table.n_rows,
            "write_amplification": sizes[f"{kind}_page_bytes"] / max(used, 1),
        }
    return figures
