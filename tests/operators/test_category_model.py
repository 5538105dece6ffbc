"""The category model: probabilities over the listed categories, steps towards the true one, no mark left."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from operators.arrays import new_accumulators
from operators.category_model import learn_categories
from operators.newton import EVERY
from tests.operators.world import HISTORIES, N_AISLES, Gathered, Step, World, is_clear, no_nan, shoppers


def probabilities(found: Gathered) -> np.ndarray:
    """Return the probabilities of the listed categories."""
    return np.exp(found.work.category_log_p[: found.n_categories].astype(np.float64))


@settings(max_examples=80)
@given(HISTORIES)
def test_listed_categories_get_probabilities_that_sum_to_one(history: list[Step]) -> None:
    """Each category is listed once, its features are finite, and the probabilities are in (0, 1] and sum to 1."""
    world = World()
    world.live(history)
    work = world.new_work()
    for user in world.known_users():
        with world.gathered(user, work) as found:
            listed = work.category_list[: found.n_categories].tolist()
            assert len(listed) == len(set(listed)) <= found.entities.n_categories[0]
            assert all(work.category_position[c] == k for k, c in enumerate(listed))
            assert no_nan(work.category_features[: found.n_categories])
            p = probabilities(found)
            if listed:
                assert np.isclose(p.sum(), 1.0, atol=1e-4)
                assert (p > 0).all()
                assert (p <= 1.0 + 1e-6).all()
        assert is_clear(work)


def test_learning_makes_the_true_category_likelier() -> None:
    """Steps towards a listed category raise its probability under the same features."""
    world = World()
    world.live(shoppers(40, 2))
    with world.gathered(1) as found:
        acc = new_accumulators(world.replica.n_rows, 512, 1)
        true = int(found.work.category_list[found.n_categories - 1])
        weights = found.globals_["category"].copy()
        for _ in range(EVERY):
            learn_categories(found.entities, found.globals_, found.work, acc, found.n_categories, true, 1.0, 50_000.0)
        moved = found.globals_["category"] - weights
        features = found.work.category_features[: found.n_categories].astype(np.float64)
        gain = features @ moved
        place = found.work.category_position[true]
        assert gain[place] >= gain @ probabilities(found), "the step goes up the likelihood"
        assert no_nan(found.globals_["category"], found.globals_["category_gram"])
        assert acc.records[acc.slot[found.entities.category_rows[true]]]["bias"] < 0


def test_an_unlisted_category_teaches_nothing() -> None:
    """A category that is unknown, or not listed, leaves weights and accumulators alone."""
    world = World()
    world.live(shoppers(20, 3))
    with world.gathered(0) as found:
        acc = new_accumulators(world.replica.n_rows, 512, 1)
        before = found.globals_["category"].copy()
        unlisted = next(iter(set(range(world.replica.n_categories)) - set(range(N_AISLES))))
        for category in (-1, unlisted):
            learn_categories(found.entities, found.globals_, found.work, acc, found.n_categories, category, 1.0, 0.1)
        assert np.array_equal(found.globals_["category"], before)
        assert acc.n[0] == 0
