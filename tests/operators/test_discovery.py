"""Discoveries: only the order among things the user never had is corrected, and first times teach it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from operators.blend import score_features
from operators.discovery import AT_LOGIT, correct_discoveries, learn_discovery
from operators.features import fill_features
from operators.weights import N_DISCOVERY
from tests.operators.world import HISTORIES, Gathered, Step, World, no_nan, shoppers


@njit
def _correct(entities, globals_, work, n):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    correct_discoveries(entities, globals_, work, n)


@njit
def _learn(entities, globals_, work, picked, logits, lift, m):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    return learn_discovery(entities, globals_, work, picked, logits, lift, m, 1.0, 1e5)


def blended(found: Gathered) -> np.ndarray:
    """Fill the features and the blend's logits of all candidates; return the logits."""
    every = found.work.every[: found.n]
    fill_features(found.users, found.u, found.entities, found.work, every, found.n_context, found.now_s)
    score_features(found.entities, found.globals_["blend"], found.work, every, found.work.scored)
    return found.work.scored[: found.n].copy()


def in_context(found: Gathered) -> np.ndarray:
    """Return which candidates are of a category of the context."""
    where = found.work.category_position[found.entities.category[found.work.candidates["row"][: found.n]]]
    return np.asarray((where >= 0) & (found.work.category_features[where, 10] > 0))


def discoveries(found: Gathered) -> np.ndarray:
    """Return which candidates are new to the user and of no category of the context."""
    return np.asarray((found.work.candidates["had"][: found.n] == 0) & ~in_context(found))


def log_sum(logits: np.ndarray) -> float:
    """Return the logarithm of the summed exponentials."""
    return float(np.logaddexp.reduce(logits.astype(np.float64)))


@settings(max_examples=60)
@given(HISTORIES, st.integers(0, 1 << 20))
def test_only_the_order_of_new_things_changes(history: list[Step], seed: int) -> None:
    """Whatever the weights: others keep their logits, and the discoveries the probability they have together."""
    world = World()
    world.live(history)
    weights = np.random.default_rng(seed).normal(0, 0.3, N_DISCOVERY)
    for user in world.known_users():
        with world.gathered(user) as found:
            before, new = blended(found), discoveries(found)
            globals_ = found.globals_.copy()
            globals_["discovery"] = weights
            _correct(found.entities, globals_, found.work, found.n)
            after = found.work.scored[: found.n]
            assert (after[~new] == before[~new]).all()
            if new.any():
                assert no_nan(after)
                assert abs(log_sum(after[new]) - log_sum(before[new])) < 1e-3


def test_nothing_learned_changes_nothing() -> None:
    """With weights of 0 the logits are those of the blend, but for rounding."""
    world = World()
    world.live(shoppers(300, 4))
    for user in world.known_users():
        with world.gathered(user) as found:
            before = blended(found)
            globals_ = found.globals_.copy()
            globals_["discovery"] = 0.0
            _correct(found.entities, globals_, found.work, found.n)
            assert np.abs(found.work.scored[: found.n] - before).max(initial=0.0) < 1e-4


def test_a_taught_choice_becomes_likelier() -> None:
    """The log-loss of a discovery that is taken again and again falls; what the user had, teaches nothing."""
    world = World()
    world.live(shoppers(300, 4))
    n_taught = 0
    for user in world.known_users():
        with world.gathered(user) as found:
            logits, new = blended(found), discoveries(found)
            globals_ = found.globals_.copy()
            for name in ("discovery", "discovery_gram", "discovery_pending"):
                globals_[name] = 0.0
            lift = np.zeros(found.n, np.float32)
            for true in [*np.flatnonzero(new)[:1], *np.flatnonzero(~new)[:1]]:
                order = np.array([true, *(k for k in range(found.n) if k != true)], np.int32)
                args = (found.entities, globals_, found.work, order, logits[order], lift, found.n)
                if not new[true]:
                    kept = globals_.tobytes()
                    assert np.isnan(_learn(*args))
                    assert globals_.tobytes() == kept
                elif new.sum() > 1:
                    losses = [_learn(*args) for _ in range(200)]
                    assert losses[-1] < losses[0]
                    n_taught += 1
    assert n_taught > 0


def test_weights_survive_any_shoppers() -> None:
    """After a thousand events of random shoppers something is learned, and all of it is finite."""
    world = World()
    world.live(shoppers(1_000, 4), 50)
    learned = world.users.globals
    assert no_nan(learned["discovery"], learned["discovery_gram"], learned["discovery_pending"])
    diagonal = [i * (i + 3) // 2 for i in range(N_DISCOVERY)]
    assert (learned["discovery_gram"][0][diagonal] >= 0).all()
    assert learned["discovery"].any()
    assert abs(learned["discovery"][0, AT_LOGIT]) < 1e3
