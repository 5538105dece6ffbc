"""One slot as a draw: exact probabilities, a floor, the same draw for the same key, and ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.draw import draw_key, draw_slot, set_weights, slot_propensity, weigh_slot
from tests.operators.chi_square import chi_square_z

LOGITS = st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=40)
TEMPERATURES = st.sampled_from([0.0, 0.01, 0.1, 1.0, 50.0])


def slot(logits: list[float], temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, ids, the eligible numbers and the weights of one slot that all may fill."""
    scores = np.array(logits, np.float32)
    eligible = np.arange(scores.size, dtype=np.int32)
    weights = np.zeros(scores.size)
    if temperature > 0:
        set_weights(scores, eligible, scores.size, temperature, weights)
    return scores, np.arange(scores.size, dtype=np.uint64)[::-1].copy(), eligible, weights


def softmax(logits: np.ndarray, temperature: float, epsilon: float) -> np.ndarray:
    """Return the probabilities as the formula says, with numpy."""
    z = (logits.astype(np.float64) - logits.max()) / temperature
    return (1 - epsilon) * np.exp(z) / np.exp(z).sum() + epsilon / z.size


@given(LOGITS, TEMPERATURES, st.floats(0, 1))
def test_propensities_sum_to_one_and_keep_the_floor(logits: list[float], temperature: float, epsilon: float) -> None:
    """Over all candidates they sum to 1, none is below epsilon / n, and they are those of the formula."""
    scores, ids, eligible, weights = slot(logits, temperature)
    n = scores.size
    best, total = weigh_slot(scores, ids, eligible, n, weights, temperature)
    p = [slot_propensity(at, best, total, eligible, n, weights, temperature, epsilon) for at in range(n)]
    assert np.isclose(sum(p), 1.0, rtol=0, atol=1e-12)
    assert min(p) >= epsilon / n
    if temperature > 0:
        np.testing.assert_allclose(p, softmax(scores, temperature, epsilon), rtol=1e-12, atol=1e-300)


@given(LOGITS, TEMPERATURES, st.floats(0, 1), st.integers(0, 2**64 - 1), st.integers(1, 39))
def test_a_draw_has_a_propensity_above_zero(
    logits: list[float], temperature: float, epsilon: float, key: int, n_gone: int
) -> None:
    """Whatever is drawn could be drawn, also when the best candidates are gone and weights are taken anew."""
    scores, ids, eligible, weights = slot(logits, temperature)
    left = np.argsort(scores)[: max(1, scores.size - n_gone)].astype(np.int32)
    best, total = weigh_slot(scores, ids, left, left.size, weights, temperature)
    args = (best, total, left, left.size, weights, temperature, epsilon)
    at = draw_slot(*args, np.uint64(key))
    assert 0 <= at < left.size
    assert at == draw_slot(*args, np.uint64(key))
    p = slot_propensity(at, *args)
    assert 0 < p <= 1
    if temperature > 0:
        assert np.isclose(p, softmax(scores[left], temperature, epsilon)[at], rtol=1e-9)
    del eligible


def test_greedy_takes_the_best_and_the_smaller_id_of_two() -> None:
    """At temperature 0 without exploration the propensity is 1, and a tie goes to the smaller id."""
    scores, ids, eligible, weights = slot([1.0, 3.0, 3.0, 2.0], 0.0)
    best, total = weigh_slot(scores, ids, eligible, 4, weights, 0.0)
    at = draw_slot(best, total, eligible, 4, weights, 0.0, 0.0, np.uint64(7))
    assert at == 2
    assert slot_propensity(at, best, total, eligible, 4, weights, 0.0, 0.0) == 1.0


def test_keys_differ_by_all_that_they_are_made_of() -> None:
    """Another seed, user, partition or offset is another key; the same ones are the same."""
    one = (1, 2, 3, 4)
    keys = {int(draw_key(s, np.uint64(u), p, o)) for s, u, p, o in [one, (5, 2, 3, 4), (1, 5, 3, 4), (1, 2, 5, 4)]}
    keys.add(int(draw_key(1, np.uint64(2), 3, 5)))
    assert len(keys) == 5
    assert int(draw_key(1, np.uint64(2), 3, 4)) in keys


@pytest.mark.parametrize("temperature", [0.0, 0.1, 1.0])
def test_frequencies_match_the_propensities(temperature: float) -> None:
    """Of 50,000 draws each candidate gets its share: chi-square over those expected at least five times."""
    rng = np.random.default_rng(3)
    scores, ids, eligible, weights = slot((rng.normal(size=60) * 0.3).tolist(), temperature)
    n, draws = scores.size, 50_000
    best, total = weigh_slot(scores, ids, eligible, n, weights, temperature)
    p = np.array([slot_propensity(at, best, total, eligible, n, weights, temperature, 0.1) for at in range(n)])
    counts = np.zeros(n)
    for key in range(draws):
        counts[draw_slot(best, total, eligible, n, weights, temperature, 0.1, np.uint64(key))] += 1
    assert chi_square_z(counts, p * draws) < 4.0
