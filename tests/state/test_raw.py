"""Bytes copied and numbers read at any offset of any record are those that numpy finds there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.kernel import kernel
from state.raw import copy_bytes, int32_at, uint64_at

RECORD = np.dtype([("flag", "u1"), ("number", "<i4"), ("id", "<u8"), ("tail", "u1", (3,))])


@kernel
def _copy(into: np.ndarray, k: int, at: int, source: np.ndarray, row: int, begin: int, n_bytes: int) -> None:
    copy_bytes(into, k, at, source, row, begin, n_bytes)


@kernel
def _read(source: np.ndarray, row: int, begin: int, out: np.ndarray) -> None:
    out[0] = int32_at(source, row, begin)
    out[1] = uint64_at(source, row, begin) >> np.uint64(32)


def records(seed: int, n: int) -> np.ndarray:
    """Return records of random bytes."""
    raw = np.random.default_rng(seed).integers(0, 256, n * RECORD.itemsize, np.uint8)
    return np.frombuffer(raw.tobytes(), RECORD, n).copy()


@given(st.integers(0, 2**32 - 1), st.data())
def test_bytes_are_copied_between_records(seed: int, data: st.DataObject) -> None:
    """From any offset of one record to any of another, and nothing around them changes."""
    source, into = records(seed, 4), records(seed + 1, 5)
    n_bytes = data.draw(st.integers(0, RECORD.itemsize))
    begin, at = (data.draw(st.integers(0, RECORD.itemsize - n_bytes)) for _ in range(2))
    row, k = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 4))
    wanted = into.view(np.uint8).reshape(5, -1).copy()
    wanted[k, at : at + n_bytes] = source.view(np.uint8).reshape(4, -1)[row, begin : begin + n_bytes]
    _copy(into, k, at, source, row, begin, n_bytes)
    assert into.tobytes() == wanted.tobytes()


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(0, RECORD.itemsize - 8))
def test_numbers_are_read_wherever_they_lie(seed: int, row: int, begin: int) -> None:
    """Aligned or not, with their sign."""
    source = records(seed, 4)
    raw = source[row].tobytes()
    out = np.zeros(2, np.int64)
    _read(source, row, begin, out)
    assert out[0] == int.from_bytes(raw[begin : begin + 4], "little", signed=True)
    assert out[1] == int.from_bytes(raw[begin + 4 : begin + 8], "little")


def test_a_strided_view_has_its_own_records() -> None:
    """A field of records is an array of its own, with the distance between them that numpy gives it."""
    source = records(7, 3)
    into = np.zeros((1, 8), np.uint8)
    _copy(into, 0, 0, source["id"], 2, 0, 8)
    assert into.tobytes() == source["id"][2].tobytes()


def test_only_arrays_are_taken() -> None:
    """What has no memory of its own is refused when the kernel is compiled."""
    with pytest.raises(Exception, match="copy_bytes"):
        _copy(1, 0, 0, records(0, 1), 0, 0, 1)  # type: ignore[arg-type]
