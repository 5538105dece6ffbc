"""Tests of the online Newton steps, on choices whose weights are known."""

from __future__ import annotations

import numpy as np
import pytest

from operators.blend import BEGINNER_EVENTS
from operators.newton import EVERY, EVERY_LATER, LARGEST_GAIN, LONGEST_STEP, newton_learn

N = 3
MEMORY = 200_000.0
INTERVALS = (EVERY, EVERY_LATER)


def run(truth: np.ndarray, n_events: int, scale: float = 1.0, every: int = EVERY) -> np.ndarray:
    """Learn from choices among five options that a softmax with the weights ``truth`` makes; return the weights.

    The first 4,096 events are a beginner's.
    """
    rng = np.random.default_rng(3)
    weights, pending = np.zeros(N, np.float32), np.zeros(N + 1, np.float32)
    gram = np.zeros(N * (N + 1) // 2, np.float32)
    for k in range(n_events):
        x = scale * rng.normal(size=(5, N))
        chosen = rng.choice(5, p=softmax(x @ truth))
        p = softmax(x @ weights)
        mean = p @ x
        gradient, drawn = mean - x[chosen], mean - x[rng.choice(5, p=p)]
        of_event = gradient.astype(np.float32), drawn.astype(np.float32)
        newton_learn(weights, gram, pending, *of_event, 1.0, MEMORY, EVERY if k < BEGINNER_EVENTS else every)
    return weights


def softmax(z: np.ndarray) -> np.ndarray:
    """Return the probabilities of the logits."""
    p = np.exp(z - z.max())
    return np.asarray(p / p.sum())


@pytest.mark.parametrize("every", INTERVALS)
@pytest.mark.parametrize("scale", [0.5, 1.0, 10.0])
def test_it_finds_the_weights_whatever_the_scale_of_features(scale: float, every: int) -> None:
    """After some thousand choices the weights are the true ones, without a learning rate: the prior is small."""
    truth = np.array([1.0, -2.0, 0.5]) / scale
    np.testing.assert_allclose(run(truth, 6_000, scale, every) * scale, truth * scale, atol=0.2)


@pytest.mark.parametrize("every", INTERVALS)
def test_a_step_comes_when_enough_events_are_pending(every: int) -> None:
    """Until then nothing moves; then all weights do, against the gradient."""
    weights, pending = np.zeros(N, np.float32), np.zeros(N + 1, np.float32)
    gram = np.zeros(N * (N + 1) // 2, np.float32)
    one = np.full(N, 0.1, np.float32)
    for k in range(every):
        assert (weights == 0).all(), k
        newton_learn(weights, gram, pending, one, one, 1.0, MEMORY, every)
    assert (weights < -0.1).all()
    assert not pending.any()


@pytest.mark.parametrize("every", INTERVALS)
def test_forgetting_follows_the_events(every: int) -> None:
    """What the matrix held before fades with the number of events, however many of them a step takes."""
    weights, pending = np.zeros(N, np.float32), np.zeros(N + 1, np.float32)
    gram, nothing = np.ones(N * (N + 1) // 2, np.float32), np.zeros(N, np.float32)
    for _ in range(1_024):
        newton_learn(weights, gram, pending, nothing, nothing, 1.0, 10_000.0, every)
    np.testing.assert_allclose(gram, np.exp(-1_024 / 10_000.0), rtol=1e-3)


@pytest.mark.parametrize(("every", "size"), [(EVERY, 1e4), (EVERY_LATER, 1e2)])
@pytest.mark.parametrize("known", [False, True])
def test_a_surprise_moves_no_weight_far(known: bool, every: int, size: float) -> None:
    """Whether the matrix has seen such features or not, the step keeps its direction and is bounded."""
    weights, pending = np.zeros(N, np.float32), np.zeros(N + 1, np.float32)
    gram = np.zeros(N * (N + 1) // 2, np.float32)
    surprise, nothing = np.array([size, -2 * size, 0.1 * size], np.float32), np.zeros(N, np.float32)
    for _ in range(every):
        newton_learn(weights, gram, pending, surprise, surprise if known else nothing, 1.0, MEMORY, every)
    assert weights.any()
    assert np.abs(weights).max() <= LONGEST_STEP
    assert -(weights @ surprise) * every <= LARGEST_GAIN * every / EVERY * (1 + 1e-5)
    np.testing.assert_allclose(weights / weights[0], surprise / surprise[0], rtol=1e-3)


def test_what_is_not_finite_is_passed_over() -> None:
    """A gradient with a NaN, of the event or of the drawn outcome, leaves everything as it is."""
    weights, pending = np.zeros(N, np.float32), np.zeros(N + 1, np.float32)
    gram = np.zeros(N * (N + 1) // 2, np.float32)
    good, bad = np.ones(N, np.float32), np.array([1.0, np.nan, 1.0], np.float32)
    newton_learn(weights, gram, pending, bad, good, 1.0, MEMORY, EVERY)
    newton_learn(weights, gram, pending, good, bad, 1.0, MEMORY, EVERY)
    assert not weights.any()
    assert not gram.any()
    assert not pending.any()
