"""The worker's read replica: every item's learned row and every catalogue entry, kept up to date by two tails.

One thread changes it, all compute threads read it: kernels run under :meth:`Replica.reading`, which keeps changes out,
and everything that changes a row or a list waits for them. What Python reads alone (names, paths, catalogue entries)
needs no lock.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from fasteners import ReaderWriterLock

from operators.arrays import N_ATTRIBUTE_NUMBERS, N_CONTENT, N_CONTENT_BITS, NEWEST, Entities
from operators.attributes import attribute_numbers, tag_numbers
from operators.numeric import start_entities
from operators.params import N_CATEGORY_TOP, N_GLOBAL_TOP, N_SCAN, P_LONG, POPULARITY_DAYS
from operators.popular import list_new, update_top, withdraw_from_category
from operators.serving import N_ATTRIBUTES, N_TAGS, SERVING, count_attributes
from operators.signatures import signatures
from state.arrays import Floats, Int32s, Rows, UInt8s, UInt64s
from state.codec import KEY_BYTES, KIND_HEADER, KIND_NAME, matrix, overwrite
from state.ids import hash_category, hash_ids
from state.kernel import kernel
from state.layout import (
    ENTITY_HEADER,
    ENTITY_NEIGHBOURS,
    ENTITY_PAGES,
    EPOCH_2000_S,
    KIND_CATEGORY,
    KIND_ITEM,
    N_FACTORS,
)
from state.pages import KEYS, Pages
from state.slab import pop_free
from state.table import RowTable
from stream_app.records import CatalogEntry, EventLimits, Rejection, decode_catalog

if TYPE_CHECKING:
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

_LAYOUTS = {KIND_HEADER: ENTITY_HEADER, 1 + ENTITY_NEIGHBOURS: ENTITY_PAGES[ENTITY_NEIGHBOURS]}


_NO_ATTRIBUTES = (0,) * N_ATTRIBUTES

SCAN_EVERY = 32
"""The list of popular items is made anew when so many rows have changed per item on it."""


class ItemInfo(msgspec.Struct, frozen=True):
    """What the catalogue says of an item, as far as slates and people need it."""

    item_id: str
    category: tuple[str, ...]
    title: str | None


@kernel
def _locate(
    headers: Rows, pages: Rows, free: Int32s, n_free: Int32s, rows: Int32s, numbers: Int32s, out: Int32s
) -> None:
    """Write the page record of each ``(row, page number)`` to ``out``, appending pages to the chains as needed."""
    for k in range(rows.shape[0]):
        header = headers[rows[k]]
        at = header.heads[ENTITY_NEIGHBOURS]
        previous = 0
        for _ in range(numbers[k] + 1):
            if at == 0:
                at = pop_free(free, n_free)
                if previous == 0:
                    header.heads[ENTITY_NEIGHBOURS] = at
                else:
                    pages[previous].next = at
            previous = at
            at = pages[at].next
        out[k] = previous


def grown(old: np.ndarray, n: int, fill: int) -> np.ndarray:
    """Return an array like ``old`` with ``n`` entries along its first axis, the new ones set to ``fill``."""
    out = np.full((n, *old.shape[1:]), fill, old.dtype)
    out[: old.shape[0]] = old
    return out


class Replica:
    """All entities by 64-bit id, with the catalogue joined to them.

    Parameters
    ----------
    settings
        ``category_depth`` and the limits of catalogue records are taken from it.
    """

    def __init__(self, settings: "Settings") -> None:
        self._depth = settings.category_depth
        self._limits = EventLimits.of(settings)
        self._lock = ReaderWriterLock()
        self.table = RowTable(ENTITY_HEADER, ENTITY_PAGES)
        self.info: dict[int, ItemInfo] = {}
        self.names: dict[int, str] = {}
        self.category_paths: list[tuple[str, ...]] = []
        self._dense: dict[tuple[str, ...], int] = {}
        self.n_collisions = 0
        self._rejections: list[tuple[KafkaRecord, Rejection]] = []
        self.catalog_rejects: Counter[str] = Counter()
        """Catalogue records met that could not be read, by code."""
        self._category: Int32s = np.zeros(0, np.int32)
        self._available: UInt8s = np.zeros(0, np.uint8)
        self._category_of_row: Int32s = np.zeros(0, np.int32)
        self._category_rows: Int32s = np.zeros(0, np.int32)
        self._category_top: Int32s = np.zeros((0, N_CATEGORY_TOP), np.int32)
        self._category_top_key: Floats = np.zeros((0, N_CATEGORY_TOP), np.float32)
        self._category_n_top: Int32s = np.zeros(0, np.int32)
        self._newest: Rows = np.zeros(0, NEWEST)
        self._listed_s = np.zeros(0, np.uint32)
        self._serving: list[Rows] = [np.zeros(0, SERVING)]
        self._tags: Int32s = np.zeros((0, N_TAGS), np.int32)
        self._attribute_totals = np.zeros(N_ATTRIBUTE_NUMBERS + N_CONTENT + N_CONTENT_BITS, np.float64)
        self._size_rows(1024)
        self._size_categories(64)
        self._top = np.zeros(N_GLOBAL_TOP, np.int32)
        self._top_key = np.zeros(N_GLOBAL_TOP, np.float32)
        self._n_top = np.zeros(1, np.int32)
        self._fresh_top = np.zeros(N_GLOBAL_TOP, np.int32)
        self._fresh_top_key = np.zeros(N_GLOBAL_TOP, np.float32)
        self._n_fresh_top = np.zeros(1, np.int32)
        self._scan: Int32s = np.zeros(0, np.int32)
        self._scan_factors: Floats = np.zeros((N_FACTORS + 1, 0), np.float32)
        self._scan_place: Int32s = np.zeros(0, np.int32)
        self._n_since_scan = 0
        self._n_categories = np.zeros(1, np.int32)
        self.totals = np.zeros(3, np.float64)

    def _size_rows(self, n: int) -> None:
        self._category = grown(self._category, n, -1)
        self._available = grown(self._available, n, 0)
        self._category_of_row = grown(self._category_of_row, n, -1)
        self._listed_s = grown(self._listed_s, n, 0)
        self._serving = [grown(lines, n, 0) for lines in self._serving]
        self._tags = grown(self._tags, n, 0)

    def _size_categories(self, n: int) -> None:
        self._category_rows = grown(self._category_rows, n, -1)
        self._category_top = grown(self._category_top, n, 0)
        self._category_top_key = grown(self._category_top_key, n, 0)
        self._category_n_top = grown(self._category_n_top, n, 0)
        self._newest = grown(self._newest, n, 0)

    @property
    def n_rows(self) -> int:
        """Rows that scratch arrays must have room for."""
        return int(self.table.headers.records.shape[0])

    @property
    def ids(self) -> UInt64s:
        """Id of every row, shape ``(n_rows,)``; a row keeps its id."""
        ids: UInt64s = self.table.headers.records["id"]
        return ids

    @property
    def n_categories(self) -> int:
        """Categories that scratch arrays must have room for."""
        return int(self._category_rows.shape[0])

    def admit(self, reader: int) -> None:
        """Make serving lines for readers up to this number: each thread fills its own, for the hours of its users."""
        with self._lock.write_lock():
            self._serving += [self._serving[0].copy() for _ in range(len(self._serving), reader + 1)]

    @contextmanager
    def reading(self, reader: int = 0) -> Iterator[Entities]:
        """Keep changes out, and give the arrays as they are meanwhile. Nothing that may change rows goes inside.

        Rows that are new since the last time may be met in the arrays: scratch space is sized inside, too.

        Parameters
        ----------
        reader
            Whose serving lines are among the arrays, 0 or one that was admitted.
        """
        with self._lock.read_lock():
            yield self.entities(reader)

    def entities(self, reader: int = 0) -> Entities:
        """Return the arrays as kernels want them; where several threads run, only within :meth:`reading`."""
        return Entities(
            headers=self.table.headers.records,
            neighbours=self.table.pages[ENTITY_NEIGHBOURS].records,
            keys=self.table.index.keys,
            rows=self.table.index.rows,
            category=self._category,
            available=self._available,
            category_of_row=self._category_of_row,
            category_rows=self._category_rows,
            category_top=self._category_top,
            category_top_key=self._category_top_key,
            category_n_top=self._category_n_top,
            newest=self._newest,
            top=self._top,
            top_key=self._top_key,
            n_top=self._n_top,
            fresh_top=self._fresh_top,
            fresh_top_key=self._fresh_top_key,
            n_fresh_top=self._n_fresh_top,
            scan=self._scan,
            scan_factors=self._scan_factors,
            totals=self.totals,
            n_categories=self._n_categories,
            serving=self._serving[reader],
            tags=self._tags,
            attribute_totals=self._attribute_totals,
        )

    def refresh_scan(self) -> None:
        """List the most popular recommendable items anew; called now and then, their order does not matter."""
        headers = self.table.headers.records[: self._category.shape[0]]
        rows = np.flatnonzero((self._category[: headers.shape[0]] >= 0) & (self._available[: headers.shape[0]] > 0))
        rows = rows[headers["n"][rows] > 0]
        if rows.size > N_SCAN:
            age = headers["t_s"][rows] / (86_400.0 * POPULARITY_DAYS[P_LONG])
            key = np.log2(headers["popularity"][rows, P_LONG] + 1e-9) + age
            rows = np.sort(rows[np.argpartition(-key, N_SCAN)[:N_SCAN]])
        self._scan = rows.astype(np.int32)
        self._scan_factors = np.empty((N_FACTORS + 1, rows.size), np.float32)
        self._scan_place = np.full(self.n_rows, -1, np.int32)
        self._scan_place[rows] = np.arange(rows.size)
        self._copy_scan(np.arange(rows.size))
        self._n_since_scan = 0

    def _copy_scan(self, places: np.ndarray) -> None:
        """Bring the factors and biases at these places of the list up to date."""
        headers = self.table.headers.records[self._scan[places]]
        self._scan_factors[:N_FACTORS, places] = headers["target"].T
        self._scan_factors[N_FACTORS, places] = headers["bias"]

    def ensure(self, ids: UInt64s) -> Int32s:
        """Return the rows of distinct ids; unknown ones get a row with the start values every worker gives them."""
        rows = self._rows_of(ids)
        if (rows >= 0).all():
            return rows
        with self._lock.write_lock():
            rows, created = self.table.ensure(ids, None)
            start_entities(self.table.headers.records, created)
            if self._category.shape[0] < self.n_rows:
                self._size_rows(self.n_rows)
        return rows

    def _rows_of(self, ids: UInt64s) -> Int32s:
        """Return the row of each id, -1 for unknown ones."""
        with self._lock.read_lock():
            return self.table.index.get_many(ids)

    def numbers_of(self, ids: UInt64s) -> Int32s:
        """Return the row of each id, shape of ``ids``; unknown ids get one, and id 0 is row 0."""
        flat = ids.reshape(-1)
        rows = self._rows_of(flat)
        unknown = (rows < 0) & (flat != 0)
        if unknown.any():
            self.ensure(np.unique(flat[unknown]))
            rows = self._rows_of(flat)
        numbers: Int32s = np.maximum(rows, 0).reshape(ids.shape)
        return numbers

    def ids_of(self, numbers: Int32s) -> UInt64s:
        """Return the id of each row, shape of ``numbers``."""
        return self.ids[numbers]

    def apply_items(self, records: "Sequence[KafkaRecord]") -> None:
        """Take over a batch of item-state records, in their order.

        Raises
        ------
        state.codec.LayoutError
            A page was written by another version.
        """
        latest = {r.key: r.value for r in records if r.key is not None and len(r.key) == KEY_BYTES and r.value}
        self._apply_latest(latest)

    def apply_stored(self, pages: dict[bytes, bytes]) -> None:
        """Take over pages of a local store, by key.

        Raises
        ------
        state.codec.LayoutError
            A page was written by another version.
        """
        self._apply_latest({key: page for key, page in pages.items() if len(key) == KEY_BYTES and page})

    def apply_pages(self, pages: Pages) -> None:
        """Take over the pages that an item task of this worker has committed."""
        with self._lock.write_lock():
            for block in pages.blocks:
                keys = block.keys.reshape(-1).view(KEYS)
                self._apply_block(int(keys["kind"][0]), keys, block.values)
        self._apply_latest({key: value for key, value in pages.singles if len(key) == KEY_BYTES and value})

    def _apply_latest(self, latest: dict[bytes, bytes]) -> None:
        if not latest:
            return
        values = list(latest.values())
        keys = np.frombuffer(b"".join(latest), KEYS)
        for kind, dtype in _LAYOUTS.items():
            at = np.flatnonzero(keys["kind"] == kind)
            if at.size:
                pages = matrix([values[k] for k in at.tolist()], dtype)
                with self._lock.write_lock():
                    self._apply_block(kind, keys[at], pages)
        for k in np.flatnonzero(keys["kind"] == KIND_NAME).tolist():
            self.names[int(keys["id"][k])] = values[k].decode()

    def _apply_block(self, kind: int, keys: Rows, values: UInt8s) -> None:
        if kind == KIND_HEADER:
            self._apply_headers(keys["id"].astype(np.uint64), values)
        else:
            self._apply_neighbours(keys["id"].astype(np.uint64), keys["page"].astype(np.int32), values)

    def _apply_headers(self, ids: UInt64s, values: UInt8s) -> None:
        rows = self.ensure(ids)
        headers = self.table.headers.records
        before = headers["n"][rows].astype(np.int64)
        overwrite(headers, rows, values)
        after = headers["n"][rows].astype(np.int64)
        item = headers["kind"][rows] == KIND_ITEM
        self.totals[0] += (after - before)[item].sum()
        self.totals[1] += np.count_nonzero(item & (before == 0) & (after > 0))
        for lines in self._serving:
            lines["hour"][rows] = 0
        self._count_attributes(rows, (after - before).astype(np.float64))
        update_top(self.entities(), rows)
        self._n_since_scan += rows.size
        if self._n_since_scan > SCAN_EVERY * (self._scan.size + 1):
            self.refresh_scan()
        elif self._scan.size:
            places = self._scan_place[rows[rows < self._scan_place.size]]
            self._copy_scan(places[places >= 0])

    def _apply_neighbours(self, ids: UInt64s, numbers: Int32s, values: UInt8s) -> None:
        rows = self.table.index.get_many(ids)
        if (rows < 0).any():
            self.ensure(np.unique(ids[rows < 0]))
            rows = self.table.index.get_many(ids)
        slab = self.table.pages[ENTITY_NEIGHBOURS]
        slab.reserve(int(numbers.sum()) + numbers.size)
        pages = np.empty(rows.size, np.int32)
        _locate(self.table.headers.records, slab.records, slab.free, slab.n_free, rows, numbers, pages)
        before = slab.records["ids"][pages]
        overwrite(slab.records, pages, values)
        after = slab.records["ids"][pages]
        page, slot = np.nonzero(after != before)  # most slots keep their neighbour, and with it the row that it has
        neighbours = after[page, slot]
        resolved = self.table.index.get_many(neighbours)
        unknown = (resolved < 0) & (neighbours != 0)
        if unknown.any():
            self.ensure(np.unique(neighbours[unknown]))
            resolved = self.table.index.get_many(neighbours)
        slab.records["rows"][pages[page], slot] = np.where(neighbours == 0, 0, resolved)

    def apply_catalog(self, records: "Sequence[KafkaRecord]") -> None:
        """Take over a batch of catalogue records; what cannot be read is kept for :meth:`take_catalog_rejections`."""
        decoded = decode_catalog(records, limits=self._limits)
        self._rejections += [(records[r.index], r) for r in decoded.rejections]
        self.catalog_rejects.update(r.code for r in decoded.rejections)
        latest = dict(decoded.entries)
        if not latest:
            return
        bad = {r.index for r in decoded.rejections}
        stamps = (record.timestamp for index, record in enumerate(records) if index not in bad)
        times_ms = dict(zip((item_id for item_id, _ in decoded.entries), stamps, strict=True))
        ids = hash_ids(latest, len(latest))
        if np.unique(ids).size < ids.size:
            self.n_collisions += 1
            names = dict(zip(ids.tolist(), latest, strict=True))
            latest = {name: latest[name] for name in names.values()}
            ids = hash_ids(latest, len(latest))
        entries = list(latest.values())
        paths = [self._path_of(entry) for entry in entries]
        with self._lock.write_lock():
            rows = self.ensure(ids)
            self._place(rows, paths, entries)
            self._list(rows, ids, [times_ms[item_id] for item_id in latest], entries)
            self._describe(rows, paths, entries)
            self._inform(ids, paths, latest)
            update_top(self.entities(), rows)
            list_new(self.entities(), rows, self._listed_s[rows])

    def _path_of(self, entry: CatalogEntry | None) -> tuple[str, ...]:
        path = tuple(entry.category) if entry is not None else ()
        return path[: self._depth] if self._depth > 0 else path

    def _place(
        self, rows: Int32s, paths: "Sequence[tuple[str, ...]]", entries: "Sequence[CatalogEntry | None]"
    ) -> None:
        """Put items into the categories of their catalogue entries, out of those that they were in."""
        new = np.array([self._dense_category(path) if path else -1 for path in paths], np.int32)
        old = self._category[rows]
        for k in np.flatnonzero((old != -1) & (old != new)).tolist():
            withdraw_from_category(self.entities(), rows[k], old[k])
        self._category[rows] = new
        self._available[rows] = (new >= 0) & np.array([entry is not None and entry.available for entry in entries])

    def _describe(
        self, rows: Int32s, paths: "Sequence[tuple[str, ...]]", entries: "Sequence[CatalogEntry | None]"
    ) -> None:
        """Give items the attributes of their catalogue entries; their events count for these from now on."""
        events = self.table.headers.records["n"][rows].astype(np.float64)
        self._count_attributes(rows, -events)
        self._serving[0]["attributes"][rows] = [
            attribute_numbers(path, entry.brand, entry.price, entry.title) if entry is not None else _NO_ATTRIBUTES
            for path, entry in zip(paths, entries, strict=True)
        ]
        self._tags[rows] = [tag_numbers(entry.tags if entry is not None else None) for entry in entries]
        self._serving[0]["tagged"][rows] = self._tags[rows, 0] > 0
        self._embed(rows, entries)
        for lines in self._serving[1:]:
            lines[rows] = self._serving[0][rows]
        self._count_attributes(rows, events)

    def _embed(self, rows: Int32s, entries: "Sequence[CatalogEntry | None]") -> None:
        """Give items the signatures of their content vectors."""
        embedded = self._serving[0]["embedded"]
        self.totals[2] -= np.count_nonzero(embedded[rows])
        self._serving[0]["signature"][rows], embedded[rows] = signatures(
            [entry.embedding if entry is not None else None for entry in entries]
        )
        self.totals[2] += np.count_nonzero(embedded[rows])

    def _count_attributes(self, rows: Int32s, events: np.ndarray) -> None:
        count_attributes(self._serving[0], self._tags, rows, events, self._attribute_totals, N_ATTRIBUTE_NUMBERS)

    def _list(
        self, rows: Int32s, ids: UInt64s, times_ms: "Sequence[int]", entries: "Sequence[CatalogEntry | None]"
    ) -> None:
        """Note when items were listed: at the first entry since they were not in the catalogue."""
        seconds = np.clip(np.array(times_ms, np.int64) // 1000 - EPOCH_2000_S, 0, np.iinfo(np.uint32).max)
        known = np.fromiter((item_hash in self.info for item_hash in ids.tolist()), np.bool_, ids.size)
        gone = np.fromiter((entry is None for entry in entries), np.bool_, ids.size)
        self._listed_s[rows] = np.where(gone, 0, np.where(known, self._listed_s[rows], seconds))

    def _inform(
        self, ids: UInt64s, paths: "Sequence[tuple[str, ...]]", latest: "Mapping[str, CatalogEntry | None]"
    ) -> None:
        """Keep what people read of the items, and count those that share their id with another one."""
        for item_hash, path, (item_id, entry) in zip(ids.tolist(), paths, latest.items(), strict=True):
            known = self.info.get(item_hash)
            if known is not None and known.item_id != item_id:
                self.n_collisions += 1
            if entry is not None:
                self.info[item_hash] = ItemInfo(item_id, path, entry.title)
            elif known is not None:
                del self.info[item_hash]

    def _dense_category(self, path: tuple[str, ...]) -> int:
        dense = self._dense.get(path)
        if dense is None:
            dense = self._dense[path] = self._new_category(path)
        return dense

    def _new_category(self, path: tuple[str, ...]) -> int:
        """Return the dense number of a path that is met for the first time; two that share an id share it."""
        row = int(self.ensure(np.array([hash_category(path)], np.uint64))[0])
        dense = int(self._category_of_row[row])
        if dense < 0:
            dense = len(self.category_paths)
            if dense >= self.n_categories:
                self._size_categories(2 * self.n_categories)
            self.category_paths.append(path)
            self._category_of_row[row] = dense
            self._category_rows[dense] = row
            self._n_categories[0] = dense + 1
            self.table.headers.records[row]["kind"] = KIND_CATEGORY
        return dense

    def take_catalog_rejections(self) -> "list[tuple[KafkaRecord, Rejection]]":
        """Return the catalogue records that could not be read since the last call, with the reasons."""
        taken, self._rejections = self._rejections, []
        return taken

    def item_name(self, item_hash: int) -> str | None:
        """Return the string of an item's id, or None where neither catalogue nor item stage knows it."""
        info = self.info.get(item_hash)
        return info.item_id if info is not None else self.names.get(item_hash)

    def category_path(self, category_hash: int) -> tuple[str, ...]:
        """Return the path of a category, empty where the catalogue does not know it."""
        with self._lock.read_lock():
            row = self.table.index.get(category_hash)
            dense = int(self._category_of_row[row]) if row >= 0 else -1
        return self.category_paths[dense] if dense >= 0 else ()
