"""B3: time and memory per event as users and items grow, with a bounded number of rows in memory.

Every user of a population has the state of one user with thirty purchases, every item that of one of the items bought.
The local stores hold all of them, and the replica knows all items. Before it is measured, ``hot_rows`` users and as
many items are in memory, or all where there are fewer. Each event has a user and an item, both drawn uniformly, so that
of many nearly every one has to be loaded from the local store, and as many are evicted again; how many are is a figure,
too. With most items it is measured once more with items drawn by Zipf's law, of which few are asked for often.

Three times are taken per event: CPU time of this thread; CPU time of all threads, RocksDB's among them; and time by the
clock, which has what is waited for, but also what other processes of the machine take. The store's files are in the
page cache as far as memory goes. What is written to fill the stores is merged before the measurement begins.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.cluster import say
from benchmarks.offline import Offline, folder_bytes, record
from state.codec import KIND_HEADER, KIND_NAME, page_key
from state.ids import hash_id
from state.layout import KIND_ITEM
from state.pages import Pages
from stream_app.records import CatalogEntry, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import ConsumerRecord

    from state.store import PageStore
    from state.table import RowTable

TITLE = "Growth: time and memory with users and items"
_T0_MS = 1_700_000_000_000
_HOT_ROWS = 20_000
_BATCH = 1_000
_N_CATEGORIES = 300
_CHUNK = 20_000
_HISTORY = 30
RATIOS = {"ratio": "us_per_event", "process_ratio": "process_us_per_event", "wall_ratio": "wall_us_per_event"}
"""By the end of their names: of the CPU time of this thread, of all threads, and of the clock."""
_SETTLE_S, _SETTLE_TIMEOUT_S = 0.2, 60.0
_HEADER = page_key(0, KIND_HEADER)[8:]


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return one line per population, and the ratios between the largest and 10⁴ by each of the three times."""
    sizes = (100, 2_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    base = 100 if quick else 10_000
    n, hot_rows = (200, 1_000) if quick else (10_000, _HOT_ROWS)
    users = [_point(n_users, base, n, hot_rows, skewed=False) for n_users in sizes]
    items = [_point(base, n_items, n, hot_rows, skewed=n_items == sizes[-1]) for n_items in sizes]
    figures: dict[str, Any] = {"hot_rows": hot_rows, "users": users, "items": items}
    for kind in ("users", "items"):
        at = {point[kind]: point for point in figures[kind]}
        for name, key in RATIOS.items():
            figures[f"{kind}_{name}"] = at[sizes[-1]][key] / at[base][key]
    return figures


def _point(n_users: int, n_items: int, n: int, hot_rows: int, *, skewed: bool) -> dict[str, Any]:
    """Build a population and return what an event costs in it."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory(prefix="crossaisle-bench-") as folder:
        world = Offline(Path(folder), hot_rows=hot_rows)
        _catalogue(world, n_items)
        world.step([_event(k, "template", int(rng.zipf(1.3)) % n_items) for k in range(_HISTORY)])
        _copy_user(world, n_users)
        _copy_item(world, n_items)
        _warm(world, n_users, n_items, hot_rows)
        _run(world, n_users, 2 * _BATCH, lambda size: rng.integers(0, n_items, size), rng)
        _settle()
        spent = _run(world, n_users, n, lambda size: rng.integers(0, n_items, size), rng)
        table, replica = world.users.table, world.replica.table
        point: dict[str, Any] = {
            "users": n_users,
            "items": n_items,
            **spent,
            "users_in_memory": table.n_rows,
            "items_in_memory": world.items.table.n_rows,
            "user_memory_mb": table.n_bytes / 1e6,
            "user_memory_bytes_per_row_in_use": _in_use(table) / table.n_rows,
            "user_store_bytes_per_user": folder_bytes(world.folder / "user") / n_users,
            "item_store_bytes_per_item": folder_bytes(world.folder / "item") / n_items,
            "replica_memory_bytes_per_item": _in_use(replica) / replica.n_rows,
        }
        if skewed:
            point["skewed"] = _run(world, n_users, n, lambda size: rng.zipf(1.3, size) % n_items, rng)
        world.close()
    say(
        f"  {n_users:>9,} users, {n_items:>9,} items: {point['us_per_event']:.0f} us of this thread an event, "
        f"{point['process_us_per_event']:.0f} of all, {point['wall_us_per_event']:.0f} of the clock"
    )
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
    keys, pages = _template(world.users.table, world.user_store, hash_id("template"))
    for at in range(0, n_users, _CHUNK):
        ids = [hash_id(f"u{k}") for k in range(at, min(at + _CHUNK, n_users))]
        world.user_store.write(_copies(keys, pages, ids), position=at + 1, checkpoint=None)


def _copy_item(world: Offline, n_items: int) -> None:
    """Write the pages of the item with the most of them to the store under the ids of all items, with their names.

    The replica gets them, too, as it follows all items.
    """
    table = world.items.table
    headers = table.headers.records
    rows = table.index.get_many(table.ids())
    bought = rows[(headers["kind"][rows] == KIND_ITEM) & (headers["named"][rows] == 1)]
    row = bought[np.argmax(headers["n_pages"][bought].sum(axis=1))]
    keys, pages = _template(table, world.item_store, int(headers["id"][row]))
    for at in range(0, n_items, _CHUNK):
        names = [f"i{k}" for k in range(at, min(at + _CHUNK, n_items))]
        ids = [hash_id(name) for name in names]
        copies: list[tuple[bytes, bytes | None]] = [*_copies(keys, pages, ids)]
        copies += [(page_key(item, KIND_NAME), name.encode()) for item, name in zip(ids, names, strict=True)]
        world.item_store.write(copies, position=at + 1, checkpoint=None)
        world.replica.apply_pages(Pages(copies))


def _template(table: RowTable, store: PageStore, row_id: int) -> tuple[list[bytes], list[bytes]]:
    """Return keys and pages of a row."""
    keys = table.keys_of(table.index.get(row_id))
    return keys, [page or b"" for page in store.get_many(keys)]


def _copies(keys: list[bytes], pages: list[bytes], ids: list[int]) -> list[tuple[bytes, bytes]]:
    """Return a row's keys and pages under other ids; a header begins with the id."""
    return [
        (to.to_bytes(8, "big") + key[8:], to.to_bytes(8, "little") + page[8:] if key[8:] == _HEADER else page)
        for to in ids
        for key, page in zip(keys, pages, strict=True)
    ]


def _warm(world: Offline, n_users: int, n_items: int, hot_rows: int) -> None:
    """Load rows until memory holds as many as it may, or all."""
    for table, store, letter, n in (
        (world.users.table, world.user_store, "u", n_users),
        (world.items.table, world.item_store, "i", n_items),
    ):
        ids = np.array([hash_id(f"{letter}{k}") for k in range(min(n, hot_rows))], np.uint64)
        table.ensure(ids, store.get_many)


def _settle() -> None:
    """Wait until the store's threads have nothing left to do of what was written to fill it."""
    until_s = time.monotonic() + _SETTLE_TIMEOUT_S
    spent_s = time.process_time()
    while time.monotonic() < until_s:
        time.sleep(_SETTLE_S)
        before_s, spent_s = spent_s, time.process_time()
        if spent_s - before_s < _SETTLE_S / 50:
            return


def _run(
    world: Offline, n_users: int, n: int, draw_items: Callable[[int], np.ndarray], rng: np.random.Generator
) -> dict[str, float]:
    """Learn ``n`` events of random users and return what an event took, and how many rows went, by all three times."""
    base = world.sizes["events"] + 1_000 + int(rng.integers(1, 1 << 40))
    spent = np.zeros(3)
    evicted = _evictions(world)
    for at in range(0, n, _BATCH):
        size = min(_BATCH, n - at)
        users, items = rng.integers(0, n_users, size), draw_items(size)
        batch = [
            _event(base % 10**6 + at + k, f"u{user}", int(item))
            for k, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True))
        ]
        started = _clocks()
        world.step(batch)
        spent += _clocks() - started
    thread_us, process_us, wall_us = (spent / n * 1e6).tolist()
    users_gone, items_gone = (sum(gone) / n for gone in evicted)
    return {
        "us_per_event": thread_us,
        "process_us_per_event": process_us,
        "wall_us_per_event": wall_us,
        "users_evicted_per_event": users_gone,
        "items_evicted_per_event": items_gone,
    }


def _evictions(world: Offline) -> tuple[list[int], list[int]]:
    """Return lists that get the number of rows, users and items, of each eviction from now on."""
    found: tuple[list[int], list[int]] = ([], [])
    for table, gone in zip((world.users.table, world.items.table), found, strict=True):
        setattr(table, "evict", _noted(partial(type(table).evict, table), gone))  # noqa: B010 - in the method's place
    return found


def _noted(evict: Callable[[int], int], gone: list[int]) -> Callable[[int], int]:
    def run(keep: int) -> int:
        gone.append(evict(keep))
        return gone[-1]

    return run


def _clocks() -> np.ndarray:
    """Return the seconds of this thread's CPU, of the process's, and of the clock."""
    return np.array([time.thread_time(), time.process_time(), time.perf_counter()])
