"""The documented widths and alignments of rows and pages."""

import numpy as np
import pytest

from state.layout import (
    ENTITY_FIELDS,
    ENTITY_HEADER,
    ENTITY_PAGES,
    MEMORY_FIELDS,
    USER_HEADER,
    USER_PAGES,
    disk_bytes,
    disk_layout,
)


def test_layouts_have_the_documented_sizes() -> None:
    """A change of a layout's width is a change of the format version: this test reminds of it."""
    layouts = (USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES)
    assert [disk_bytes(dtype) for dtype in layouts] == [438, 144, 192, 120, 128, 103, 60, 338, 192]
    assert [dtype.itemsize for dtype in layouts] == [347, 117, 165, 85, 133, 108, 65, 350, 264]


@pytest.mark.parametrize("dtype", [USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES])
def test_disk_fields_come_before_memory_fields(dtype: np.dtype) -> None:
    """The leading bytes are the fields of the disk, without a gap; all that lives in memory only comes after them."""
    disk = disk_layout(dtype)
    names = dtype.names or ()
    assert names[: len(disk.names or ())] == disk.names
    for layout in (dtype, disk):
        at = 0
        for name in layout.names or ():
            width, offset = layout[name].itemsize, (layout.fields or {})[name][1]
            assert offset == at, f"gap before {name}"
            at += width
        assert at == layout.itemsize
    for name in names:
        assert (name not in (disk.names or ())) == (name in MEMORY_FIELDS or name == "_pad")
        if name in (disk.names or ()):
            assert disk[name].itemsize == dtype[name].itemsize * (2 if name in ENTITY_FIELDS else 1)


def test_rows_take_the_documented_bytes() -> None:
    """A user with 30 items, each of its own category, takes 2 KB of memory with session, window and a slate.

    In 16 categories it is 1.7 KB, and 1.8 KB on disk; an item with 64 neighbours takes 1.1 KB on disk.
    """
    n_pages = np.array([4, 4, 1, 2, 1, 1])
    assert USER_HEADER.itemsize + n_pages @ [page.itemsize for page in USER_PAGES] == 1_999
    n_pages[1] = 2
    assert USER_HEADER.itemsize + n_pages @ [page.itemsize for page in USER_PAGES] == 1_669
    assert disk_bytes(USER_HEADER) + n_pages @ [disk_bytes(page) for page in USER_PAGES] == 1_937
    assert disk_bytes(ENTITY_HEADER) + 4 * disk_bytes(ENTITY_PAGES[0]) == 1_106


def test_headers_of_format_3_are_known_by_their_width() -> None:
    """A row is read from its header on, and no header has the width that it had: state of format 3 is refused."""
    assert disk_bytes(USER_HEADER) != 440
    assert disk_bytes(ENTITY_HEADER) != 346
