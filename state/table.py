"""Rows of one kind in memory: headers, page chains, id map; loading, evicting and the bytes of what changed."""

from collections.abc import Callable, Sequence

import numpy as np

from state.arrays import Int32s, Rows, UInt64s
from state.codec import KIND_HEADER, matrix, overwrite, page_key
from state.idmap import IdMap
from state.kernel import kernel
from state.numbering import Numbering, Numbers
from state.pages import Pages, make_block
from state.slab import Slab

GetMany = Callable[[list[bytes]], Sequence[bytes | None]]


@kernel
def _collect_dirty(headers: Rows, pages: Rows, chain: int, touched: Int32s, out: Int32s) -> int:
    """Write ``(row, page number, page record)`` triples of dirty pages to ``out`` and clear their marks."""
    n = 0
    for k in range(touched.shape[0]):
        at = headers[touched[k]].heads[chain]
        number = 0
        while at > 0:
            if pages[at].dirty:
                if n < out.shape[0]:
                    out[n, 0], out[n, 1], out[n, 2] = touched[k], number, at
                    pages[at].dirty = 0
                n += 1
            number += 1
            at = pages[at].next
    return n


class RowTable:
    """Headers and page chains of one kind of row, found by 64-bit id.

    Record 0 of every slab is never used: a chain head or ``next`` of 0 means "none", so zeroed records are valid.

    Parameters
    ----------
    header
        Layout of a header, with the fields ``id``, ``n_pages``, ``heads``, ``tick`` and ``dirty``.
    pages
        Layouts of the chains' pages, in chain order.
    numbering
        Numbers of the entities that the rows name; one of the table's own if not given.
    """

    def __init__(self, header: np.dtype, pages: Sequence[np.dtype], numbering: Numbering | None = None) -> None:
        self.numbering = numbering or Numbers()
        self.headers = Slab(header)
        self.pages = [Slab(dtype) for dtype in pages]
        for slab in (self.headers, *self.pages):
            slab.take()
        self.index = IdMap()

    @property
    def n_rows(self) -> int:
        """Rows in memory."""
        return self.index.n

    @property
    def n_bytes(self) -> int:
        """Memory taken by slabs and index, in bytes."""
        index = self.index.keys.nbytes + self.index.rows.nbytes
        return int(self.headers.n_bytes + sum(slab.n_bytes for slab in self.pages) + index)

    def reserve_pages(self, n_more: int) -> None:
        """Make sure that a kernel can take ``n_more`` pages of every chain."""
        for slab in self.pages:
            slab.reserve(n_more)

    def ensure(self, ids: UInt64s, get_many: GetMany | None) -> tuple[Int32s, Int32s]:
        """Return the row of every id, loading or creating what is not in memory.

        Parameters
        ----------
        ids
            Distinct ids, shape ``(n,)``, uint64.
        get_many
            Reads the values of keys from the store, ``None`` where absent; without it all missing rows are created.

        Returns
        -------
        rows, created
            Row numbers, shape ``(n,)``; and the numbers of the rows that were created empty.
        """
        rows = self.index.get_many(ids)
        missing = np.flatnonzero(rows < 0)
        if missing.size == 0:
            return rows, np.empty(0, np.int32)
        missing_ids = ids[missing]
        new_rows = self.headers.take_many(missing.size)
        self.headers.records["id"][new_rows] = missing_ids
        self.index.put_many(missing_ids, new_rows)
        rows[missing] = new_rows
        if get_many is None:
            return rows, new_rows
        values = get_many([page_key(row_id, KIND_HEADER) for row_id in missing_ids.tolist()])
        found = [k for k, value in enumerate(values) if value is not None]
        if found:
            bodies = [value for value in values if value is not None]
            overwrite(self.headers.records, new_rows[found], matrix(bodies, self.headers.records.dtype), self.numbering)
            self._load_pages(new_rows[found], get_many)
        created = np.ones(new_rows.size, bool)
        created[found] = False
        return rows, new_rows[created]

    def _load_pages(self, rows: Int32s, get_many: GetMany) -> None:
        """Read all pages of rows whose headers were read just now, and chain them up."""
        headers = self.headers.records
        n_pages = headers["n_pages"][rows, : len(self.pages)].astype(np.int64)
        keys = [
            page_key(row_id, 1 + chain, number)
            for row_id, of_row in zip(headers["id"][rows].tolist(), n_pages.tolist(), strict=True)
            for chain, n in enumerate(of_row)
            for number in range(n)
        ]
        values = get_many(keys) if keys else []
        chain_of = np.repeat(np.tile(np.arange(len(self.pages)), rows.size), n_pages.ravel())
        for chain, slab in enumerate(self.pages):
            numbers = self._append(rows, chain, n_pages[:, chain])
            bodies = [values[k] for k in np.flatnonzero(chain_of == chain).tolist()]
            found = [k for k, body in enumerate(bodies) if body is not None]
            if found:
                read = matrix([body for body in bodies if body is not None], slab.records.dtype)
                overwrite(slab.records, numbers[found], read, self.numbering)

    def _append(self, rows: Int32s, chain: int, n_pages: np.ndarray) -> Int32s:
        """Give rows without pages in a chain so many empty ones each; return their records, row by row."""
        slab = self.pages[chain]
        numbers = slab.take_many(int(n_pages.sum()))
        ends = np.cumsum(n_pages)
        some = n_pages > 0
        following = np.append(numbers[1:], np.int32(0))[: numbers.size]
        following[ends[some] - 1] = 0
        slab.records["next"][numbers] = following
        self.headers.records["heads"][rows[some], chain] = numbers[(ends - n_pages)[some]]
        return numbers

    def page(self, row: int, chain: int, number: int) -> int:
        """Return the record of page ``number`` of a row's chain, appending empty pages as needed."""
        slab = self.pages[chain]
        at = int(self.headers.records[row]["heads"][chain])
        previous = 0
        for _ in range(number + 1):
            if at == 0:
                at = slab.take()
                if previous:
                    slab.records[previous]["next"] = at
                else:
                    self.headers.records[row]["heads"][chain] = at
            previous, at = at, int(slab.records[at]["next"])
        return previous

    def changed(self, touched: Int32s) -> Pages:
        """Return the touched rows' headers and their dirty pages, by rising id; the dirty marks are cleared.

        That is the order of the keys: the local store takes sorted pages in a fifth less time.
        """
        if touched.size == 0:
            return Pages()
        headers = self.headers.records
        ids = headers["id"]
        touched = touched[np.argsort(ids[touched])]
        blocks = [make_block(headers, touched, ids[touched], KIND_HEADER, 0, self.numbering)]
        for chain, slab in enumerate(self.pages):
            dirty = self._dirty_pages(touched, chain)
            if dirty.shape[0]:
                of = ids[dirty[:, 0]]
                blocks.append(make_block(slab.records, dirty[:, 2], of, 1 + chain, dirty[:, 1], self.numbering))
        return Pages(blocks=blocks)

    def _dirty_pages(self, touched: Int32s, chain: int) -> Int32s:
        records = self.pages[chain].records
        room = 4 * touched.size + 64
        out = np.empty((room, 3), np.int32)
        n = _collect_dirty(self.headers.records, records, chain, touched, out)
        if n > room:  # rare: collect the rest in a second pass
            rest = np.empty((n - room, 3), np.int32)
            _collect_dirty(self.headers.records, records, chain, touched, rest)
            out = np.concatenate([out, rest])
        return out[:n]

    def keys_of(self, row: int) -> list[bytes]:
        """Return the keys of a row's header and of all its pages."""
        header = self.headers.records[row]
        row_id = int(header["id"])
        keys = [page_key(row_id, KIND_HEADER)]
        for chain in range(len(self.pages)):
            keys += [page_key(row_id, 1 + chain, number) for number in range(int(header["n_pages"][chain]))]
        return keys

    def drop(self, rows: Int32s) -> None:
        """Take rows out of memory; what they hold must be written already."""
        headers = self.headers.records
        for chain, slab in enumerate(self.pages):
            numbers: list[int] = []
            for at in headers["heads"][rows, chain].tolist():
                page = at
                while page > 0:
                    numbers.append(page)
                    page = int(slab.records[page]["next"])
            slab.give_back(np.array(numbers, np.int32))
        self.index.remove_many(headers["id"][rows])
        self.headers.give_back(rows)

    def evict(self, keep: int) -> int:
        """Drop the least recently used rows when more than ``keep`` are in memory; return how many went.

        A tenth of ``keep`` goes beyond the bound, so that the work is done seldom. Call it only when all is written.
        """
        if self.n_rows <= keep:
            return 0
        used = self.index.rows[self.index.rows >= 0]
        n_gone = self.n_rows - keep + keep // 10
        oldest = np.argpartition(self.headers.records["tick"][used], min(n_gone, used.size - 1))[:n_gone]
        self.drop(used[oldest].astype(np.int32))
        return int(n_gone)

    def ids(self) -> UInt64s:
        """Return the ids of all rows in memory, shape ``(n_rows,)``, in no order."""
        return self.index.keys[self.index.rows >= 0].astype(np.uint64)
