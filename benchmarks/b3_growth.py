"""B3: time and memory per event as users and items grow, with a bounded number of rows in memory.

Every user of a population has the state of one real user with thirty purchases; each event goes to a user drawn
uniformly, so that with many users nearly every one has to be loaded from the local store and evicted again.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.cluster import say
from benchmarks.offline import Offline, folder_bytes, record
from state.codec import KIND_HEADER, page_key
from state.ids import hash_id
from stream_app.records import CatalogEntry, Event

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

TITLE = "Growth: time and memory with users and items"
_T0_MS = 1_700_000_000_000
_HOT_ROWS = 20_000
_BATCH = 1_000
_N_CATEGORIES = 300
_CHUNK = 20_000
_HISTORY = 30
_HEADER = page_key(0, KIND_HEADER)[8:]


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return one line per population, and the ratios between the largest and 10⁴."""
    sizes = (100, 1_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    base = 100 if quick else 10_000
    n = 200 if quick else 10_000
    users = [_point(n_users, base, n) for n_users in sizes]
    items = [_point(base, n_items, n) for n_items in sizes]
    at = {point["users"]: point for point in users}, {point["items"]: point for point in items}
    return {
        "hot_rows": _HOT_ROWS,
        "users": users,
        "items": items,
        "users_ratio": at[0][sizes[-1]]["us_per_event"] / at[0][sizes[-3 if not quick else 0]]["us_per_event"],
        "items_ratio": at[1][sizes[-1]]["us_per_event"] / at[1][sizes[-3 if not quick else 0]]["us_per_event"],
    }


def _point(n_users: int, n_items: int, n: int) -> dict[str, Any]:
    """Build a population and return what an event costs in it."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory(prefix="crossaisle-bench-") as folder:
        world = Offline(Path(folder), hot_rows=_HOT_ROWS)
        _catalogue(world, n_items)
        world.step([_event(k, "template", int(rng.zipf(1.3)) % n_items) for k in range(_HISTORY)])
        _copy_user(world, n_users)
        _run(world, rng, n_users, n_items, 2 * _BATCH)
        world.sizes.clear()
        spent_s = _run(world, rng, n_users, n_items, n)
        table, replica = world.users.table, world.replica.table
        point = {
            "users": n_users,
            "items": n_items,
            "us_per_event": spent_s / n * 1e6,
            "users_in_memory": table.n_rows,
            "user_memory_mb": table.n_bytes / 1e6,
            "user_memory_bytes_per_row_in_use": _in_use(table) / table.n_rows,
            "user_store_bytes_per_user": folder_bytes(world.folder / "user") / n_users,
            "replica_memory_bytes_per_item": _in_use(replica) / replica.n_rows,
        }
        world.close()
    say(f"  {n_users:>9,} users, {n_items:>9,} items: {point['us_per_event']:.0f} us of CPU an event")
    return point


def _in_use(table: Any) -> int:
    pages = sum(slab.records.dtype.itemsize * slab.n_used for slab in table.pages)
    return int(table.headers.records.dtype.itemsize * table.n_rows + pages)


def _event(number: int, user: str, item: int) -> ConsumerRecord:
    event = Event(f"e{number}", "purchase", user, _T0_MS + number * 1_000, f"i{item}", session_id=f"s{number // 10}")
    return record("events", number, user.encode(), msgspec.json.encode(event))


def _catalogue(world: Offline, n_items: int) -> None:
    for at in range(0, n_items, _CHUNK):
        entries = [
            CatalogEntry(f"i{k}", ["shop", f"category-{k % _N_CATEGORIES}"])
            for k in range(at, min(at + _CHUNK, n_items))
        ]
        world.replica.apply_catalog([record("catalog", 0, e.item_id.encode(), msgspec.json.encode(e)) for e in entries])


def _copy_user(world: Offline, n_users: int) -> None:
    """Write the template user's pages to the store under the ids of all users."""
    keys = world.users.table.keys_of(world.users.table.index.get(hash_id("template")))
    pages = [page or b"" for page in world.user_store.get_many(keys)]
    for at in range(0, n_users, _CHUNK):
        ids = [hash_id(f"u{k}") for k in range(at, min(at + _CHUNK, n_users))]
        copies = [
            (user.to_bytes(8, "big") + key[8:], user.to_bytes(8, "little") + page[8:] if key[8:] == _HEADER else page)
            for user in ids
            for key, page in zip(keys, pages, strict=True)
        ]  # a header begins with the id
        world.user_store.write(copies, position=at + 1, checkpoint=None)


def _run(world: Offline, rng: np.random.Generator, n_users: int, n_items: int, n: int) -> float:
    """Learn ``n`` events of random users and return the CPU seconds of this thread."""
    base = world.sizes["events"] + 1_000 + int(rng.integers(1, 1 << 40))
    spent_s = 0.0
    for at in range(0, n, _BATCH):
        size = min(_BATCH, n - at)
        users, items = rng.integers(0, n_users, size), rng.zipf(1.3, size) % n_items
        batch = [
            _event(base % 10**6 + at + k, f"u{user}", int(item))
            for k, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True))
        ]
        started = time.thread_time()
        world.step(batch)
        spent_s += time.thread_time() - started
    return spent_s
