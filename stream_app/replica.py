"""The worker's read replica: every item's learned row and every catalogue entry.

Two tails keep it up to date; under load its own tasks are ahead of them (:mod:`operators.ahead`).

Which threads may do what: :mod:`stream_app.entity_arrays`. What Python reads alone (names, paths, catalogue entries)
needs no lock.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from operators.ahead import AHEAD, DOUBTFUL, add_learned
from operators.params import N_SCAN, N_SHARED_CATEGORIES, P_LONG, POPULARITY_DAYS
from operators.popular import update_top
from operators.replica_rows import copy_scanned, take_headers, take_neighbours
from state.arrays import Int32s, Rows, UInt8s, UInt64s
from state.codec import KEY_BYTES, KIND_HEADER, KIND_NAME, bytes_of, matrix, runs_of
from state.layout import ENTITY_HEADER, ENTITY_NEIGHBOURS, N_FACTORS, N_SLOTS, NEIGHBOUR_PAGE
from state.pages import KEYS, Pages
from stream_app.joined_catalog import JoinedCatalog

if TYPE_CHECKING:
    from operators.arrays import Accumulators
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

_LAYOUTS = {KIND_HEADER: ENTITY_HEADER, 1 + ENTITY_NEIGHBOURS: NEIGHBOUR_PAGE}

SCAN_EVERY = 32
"""The list of popular items is made anew when so many rows have changed per item on it."""


class Replica(JoinedCatalog):
    """All entities by 64-bit id, with the catalogue joined to them.

    Parameters
    ----------
    settings
        ``category_depth`` and the limits of catalogue records are taken from it.
    """

    def __init__(self, settings: "Settings") -> None:
        super().__init__(settings)
        self.names: dict[int, str] = {}
        self._scan_place: Int32s = np.zeros(0, np.int32)
        self._n_since_scan = 0
        self._is_ahead = False
        self.newest_s = 0
        """Newest time of a row, in seconds since 2000: of an event, and so what a replay takes for the present."""

    def item_name(self, item_hash: int) -> str | None:
        """Return the string of an item's id, or None where neither catalogue nor item stage knows it."""
        listed = self.listed.get(item_hash)
        return listed.item_id if listed is not None else self.names.get(item_hash)

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

    def add_learned(self, acc: "Accumulators", as_of_s: int, rate: float) -> None:
        """Show what a task of this worker has learned before it is committed; see :mod:`operators.ahead`.

        Parameters
        ----------
        acc
            Of a batch.
        as_of_s
            Time of its decayed sums, in seconds since 2000.
        rate
            Learning rate of factors and biases.
        """
        records = acc.records[: int(acc.n[0])]
        changes = np.empty(records.size, np.float64)
        with self._lock.write_lock():
            self._is_ahead = True
            headers = self.table.headers.records
            add_learned(headers, self._category_of_row, records, as_of_s, rate, changes, self.totals)
            self._follow(records["row"].copy(), changes)

    def forget_learned(self) -> None:
        """Let the next page of each row that is ahead take its place: a task opens, and one may have failed before.

        What it had added here is learned again, by this worker or another one.
        """
        with self._lock.write_lock():
            if self._is_ahead:
                ahead = self.table.headers.records["ahead"]
                ahead[ahead == AHEAD] = DOUBTFUL
                self._is_ahead = False

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
        changes = np.empty(rows.size, np.float64)
        take_headers(headers, bytes_of(headers), values, rows, runs_of(ENTITY_HEADER), changes, self.totals)
        self._follow(rows, changes)

    def _follow(self, rows: Int32s, changes: np.ndarray) -> None:
        """Bring up to date what is made of rows that have changed."""
        headers = self.table.headers.records
        self.newest_s = max(self.newest_s, int(headers["t_s"][rows].max(initial=0)))
        for lines in self._serving:
            lines["hour"][rows] = 0
        self._count_attributes(rows, changes)
        update_top(self.entities(), rows)
        self._n_since_scan += rows.size
        if self._n_since_scan > SCAN_EVERY * (self._scan.size + 1):
            self.refresh_scan()
        elif self._scan.size:
            copy_scanned(headers, self._scan_place, rows, self._scan_factors)

    def _apply_neighbours(self, ids: UInt64s, numbers: Int32s, values: UInt8s) -> None:
        table, slab = self.table, self.table.pages[ENTITY_NEIGHBOURS]
        rows = table.index.get_many(ids)
        if (rows < 0).any():
            self.ensure(np.unique(ids[rows < 0]))
            rows = table.index.get_many(ids)
        slab.reserve(int(numbers.sum()) + numbers.size)
        unknown, where = np.empty(N_SLOTS * rows.size, np.uint64), np.empty((N_SLOTS * rows.size, 2), np.int32)
        n_unknown = take_neighbours(
            table.headers.records, slab.records, bytes_of(slab.records), slab.free, slab.n_free, table.index.keys,
            table.index.rows, values, rows, numbers, runs_of(NEIGHBOUR_PAGE), unknown, where,
        )  # fmt: skip
        if n_unknown:
            self.ensure(np.unique(unknown[:n_unknown]))
            page, slot = where[:n_unknown].T
            slab.records["rows"][page, slot] = table.index.get_many(unknown[:n_unknown])

    def refresh_scan(self) -> None:
        """List the most popular items that may be shown, and their categories, in no order; called now and then."""
        headers = self.table.headers.records[: self._category.shape[0]]
        rows = np.flatnonzero((self._category[: headers.shape[0]] >= 0) & (self._available[: headers.shape[0]] > 0))
        rows = rows[headers["n"][rows] > 0]
        self._share_categories(np.unique(self._category[rows]).astype(np.int32))
        rows = rows[self._most_popular(rows.astype(np.int32), N_SCAN)]
        self._scan = rows.astype(np.int32)
        self._scan_factors = np.empty((N_FACTORS + 1, rows.size), np.float32)
        self._scan_place = np.full(self.n_rows, -1, np.int32)
        self._scan_place[rows] = np.arange(rows.size)
        copy_scanned(self.table.headers.records, self._scan_place, self._scan, self._scan_factors)
        self._n_since_scan = 0

    def _share_categories(self, alive: Int32s) -> None:
        """Choose the categories that are candidates for everybody among those that have something to recommend."""
        if int(self._n_categories[0]) > N_SHARED_CATEGORIES and alive.size:
            best = alive[self._most_popular(self._category_rows[alive].astype(np.int32), N_SHARED_CATEGORIES)]
            self._shared = np.resize(best, N_SHARED_CATEGORIES)  # fewer ones are repeated, which changes nothing

    def _most_popular(self, rows: Int32s, n: int) -> np.ndarray:
        """Return the places of the ``n`` most popular of these rows, rising."""
        if rows.size <= n:
            return np.arange(rows.size)
        headers = self.table.headers.records
        age = headers["t_s"][rows] / (86_400.0 * POPULARITY_DAYS[P_LONG])
        key = np.log2(headers["popularity"][rows, P_LONG] + 1e-9) + age
        return np.sort(np.argpartition(-key, n)[:n])
