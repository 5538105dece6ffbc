"""Blocks of changed pages hold the keys and bytes that the codec says, in their order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.codec import on_disk, page_key
from state.layout import ENTITY_FIELDS, ENTITY_HEADER, ENTITY_PAGES, USER_HEADER, USER_PAGES
from state.numbering import Numbers
from state.pages import Pages, make_block

LAYOUTS = (USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES)


@given(st.sampled_from(LAYOUTS), st.integers(0, 12), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_a_block_is_keys_and_bytes(dtype: np.dtype, n: int, kind: int, seed: int) -> None:
    """Each page is there under its key with the bytes that go to disk, whatever order the records are taken in."""
    rng = np.random.default_rng(seed)
    records = np.frombuffer(rng.bytes(20 * dtype.itemsize), dtype, 20).copy()
    numbers = rng.permutation(20)[:n].astype(np.int32)
    ids = rng.integers(0, 2**64, n, np.uint64)
    pages = rng.integers(0, 2**16, n).astype(np.int32)
    numbering = Numbers()
    for name in ENTITY_FIELDS:
        if name in (dtype.names or ()):
            records[name] = numbering.numbers_of(rng.integers(0, 2**64, records[name].shape, np.uint64))
    block = make_block(records, numbers, ids, kind, pages, numbering)
    found = Pages([(b"single", None)], [block])
    assert len(found) == n + 1
    values = on_disk(records, numbers, numbering)
    wanted: list[tuple[bytes, bytes | None]] = [
        (page_key(int(row_id), kind, int(page)), value.tobytes())
        for row_id, page, value in zip(ids, pages, values, strict=True)
    ]
    assert list(found) == [*wanted, (b"single", None)]
