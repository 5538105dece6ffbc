"""The arrays of all entities that a worker knows, as kernels read them: rows, lists, and room for both.

All compute threads read them: kernels run under :meth:`EntityArrays.reading`, which keeps changes out, and whatever
changes a row or a list waits for them, and for other changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from fasteners import ReaderWriterLock

from operators.arrays import N_ATTRIBUTE_NUMBERS, N_CONTENT, N_CONTENT_BITS, NEWEST, Entities
from operators.numeric import start_entities
from operators.params import N_CATEGORY_TOP, N_GLOBAL_TOP, N_SHARED_CATEGORIES
from operators.serving import N_TAGS, SERVING
from state.arrays import Floats, Int32s, Rows, UInt8s, UInt64s
from state.layout import ENTITY_HEADER, ENTITY_NEIGHBOURS, ENTITY_PAGES, N_FACTORS
from state.table import RowTable


def grown(old: np.ndarray, n: int, fill: int) -> np.ndarray:
    """Return an array like ``old`` with ``n`` entries along its first axis, the new ones set to ``fill``."""
    out = np.full((n, *old.shape[1:]), fill, old.dtype)
    out[: old.shape[0]] = old
    return out


class EntityArrays:
    """Rows of entities by 64-bit id, and the lists that are made of them."""

    def __init__(self) -> None:
        self._lock = ReaderWriterLock()
        self.table = RowTable(ENTITY_HEADER, ENTITY_PAGES)
        self._category: Int32s = np.zeros(0, np.int32)
        self._available: UInt8s = np.zeros(0, np.uint8)
        self._category_of_row: Int32s = np.zeros(0, np.int32)
        self._category_rows: Int32s = np.zeros(0, np.int32)
        self._category_vectors: Int32s = np.zeros(0, np.int32)
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
        self._n_categories = np.zeros(1, np.int32)
        self._shared: Int32s = np.arange(N_SHARED_CATEGORIES, dtype=np.int32)
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
        self._category_vectors = grown(self._category_vectors, n, 0)
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
            category_vectors=self._category_vectors,
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
            shared=self._shared,
            serving=self._serving[reader],
            tags=self._tags,
            attribute_totals=self._attribute_totals,
        )

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
