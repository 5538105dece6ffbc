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
    on_disk,
    overwrite,
    page_key,
    split_key,
)
from state.layout import (
    ENTITY_FIELDS,
    ENTITY_HEADER,
    ENTITY_PAGES,
    MEMORY_FIELDS,
    N_CHAINS,
    USER_HEADER,
    USER_PAGES,
    disk_bytes,
    disk_layout,
)
from state.numbering import Numbers
from stream_app.changelog import CHECKPOINT_KEY

LAYOUTS = (USER_HEADER, *USER_PAGES, ENTITY_HEADER, *ENTITY_PAGES)


def random_records(dtype: np.dtype, n: int, seed: int) -> np.ndarray:
    """Return records of random bytes."""
    raw = np.random.default_rng(seed).integers(0, 256, n * dtype.itemsize, np.uint8)
    return np.frombuffer(raw.tobytes(), dtype, n).copy()


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


def with_entities(records: np.ndarray, numbers: Numbers, seed: int) -> np.ndarray:
    """Give every field of entities the numbers of random ids, some of them 0; return the records."""
    rng = np.random.default_rng(seed)
    for name in ENTITY_FIELDS:
        if name in (records.dtype.names or ()):
            ids = rng.integers(0, 2**64, records[name].shape, np.uint64) * rng.integers(
                0, 2, records[name].shape
            ).astype(np.uint64)
            records[name] = numbers.numbers_of(ids)
    return records


@given(st.sampled_from(LAYOUTS), st.integers(1, 12), st.integers(0, 2**32 - 1), st.data())
def test_records_survive_their_bytes(dtype: np.dtype, n: int, seed: int, data: st.DataObject) -> None:
    """What goes to disk comes back bit for bit in every field but those of memory, which stay as they are."""
    numbering = Numbers()
    records = with_entities(random_records(dtype, n, seed), numbering, seed)
    others = random_records(dtype, n, seed + 1)
    numbers = np.array(data.draw(st.permutations(range(n))), np.int32)
    values = on_disk(records, numbers, numbering)
    assert values.shape == (n, disk_bytes(dtype))
    kept = {name: others[name].tobytes() for name in MEMORY_FIELDS if name in (dtype.names or ())}
    overwrite(others, numbers, matrix([value.tobytes() for value in values], dtype), numbering)
    assert (on_disk(others, numbers, numbering) == values).all()
    for name in dtype.names or ():
        if name in kept:
            assert others[name].tobytes() == kept[name]
        elif name in (disk_layout(dtype).names or ()):
            assert others[name].tobytes() == records[name].tobytes()


def test_entities_want_a_numbering() -> None:
    """Without a numbering, rows that name entities are neither read nor written; others are."""
    numbers = np.arange(2, dtype=np.int32)
    with pytest.raises(TypeError, match="numbering"):
        on_disk(np.zeros(2, USER_HEADER), numbers)
    with pytest.raises(TypeError, match="numbering"):
        overwrite(np.zeros(2, USER_PAGES[0]), numbers, np.zeros((2, disk_bytes(USER_PAGES[0])), np.uint8))
    assert not on_disk(np.zeros(2, ENTITY_HEADER), numbers).any()


@given(st.sampled_from(LAYOUTS), st.integers(0, 2**32 - 1))
def test_bytes_do_not_depend_on_the_numbers(dtype: np.dtype, seed: int) -> None:
    """Another table, that met its entities in another order, writes the same bytes; ids stand there in full."""
    numbering, other = Numbers(), Numbers()
    records = with_entities(random_records(dtype, 5, seed), numbering, seed)
    values = on_disk(records, np.arange(5, dtype=np.int32), numbering)
    other.numbers_of(np.arange(70, 90, dtype=np.uint64))
    again = np.zeros(5, dtype)
    overwrite(again, np.arange(5, dtype=np.int32), values, other)
    assert (on_disk(again, np.arange(5, dtype=np.int32), other) == values).all()
    disk = values.view(disk_layout(dtype)).reshape(-1)
    for name in disk.dtype.names or ():
        wanted = numbering.ids[records[name]] if name in ENTITY_FIELDS else records[name]
        assert disk[name].tobytes() == wanted.tobytes()


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
