"""Rows in memory: what is written can be loaded again, byte for byte; what is dropped gives its place back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.layout import ENTITY_FIELDS, N_CHAINS, USER_HEADER, USER_PAGES
from state.table import RowTable

IDS = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=60, unique=True)


@settings(deadline=None)
@given(IDS, st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_rows_survive_disk(ids: list[int], n_pages: int, seed: int) -> None:
    """Random rows written and loaded by another table are the same bytes; unknown ids are created."""
    rng = np.random.default_rng(seed)
    table = RowTable(USER_HEADER, USER_PAGES)
    rows, created = table.ensure(np.array(ids, np.uint64), None)
    assert sorted(rows.tolist()) == sorted(created.tolist())
    for row in rows.tolist():
        table.headers.records[row]["factors"] = rng.normal(size=32)
        for chain in range(N_CHAINS):
            for number in range(n_pages):
                at = table.page(row, chain, number)  # may grow the slab, so it comes first
                page = table.pages[chain].records[at]
                field = (page.dtype.names or ())[0]
                if field in ENTITY_FIELDS:
                    page[field] = table.numbering.numbers_of(rng.integers(0, 2**64, page[field].size, np.uint64))
                else:
                    page[field] = rng.integers(0, 2**31, page[field].shape)
                page["dirty"] = 1
            table.headers.records[row]["n_pages"][chain] = n_pages
    stored = dict(table.changed(rows))
    assert len(stored) == len(ids) * (1 + N_CHAINS * n_pages)
    assert len(table.changed(rows)) == len(ids)  # nothing dirty is left but headers
    other = RowTable(USER_HEADER, USER_PAGES)
    again, created = other.ensure(np.array([*ids, 0], np.uint64), lambda keys: [stored.get(key) for key in keys])
    assert created.size == 1
    for chain in range(N_CHAINS):
        for row in again[:-1].tolist():
            for number in range(n_pages):
                other.pages[chain].records[other.page(row, chain, number)]["dirty"] = 1
    assert dict(other.changed(again[:-1])) == stored


def test_more_dirty_pages_than_expected() -> None:
    """A row with hundreds of dirty pages is collected whole, each page once."""
    table = RowTable(USER_HEADER, USER_PAGES)
    rows, _ = table.ensure(np.array([9], np.uint64), None)
    for number in range(300):
        page = table.page(int(rows[0]), 0, number)  # may grow the slab, so it comes first
        table.pages[0].records[page]["dirty"] = 1
    keys = [key for key, _ in table.changed(rows)]
    assert len(keys) == len(set(keys)) == 301


def test_eviction_drops_the_least_recently_used() -> None:
    """Eviction leaves the newest rows, frees the pages of the others, and a dropped row loads again."""
    table = RowTable(USER_HEADER, USER_PAGES)
    ids = np.arange(1, 101, dtype=np.uint64)
    rows, _ = table.ensure(ids, None)
    table.headers.records["tick"][rows] = np.arange(100)
    for row in rows.tolist():
        table.page(row, 0, 1)
    assert table.evict(200) == 0
    assert table.evict(50) == 55
    assert table.n_rows == 45
    assert (table.index.get_many(ids[:55]) < 0).all()
    assert (table.index.get_many(ids[55:]) >= 0).all()
    assert table.pages[0].n_used == 1 + 2 * 45
