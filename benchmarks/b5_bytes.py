"""B5: bytes of changelog, local store and memory, per event and per row, on real purchases.

How much is written hangs on how many events a commit holds: a page that several of them change is written once. So the
same events are learned twice: in commits as large as under a backlog, and in small ones, as at a moderate load.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.cluster import lines, purchases
from benchmarks.offline import Offline, folder_bytes, records

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

TITLE = "Bytes: changelog, local store and memory"
BATCHES = (2_000, 50)
"""Events of a commit: what a worker takes at once at most, and few."""


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return the figures after learning the events; record batches are counted as they go to the broker."""
    n = 3_000 if quick else 200_000
    events_path, catalog_path = purchases(n)
    catalog = records("catalog", lines(catalog_path), "item_id")
    events = records("events", lines(events_path, n), "user_id")
    return {
        "events": n,
        "input_bytes_per_event": sum(len(e.value) for e in events) / n,
        "by_batch": {str(batch): bytes_with_commits(catalog, events, batch) for batch in BATCHES},
    }


def bytes_with_commits(catalog: list[ConsumerRecord], events: list[ConsumerRecord], batch: int) -> dict[str, Any]:
    """Return the figures with a commit after every ``batch`` events."""
    n = len(events)
    with TemporaryDirectory(prefix="crossaisle-bench-") as folder:
        world = Offline(Path(folder))
        world.replica.apply_catalog(catalog)
        for at in range(0, n, batch):
            world.step(events[at : at + batch])
        tables = {"user": world.users.table, "item": world.items.table}
        world.close()
        on_disk = {kind: folder_bytes(world.folder / kind) for kind in tables}
    sizes = world.sizes
    figures: dict[str, Any] = {
        "batch": batch,
        "slates_per_event": sizes["slates"] / n,
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
