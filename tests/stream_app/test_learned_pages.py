"""Pages of what a partition learned: they come back whole, and states of before later features stay readable."""

from __future__ import annotations

import numpy as np
import pytest

from operators.weights import (
    ACTIVE,
    GLOBALS,
    N_BEFORE,
    N_BEFORE_ACTIVE,
    N_BLEND,
    N_FIRST,
    N_FIRST_ACTIVE,
    N_PLAIN_BEFORE,
    OF_HAD,
    OF_NONE,
    new_globals,
)
from state.arrays import Rows
from state.codec import LayoutError
from stream_app.learned_pages import (
    FIRST,
    MEAN_PERCEPTRON,
    PERCEPTRON,
    categories_page,
    content_page,
    discovery_page,
    first_page,
    globals_of,
    latest_page,
    mean_perceptron_page,
    perceptron_page,
    reaction_page,
)

BYTES_OF_FORMAT_3 = 42_468
"""Of the first page, before there were content vectors."""
BYTES_OF_LATEST, BYTES_OF_CATEGORIES = 2_784, 33_796
"""Of the pages of the latest items and of categories."""
BYTES_OF_PERCEPTRON, BYTES_OF_CONTENT = (14_860, 7_428), 2_904
"""Of the perceptron's two pages, and of that of content vectors, before the latest items were a feature."""


def learned(seed: int) -> Rows:
    """Return some numbers in every field."""
    out = new_globals()
    rng = np.random.default_rng(seed)
    for name in GLOBALS.names or ():
        shape, dtype = out[name].shape, out[name].dtype
        out[name] = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(1, 1 << 30, shape)
    out["blend"][:, 0, N_FIRST:N_BEFORE] = 0.0
    return out


def test_pages_come_back_whole() -> None:
    """Eight pages make what they were made of."""
    whole = learned(1)
    makers = (
        first_page, reaction_page, content_page, discovery_page, perceptron_page, mean_perceptron_page, latest_page,
        categories_page,
    )  # fmt: skip
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


def test_weights_of_later_features_come_last() -> None:
    """The optimiser numbers the weights of before as before: head by head, plain ones and squares."""
    assert sorted(ACTIVE.tolist()) == sorted(set(ACTIVE.tolist()))
    assert (ACTIVE[:N_FIRST_ACTIVE] % N_BLEND < N_FIRST).all()
    assert ACTIVE[N_FIRST_ACTIVE:N_BEFORE_ACTIVE].tolist() == list(range(N_BLEND + N_FIRST, N_BLEND + N_BEFORE))
    assert (ACTIVE[N_BEFORE_ACTIVE:] % N_BLEND >= N_BEFORE).all()
    assert ACTIVE.size == N_BEFORE_ACTIVE + 2 * (N_BLEND - N_BEFORE)


def test_pages_of_before_the_latest_items_have_their_bytes() -> None:
    """What was written before the co-occurrence with the latest items was a feature is read by this version."""
    assert FIRST.itemsize == BYTES_OF_FORMAT_3
    assert (PERCEPTRON.itemsize, MEAN_PERCEPTRON.itemsize) == BYTES_OF_PERCEPTRON
    whole = learned(7)
    assert len(content_page(whole) or b"") == BYTES_OF_CONTENT
    assert len(latest_page(whole)) == BYTES_OF_LATEST
    assert len(categories_page(whole)) == BYTES_OF_CATEGORIES
    network = np.frombuffer(perceptron_page(whole), PERCEPTRON)["network"][0]
    assert (network[:N_PLAIN_BEFORE] == whole["network"][0, :N_PLAIN_BEFORE]).all()
    assert (network[N_PLAIN_BEFORE:] == whole["network"][0, [OF_HAD, OF_NONE]]).all()


def test_a_perceptron_of_before_the_latest_items_says_what_it_said() -> None:
    """Where that page is missing, or behind, the new inputs have no weight, and learn as fast as the others."""
    whole, later = learned(8), learned(9)
    pages = (first_page(later), reaction_page(later), content_page(later), discovery_page(later))
    pages += (perceptron_page(later), mean_perceptron_page(later))
    for latest in (None, latest_page(whole)):
        old = globals_of(*pages, latest)
        assert not old["network"][0, N_PLAIN_BEFORE].any()
        assert not old["mean_network"][0, N_PLAIN_BEFORE].any()
        assert np.allclose(old["network_sq"][0, N_PLAIN_BEFORE], later["network_sq"][0, :N_PLAIN_BEFORE].mean(axis=0))
        assert (old["network"][0, :N_PLAIN_BEFORE] == later["network"][0, :N_PLAIN_BEFORE]).all()
        assert (old["network"][0, OF_HAD] == later["network"][0, OF_HAD]).all()
        assert not old["blend_gram"][0, N_BEFORE_ACTIVE * (N_BEFORE_ACTIVE + 1) // 2 :].any()
        weights = old["blend"][0, :, N_BEFORE:]
        assert not weights.any() if latest is None else (weights == whole["blend"][0, :, N_BEFORE:]).all()


def test_information_that_is_behind_is_left_out() -> None:
    """Where a version without the page has learned since, weights of content vectors stay, and are learned anew."""
    whole, later = learned(3), learned(4)
    mixed = globals_of(first_page(later), content=content_page(whole))
    assert (mixed["blend"][:, :, N_FIRST:N_BEFORE] == whole["blend"][:, :, N_FIRST:N_BEFORE]).all()
    n = N_FIRST_ACTIVE * (N_FIRST_ACTIVE + 1) // 2
    assert not mixed["blend_gram"][:, n:].any()


def test_a_mean_that_is_missing_or_behind_is_begun_anew() -> None:
    """Where a version without the page has learned since, or never wrote it, the mean is the weights as they are."""
    whole, later = learned(5), learned(6)
    for mean in (None, mean_perceptron_page(whole)):
        pages = {"perceptron": perceptron_page(later), "mean_perceptron": mean, "latest": latest_page(later)}
        mixed = globals_of(first_page(later), **pages)
        assert (mixed["mean_network"][0, :N_PLAIN_BEFORE] == later["network"][0, :N_PLAIN_BEFORE]).all()
        assert (mixed["mean_network_out"] == later["network_out"]).all()


def test_vectors_of_categories_that_are_behind_are_learned_anew() -> None:
    """Where a version without the page has learned since, or never wrote it, the perceptron does without them."""
    whole, later = learned(10), learned(11)
    for categories in (None, categories_page(whole)):
        mixed = globals_of(first_page(later), perceptron=perceptron_page(later), categories=categories)
        assert not mixed["network_category"].any()
        assert not mixed["network_category_sq"].any()


@pytest.mark.parametrize("wrong", [b"", b"x" * 7])
def test_pages_of_other_lengths_are_refused(wrong: bytes) -> None:
    """A page that has not the bytes of this layout is an error, and nothing is guessed."""
    with pytest.raises(LayoutError):
        globals_of(wrong)
