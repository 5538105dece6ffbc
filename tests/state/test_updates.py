"""Item updates survive their bytes, and foreign bytes are refused with a sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.layout import N_POPULARITIES
from state.updates import COUNTS, GRADIENTS, PAIRS, ItemUpdate, UpdateError, decode_update, encode_update


def an_update(n: int, seed: int) -> ItemUpdate:
    """Return a random update with ``n`` entities."""
    rng = np.random.default_rng(seed)
    counts, gradients, pairs = np.zeros(n, COUNTS), np.zeros(n, GRADIENTS), np.zeros(2 * n, PAIRS)
    counts["id"] = rng.integers(1, 2**63, n)
    counts["popularity"] = rng.random((n, N_POPULARITIES))
    gradients["gradient"] = rng.normal(size=(n, 32))
    pairs["b"] = rng.integers(1, 2**63, 2 * n)
    names = {int(i): f"item-{i}" for i in counts["id"]}
    return ItemUpdate(7, counts, gradients, gradients[: n // 2], pairs, names)


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_round_trip(n: int, seed: int) -> None:
    """Every section and every name comes back."""
    update = an_update(n, seed)
    back = decode_update(encode_update(update))
    assert back.as_of_s == 7
    assert back.names == update.names
    for got, wanted in zip(back[1:5], update[1:5], strict=True):
        assert np.array_equal(got, wanted)


@given(st.integers(0, 400))
def test_cut_off_updates_are_refused(length: int) -> None:
    """A truncated update is an error, never a partial one."""
    raw = encode_update(an_update(3, 1))
    if length < len(raw):
        with pytest.raises(UpdateError):
            decode_update(raw[:length])


def test_another_version_is_refused() -> None:
    """An update of another version names both versions."""
    raw = bytes([9]) + encode_update(an_update(1, 1))[1:]
    with pytest.raises(UpdateError, match="version 9"):
        decode_update(raw)
