"""The documented widths and alignments of rows and pages."""

import numpy as np
import pytest

from state.layout import ENTITY_HEADER, ENTITY_PAGES, MEMORY_FIELDS, USER_HEADER, USER_PAGES, disk_bytes


def test_layouts_have_the_documented_sizes() -> None:
    """A change of a layout's width is a change of the format version: this test reminds of it."""
    widths = [disk_bytes(d) for d in (USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES)]
    assert widths == [440, 512, 384, 192, 128, 124, 346, 192]


@pytest.mark.parametrize("dtype", [USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES])
def test_disk_fields_come_before_memory_fields(dtype: np.dtype) -> None:
    """The leading bytes are the fields of the disk, without a gap; all that lives in memory only comes after them."""
    fields = dtype.fields or {}
    at = 0
    for name in dtype.names or ():
        width, offset = fields[name][0].itemsize, fields[name][1]
        assert offset == at, f"gap before {name}"
        assert (offset >= disk_bytes(dtype)) == (name in MEMORY_FIELDS or name == "_pad")
        at += width
    assert at == dtype.itemsize


def test_rows_take_the_documented_bytes() -> None:
    """A user with 30 items in 16 categories takes 2.3 KB with session and window, an item with 64 neighbours 1.1 KB."""
    items, categories, session, window, exposure = map(disk_bytes, USER_PAGES)
    assert disk_bytes(USER_HEADER) + 2 * items + categories + session + 2 * window == 2_296
    assert 4 * exposure == 496
    assert disk_bytes(ENTITY_HEADER) + 4 * disk_bytes(ENTITY_PAGES[0]) == 1_114
