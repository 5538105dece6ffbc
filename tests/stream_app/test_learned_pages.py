"""Pages of what a partition learned: they come back whole, and a state from before content vectors stays readable."""

from __future__ import annotations

import numpy as np
import pytest

from operators.arrays import ACTIVE, GLOBALS, N_BLEND, N_FIRST, N_FIRST_ACTIVE, new_globals
from state.arrays import Rows
from state.codec import LayoutError
from stream_app.learned_pages import (
    FIRST,
    content_page,
    discovery_page,
    first_page,
    globals_of,
    mean_perceptron_page,
    perceptron_page,
    reaction_page,
)

BYTES_OF_FORMAT_3 = 42_468
"""Of the first page, before there were content vectors."""


def learned(seed: int) -> Rows:
    """Return some numbers in every field."""
    out = new_globals()
    rng = np.random.default_rng(seed)
    for name in GLOBALS.names or ():
        shape, dtype = out[name].shape, out[name].dtype
        out[name] = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(1, 1 << 30, shape)
    out["blend"][:, 0, N_FIRST:] = 0.0
    return out


def test_pages_come_back_whole() -> None:
    """Six pages make what they were made of."""
    whole = learned(1)
    makers = (first_page, reaction_page, content_page, discovery_page, perceptron_page, mean_perceptron_page)
    assert globals_of(*(make(whole) for make in makers)).tobytes() == whole.tobytes()


def test_a_state_from_before_is_read() -> None:
    """The first page has the bytes of before there were content vectors; what is missing counts for nothing."""
    assert FIRST.itemsize == BYTES_OF_FORMAT_3
    whole = learned(2)
    old = globals_of(first_page(whole))
    assert (old["blend"][:, :, :N_FIRST] == whole["blend"][:, :, :N_FIRST]).all()
    assert not old["blend"][:, :, N_FIRST:].any()
    n = N_FIRST_ACTIVE * (N_FIRST_ACTIVE + 1) // 2
    assert (old["blend_gram"][:, :n] == whole["blend_gram"][:, :n]).all()
    assert not old["blend_gram"][:, n:].any()
    assert old["blend_pending"][0, -1] == whole["blend_pending"][0, -1]
    assert not old["blend_pending"][0, N_FIRST_ACTIVE:-1].any()
    assert not old["reaction"].any()
    assert not old["discovery"].any()
    for name in ("network", "network_sq", "network_out", "network_out_sq", "network_n", "network_gate", "mean_network"):
        assert (old[name] == new_globals()[name]).all()
    assert content_page(old) is None
    assert content_page(new_globals()) is None


def test_weights_of_content_vectors_come_last() -> None:
    """The optimiser numbers the weights of before as before: head by head, plain ones and squares."""
    assert sorted(ACTIVE.tolist()) == sorted(set(ACTIVE.tolist()))
    assert (ACTIVE[:N_FIRST_ACTIVE] % N_BLEND < N_FIRST).all()
    assert (ACTIVE[N_FIRST_ACTIVE:] % N_BLEND >= N_FIRST).all()
    assert ACTIVE.size == N_FIRST_ACTIVE + N_BLEND - N_FIRST


def test_information_that_is_behind_is_left_out() -> None:
    """Where a version without the page has learned since, weights of content vectors stay, and are learned anew."""
    whole, later = learned(3), learned(4)
    mixed = globals_of(first_page(later), content=content_page(whole))
    assert (mixed["blend"][:, :, N_FIRST:] == whole["blend"][:, :, N_FIRST:]).all()
    n = N_FIRST_ACTIVE * (N_FIRST_ACTIVE + 1) // 2
    assert not mixed["blend_gram"][:, n:].any()


def test_a_mean_that_is_missing_or_behind_is_begun_anew() -> None:
    """Where a version without the page has learned since, or never wrote it, the mean is the weights as they are."""
    whole, later = learned(5), learned(6)
    for mean in (None, mean_perceptron_page(whole)):
        mixed = globals_of(first_page(later), perceptron=perceptron_page(later), mean_perceptron=mean)
        assert (mixed["mean_network"] == later["network"]).all()
        assert (mixed["mean_network_out"] == later["network_out"]).all()


@pytest.mark.parametrize("wrong", [b"", b"x" * 7])
def test_pages_of_other_lengths_are_refused(wrong: bytes) -> None:
    """A page that has not the bytes of this layout is an error, and nothing is guessed."""
    with pytest.raises(LayoutError):
        globals_of(wrong)
