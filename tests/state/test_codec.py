"""Keys and bytes of rows and pages: round trips for every layout, and foreign bytes refused with a sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.codec import (
    KEY_BYTES,
    KIND_GLOBALS,
    KIND_HEADER,
    KIND_NAME,
    LayoutError,
    matrix,
    overwrite,
    page_key,
    split_key,
)
from state.layout import ENTITY_HEADER, ENTITY_PAGES, MEMORY_FIELDS, N_CHAINS, USER_HEADER, USER_PAGES, disk_bytes
from stream_app.changelog import CHECKPOINT_KEY

LAYOUTS = (USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES)


def random_records(dtype: np.dtype, n: int, seed: int) -> np.ndarray:
    """Return records of random bytes."""
    raw = np.random.default_rng(seed).integers(0, 256, n * dtype.itemsize, np.uint8)
    return np.frombuffer(raw.tobytes(), dtype, n).copy()


def disk_values(records: np.ndarray, numbers: np.ndarray) -> list[bytes]:
    """Return the leading bytes of the records with these numbers."""
    width = disk_bytes(records.dtype)
    return [records[number : number + 1].tobytes()[:width] for number in numbers.tolist()]


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


@given(st.sampled_from(LAYOUTS), st.integers(1, 12), st.integers(0, 2**32 - 1), st.data())
def test_records_survive_their_bytes(dtype: np.dtype, n: int, seed: int, data: st.DataObject) -> None:
    """What goes to disk comes back bit for bit in every field but those of memory, which stay as they are."""
    records, others = random_records(dtype, n, seed), random_records(dtype, n, seed + 1)
    numbers = np.array(data.draw(st.permutations(range(n))), np.int32)
    values = disk_values(records, numbers)
    assert [len(value) for value in values] == [disk_bytes(dtype)] * n
    kept = {name: others[name].tobytes() for name in MEMORY_FIELDS if name in (dtype.names or ())}
    overwrite(others, numbers, matrix(values, dtype))
    assert disk_values(others, numbers) == values
    for name in dtype.names or ():
        if name in kept:
            assert others[name].tobytes() == kept[name]
        elif dtype.fields is not None and dtype.fields[name][1] < disk_bytes(dtype):
            assert others[name].tobytes() == records[name].tobytes()


@given(st.sampled_from(LAYOUTS), st.integers(-20, 20).filter(bool))
def test_any_other_width_is_refused(dtype: np.dtype, more: int) -> None:
    """One value of another width in a batch is an error that names both widths and the remedy."""
    good = b"x" * disk_bytes(dtype)
    with pytest.raises(LayoutError, match=f"wanted {len(good)} bytes, got {len(good) + more}.*CROSSAISLE_APP_ID"):
        matrix([good, b"x" * (len(good) + more)], dtype)


def test_no_page_has_the_key_of_a_checkpoint() -> None:
    """The checkpoint's key has the length of a page key, but a kind that no page has."""
    assert len(CHECKPOINT_KEY) == KEY_BYTES
    kinds = {KIND_HEADER, KIND_NAME, KIND_GLOBALS, *range(1, 1 + N_CHAINS)}
    assert split_key(CHECKPOINT_KEY)[1] not in kinds
    assert len(kinds) == 3 + N_CHAINS
