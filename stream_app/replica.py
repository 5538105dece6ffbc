"""The worker's read replica: every item's learned row and every catalogue entry, kept up to date by two tails.

Which threads may do what: :mod:`stream_app.entity_arrays`. What Python reads alone (names, paths, catalogue entries)
needs no lock.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from operators.params import N_SCAN, P_LONG, POPULARITY_DAYS
from operators.popular import update_top
from state.arrays import Int32s, Rows, UInt8s, UInt64s
from state.codec import KEY_BYTES, KIND_HEADER, KIND_NAME, matrix, overwrite
from state.kernel import kernel
from state.layout import ENTITY_HEADER, ENTITY_NEIGHBOURS, ENTITY_PAGES, KIND_ITEM, N_FACTORS
from state.pages import KEYS, Pages
from state.slab import pop_free
from stream_app.joined_catalog import JoinedCatalog

if TYPE_CHECKING:
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

_LAYOUTS = {KIND_HEADER: ENTITY_HEADER, 1 + ENTITY_NEIGHBOURS: ENTITY_PAGES[ENTITY_NEIGHBOURS]}

SCAN_EVERY = 32
"""The list of popular items is made anew when so many rows have changed per item on it."""


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

    def item_name(self, item_hash: int) -> str | None:
        """Return the string of an item's id, or None where neither catalogue nor item stage knows it."""
        info = self.info.get(item_hash)
        return info.item_id if info is not None else self.names.get(item_hash)

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
