"""What a replica takes over: the headers and pages of entity rows as item tasks wrote them, put into its own rows."""

from typing import Final

import numpy as np

from operators.ahead import AHEAD
from state.arrays import Int32s, Row, Rows, UInt8s, UInt64s
from state.codec import put_back
from state.idmap import find
from state.kernel import inner_kernel, kernel
from state.layout import (
    ENTITY_HEADER,
    ENTITY_NEIGHBOURS,
    KIND_ITEM,
    N_FACTORS,
    N_SLOTS,
    NEIGHBOUR_PAGE,
    disk_bytes,
    disk_layout,
)
from state.prefetch import field_at
from state.raw import copy_bytes, int32_at, uint64_at
from state.slab import pop_free

_IDS_AT: Final = field_at(disk_layout(NEIGHBOUR_PAGE), "ids")
_ID_BYTES: Final = 8
_N_AT: Final = field_at(disk_layout(ENTITY_HEADER), "n")
_EVENTS_AT: Final = field_at(disk_layout(ENTITY_HEADER), "n_events")
_CHAINS_AT: Final = field_at(disk_layout(ENTITY_HEADER), "n_neighbours")
"""From here to the end: what tells of the pages of neighbours, and of the name; as far from the start in memory."""
_CHAINS_BYTES: Final = disk_bytes(ENTITY_HEADER) - _CHAINS_AT


@kernel
def take_headers(
    headers: Rows, raw: UInt8s, values: UInt8s, rows: Int32s, runs: Int32s, changes: np.ndarray, totals: np.ndarray
) -> None:
    """Put headers into their rows; chains and ticks stay as they are.

    A row that is ahead (:mod:`operators.ahead`) of a header with fewer events keeps what it has learned, and takes over
    what tells of its pages. Any other is ahead no more.

    Parameters
    ----------
    headers, raw
        The rows, and the same memory as bytes (:func:`state.codec.bytes_of`).
    values
        On-disk bytes of each header, shape ``(n, disk_bytes)``.
    rows
        Distinct rows, shape ``(n,)``.
    runs
        From :func:`state.codec.runs_of`.
    changes
        Gets how many events each row has more than before, shape ``(n,)``, float64.
    totals
        Events of all items, and items that have any; added to.
    """
    for k in range(rows.shape[0]):
        header = headers[rows[k]]
        before = header.n
        if header.ahead == AHEAD and _n_learned(values, k) < np.int64(header.n) + np.int64(header.n_events):
            copy_bytes(raw, rows[k], _CHAINS_AT, values, k, _CHAINS_AT, _CHAINS_BYTES)
            changes[k] = 0.0
            continue
        header.ahead = 0
        put_back(values, k, runs, raw, rows[k])
        changes[k] = float(header.n) - float(before)
        if header.kind == KIND_ITEM:
            totals[0] += changes[k]
            totals[1] += before == 0 and header.n > 0


@inner_kernel
def _n_learned(values: UInt8s, k: int) -> np.int64:
    """Return how much has taught an on-disk header: events, and purchases, as a category has no events of its own."""
    return np.int64(int32_at(values, k, _N_AT)) + np.int64(int32_at(values, k, _EVENTS_AT))


@kernel
def copy_scanned(headers: Rows, scan_place: Int32s, rows: Int32s, factors: np.ndarray) -> None:
    """Bring factors and biases of the rows that are on the list of popular items up to date.

    Parameters
    ----------
    scan_place
        Place of each row on the list, -1 where it is not on it; newer rows are not.
    factors
        Shape ``(n_factors + 1, places)``: factors, then biases.
    """
    for k in range(rows.shape[0]):
        row = rows[k]
        if row >= scan_place.shape[0] or scan_place[row] < 0:
            continue
        header, place = headers[row], scan_place[row]
        for f in range(N_FACTORS):
            factors[f, place] = header.target[f]
        factors[N_FACTORS, place] = header.bias


@inner_kernel
def _located(header: Row, pages: Rows, free: Int32s, n_free: Int32s, number: int) -> int:
    """Return the record of a row's page, appending pages to the chain as needed."""
    at = header.heads[ENTITY_NEIGHBOURS]
    previous = 0
    for _ in range(number + 1):
        if at == 0:
            at = pop_free(free, n_free)
            if previous == 0:
                header.heads[ENTITY_NEIGHBOURS] = at
            else:
                pages[previous].next = at
        previous = at
        at = pages[at].next
    return previous


@kernel
def take_neighbours(
    headers: Rows, pages: Rows, raw: UInt8s, free: Int32s, n_free: Int32s, keys: UInt64s, key_rows: Int32s,
    values: UInt8s, rows: Int32s, numbers: Int32s, runs: Int32s, unknown: UInt64s, where: Int32s,
) -> int:  # fmt: skip
    """Put pages of neighbours into their rows, and find the row of each neighbour that a page did not have before.

    Parameters
    ----------
    headers
        Of entity rows.
    pages, raw, free, n_free
        Slab of the pages, the same memory as bytes, and what is free of it.
    keys, key_rows
        Id map of the rows.
    values, rows, numbers
        On-disk bytes of each page, its row and its number there, shape ``(n, ...)``.
    runs
        From :func:`state.codec.runs_of`.
    unknown, where
        Get the ids that no row has, and their pages and slots; room for ``16 n``, shapes ``(16 n,)`` and
        ``(16 n, 2)``.

    Returns
    -------
    int
        How many ids no row has.
    """
    n_unknown = 0
    for k in range(rows.shape[0]):
        at = _located(headers[rows[k]], pages, free, n_free, numbers[k])
        page = pages[at]
        for j in range(N_SLOTS):  # most slots keep their neighbour, and with it the row that it has
            neighbour = uint64_at(values, k, _IDS_AT + _ID_BYTES * j)
            if neighbour == page.ids[j]:
                continue
            row = find(keys, key_rows, neighbour) if neighbour != 0 else 0
            page.rows[j] = row
            if row < 0:
                unknown[n_unknown], where[n_unknown, 0], where[n_unknown, 1] = neighbour, at, j
                n_unknown += 1
        put_back(values, k, runs, raw, at)
    return n_unknown
