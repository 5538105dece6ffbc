"""Signatures of content vectors: the same everywhere, and alike for vectors that are alike, whatever their size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators import signatures as module
from operators.params import CONTENT_TABLES
from operators.signatures import signatures

LARGEST = 3.4028235e38
NUMBERS = st.floats(-LARGEST, LARGEST) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, LARGEST, -LARGEST])
GOLDEN = ["884464170c024e1e", "ba4cecd118204116", "bc3ed8f56a2306f2"]
VECTORS = st.lists(st.none() | st.lists(NUMBERS, max_size=70), max_size=8)


def n_common(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many bits two signatures have in common."""
    return int(8 * CONTENT_TABLES - np.unpackbits(one ^ other).sum())


@given(VECTORS)
def test_any_vectors_have_signatures(vectors: list[list[float] | None]) -> None:
    """Of any size and any lengths, side by side: each has the signature that it has alone, and zeros have none."""
    found, known = signatures(vectors)
    assert found.shape == (len(vectors), CONTENT_TABLES)
    for k, vector in enumerate(vectors):
        assert bool(known[k]) == (vector is not None and any(x != 0.0 for x in vector))
        alone, _ = signatures([vector])
        assert (alone[0] == found[k]).all()
        assert known[k] or not found[k].any()


def test_a_signature_is_for_ever() -> None:
    """Every worker, of every version, gives a vector the same bits; another machine must not change them."""
    found, _ = signatures([[1.0, -2.0, 0.5], [0.25], list(np.linspace(-1, 1, 384))])
    assert [row.tobytes().hex() for row in found] == GOLDEN


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40), st.integers(-120, 120), st.integers(0, 40))
def test_neither_scale_nor_zeros_at_the_end_matter(numbers: list[int], power: int, n_zeros: int) -> None:
    """A vector twice as long, or with zeros behind it, has the same signature; its opposite shares hardly a bit."""
    vector = [float(x) for x in numbers]
    same, known = signatures([vector, [x * 2.0**power for x in vector], vector + [0.0] * n_zeros])
    assert (same == same[0]).all()
    if known[0]:
        opposite, _ = signatures([[-x for x in vector]])
        assert n_common(same[0], opposite[0]) <= 4


def test_bits_in_common_tell_the_angle() -> None:
    """The share of bits in common is one less the angle over pi, as the theory says; in three dimensions as in many."""
    rng = np.random.default_rng(0)
    for length in (3, 32, 768):
        for cosine in (0.95, 0.5, 0.0, -0.5):
            common = []
            for _ in range(60):
                one, other = np.linalg.qr(rng.normal(size=(length, 2)))[0].T
                found, _ = signatures([one.tolist(), (cosine * one + (1 - cosine**2) ** 0.5 * other).tolist()])
                common.append(n_common(*found) / (8 * CONTENT_TABLES))
            assert abs(np.mean(common) - (1.0 - np.arccos(cosine) / np.pi)) < 0.03


def test_hyperplanes_are_whole_and_nearly_normal() -> None:
    """Sums of them are exact; their mean is 0, and they lie about it as normal numbers do."""
    planes = module._hyperplanes(500)
    assert planes.shape == (500, 8 * CONTENT_TABLES)
    assert (planes == np.rint(planes)).all()
    assert np.abs(planes).max() < 2.0**18
    scaled = planes / planes.std()
    assert abs(scaled.mean()) < 0.02
    assert abs((scaled**4).mean() - 3.0) < 0.4
    assert abs(np.corrcoef(planes[:, 0], planes[:, 1])[0, 1]) < 0.15
    assert (module._hyperplanes(9) == planes[:9]).all()


def test_many_vectors_are_worked_on_in_parts() -> None:
    """Long vectors are taken a few at a time, with nothing lost between two parts."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(70, 1 << 15)).tolist()
    found, known = signatures(vectors)
    assert known.all()
    assert (found[[0, 31, 32, 69]] == np.concatenate([signatures([vectors[k]])[0] for k in (0, 31, 32, 69)])).all()
