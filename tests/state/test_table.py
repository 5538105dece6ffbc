"""Rows in memory: ids, slabs, pages; what is written can be loaded again, byte for byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.codec import LayoutError, matrix, page_key, split_key
from state.idmap import IdMap
from state.layout import ENTITY_HEADER, ENTITY_PAGES, USER_HEADER, USER_PAGES, disk_bytes
from state.slab import Slab
from state.table import RowTable

IDS = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=60, unique=True)


@given(IDS, st.data())
def test_id_map_is_a_dict(ids: list[int], data: st.DataObject) -> None:
    """The map finds what was put, nothing else, also after growing and removing."""
    index = IdMap(4)
    for row, key in enumerate(ids):
        index.put(key, row)
    gone = set(data.draw(st.lists(st.sampled_from(ids), unique=True)))
    index.remove_many(np.array(sorted(gone), np.uint64))
    for row, key in enumerate(ids):
        assert index.get(key) == (-1 if key in gone else row)
    assert index.n == len(ids) - len(gone)
    assert index.get_many(np.array(ids, np.uint64)).tolist() == [index.get(key) for key in ids]


@given(st.lists(st.integers(1, 40), max_size=30))
def test_slab_hands_out_each_record_once(sizes: list[int]) -> None:
    """No record is in use twice, and freed ones come back zeroed."""
    slab = Slab(USER_PAGES[3], 4)
    used: set[int] = set()
    for size in sizes:
        if len(used) >= size and size % 2:
            back = [used.pop() for _ in range(size)]
            slab.give_back(np.array(back, np.int32))
        else:
            for _ in range(size):
                number = slab.take()
                assert number not in used
                assert not slab.records[number]["ids"].any()
                slab.records[number]["ids"] = 1
                used.add(number)
    assert slab.n_used == len(used)


@given(st.integers(0, 2**64 - 1), st.integers(0, 255), st.integers(0, 65_535))
def test_page_keys_round_trip(row_id: int, kind: int, page: int) -> None:
    """A key names its page, and keys of one row stand together in id order."""
    assert split_key(page_key(row_id, kind, page)) == (row_id, kind, page)
    assert page_key(row_id, kind, page)[:8] == row_id.to_bytes(8, "big")


@pytest.mark.parametrize("raw", [b"", b"short", b"x" * 12])
def test_bad_keys_are_refused(raw: bytes) -> None:
    """A key of another length is an error that says so."""
    with pytest.raises(LayoutError, match="wanted 11 bytes"):
        split_key(raw)


def test_pages_of_another_version_are_refused() -> None:
    """Bytes of another width are never misread."""
    with pytest.raises(LayoutError, match="wanted"):
        matrix([b"123"], USER_HEADER)


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
        for chain in range(4):
            for number in range(n_pages):
                at = table.page(row, chain, number)  # may grow the slab, so it comes first
                page = table.pages[chain].records[at]
                page["ids"] = rng.integers(0, 2**63, 16)
                page["dirty"] = 1
            table.headers.records[row]["n_pages"][chain] = n_pages
    stored = dict(table.changed(rows))
    assert len(stored) == len(ids) * (1 + 4 * n_pages)
    assert len(table.changed(rows)) == len(ids)  # nothing dirty is left but headers
    other = RowTable(USER_HEADER, USER_PAGES)
    again, created = other.ensure(np.array([*ids, 0], np.uint64), lambda keys: [stored.get(key) for key in keys])
    assert created.size == 1
    for chain in range(4):
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


def test_layouts_have_the_documented_sizes() -> None:
    """A change of a layout's width is a change of the format version: this test reminds of it."""
    widths = [disk_bytes(d) for d in (USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES)]
    assert widths == [436, 512, 384, 192, 128, 332, 192]
