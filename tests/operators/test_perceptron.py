"""The perceptron: nothing learned changes nothing, its logits and gradients are what they should be, it learns."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numba import njit

from operators.perceptron import CENTRE, SPREAD, correct_all, correct_logits
from operators.perceptron_steps import (
    CATEGORY_PRIOR,
    CATEGORY_RATE,
    LEAST,
    MEAN_MEMORY,
    MEAN_SHARE,
    MEMORY,
    learn_perceptron,
)
from operators.weights import HAD_ONLY, N_PLAIN, OF_HAD, OF_NONE, OF_ONE, new_globals
from state.ids import hash_category
from stream_app.records import LocalRecord
from tests.operators.test_discovery import blended, in_context
from tests.operators.world import Gathered, World, no_nan, shoppers

MEANS = ("mean_network", "mean_network_out")
NAMES = (
    "network", "network_sq", "network_out", "network_out_sq", "network_n", "network_gate", "network_category",
    "network_category_sq", *MEANS,
)  # fmt: skip


@njit
def _correct(entities, globals_, work, which, logits):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    correct_logits(entities, globals_, work, which, logits)


@njit
def _correct_all(entities, globals_, work, n, n_likely, logits):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    correct_all(entities, globals_, work, n, n_likely, logits)


@njit
def _learn(entities, globals_, work, picked, logits, lift, m):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    return learn_perceptron(entities, globals_, work, picked, logits, lift, m, 1.0)


def taught(found: Gathered, globals_: np.void, order: np.ndarray, logits: np.ndarray, lift: np.ndarray) -> float:
    """Make a step towards the first of ``order``; return the log-loss before it."""
    return float(_learn(found.entities, globals_, found.work, order, logits, lift, found.n))


def world() -> World:
    """Return a world of random shoppers who have bought things."""
    out = World()
    out.live(shoppers(300, 4))
    return out


def some_network(seed: int) -> np.void:
    """Return what a partition learned, with some weight on every hidden unit, and the same in the mean."""
    out = new_globals()[0]
    out["network_out"] = np.random.default_rng(seed).normal(0, 0.3, out["network_out"].shape)
    out["network_category"] = np.random.default_rng(seed + 2).normal(0, 0.1, out["network_category"].shape)
    out["network"][[OF_ONE, OF_HAD]] = np.random.default_rng(seed + 1).normal(0, 0.3, (2, out["network"].shape[1]))
    for name in MEANS:
        out[name] = out[name.removeprefix("mean_")]
    return out


def hidden_units(found: Gathered, network: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return what the hidden units say, shape ``(n, N_HIDDEN)``, in float64, from the definition."""
    x = found.work.features[which, :N_PLAIN].astype(np.float64)
    had = found.work.candidates["had"][which].astype(bool)
    z = (x - CENTRE[:N_PLAIN]) / SPREAD[:N_PLAIN]
    z[:, HAD_ONLY] *= had[:, None]
    z[:, OF_ONE] = 1.0
    return np.asarray(np.maximum(z @ network[:N_PLAIN].astype(np.float64) + had[:, None] * network[OF_HAD], 0.0))


def vectors_of(found: Gathered, which: np.ndarray) -> np.ndarray:
    """Return which vector each candidate's category has."""
    categories = found.entities.category[found.work.candidates["row"][which]]
    return np.asarray(found.entities.category_vectors[categories])


def expected(found: Gathered, network: np.ndarray, out: np.ndarray, own: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return what is to be added to the logits, in float64, from the definition; ``own`` are vectors of categories."""
    had = found.work.candidates["had"][which].astype(bool)
    weights = np.where(had[:, None], out[0], out[1]) + own[vectors_of(found, which)]
    return np.asarray((hidden_units(found, network, which) * weights).sum(axis=1))


def loss_of(logits: np.ndarray, lift: np.ndarray) -> float:
    """Return the log-loss of the first one."""
    return float(np.logaddexp.reduce(logits + lift) - logits[0] - lift[0])


def test_nothing_learned_changes_nothing() -> None:
    """With the start values no logit changes by a bit."""
    shop = world()
    for user in shop.known_users():
        with shop.gathered(user) as found:
            before = blended(found)
            after = before.copy()
            _correct(found.entities, new_globals()[0], found.work, found.work.every[: found.n], after)
            assert (after == before).all()


def test_logits_are_those_of_the_definition() -> None:
    """For items that the user had, and for new ones."""
    shop, globals_ = world(), some_network(3)
    kinds = set()
    for user in shop.known_users():
        with shop.gathered(user) as found:
            before, which = blended(found), found.work.every[: found.n]
            after = before.copy()
            _correct(found.entities, globals_, found.work, which, after)
            wanted = expected(found, globals_["network"], globals_["network_out"], globals_["network_category"], which)
            assert np.allclose(after - before, wanted, atol=1e-3)
            kinds |= set(found.work.candidates["had"][which].tolist())
    assert kinds == {0, 1}


@pytest.mark.parametrize("n_likely", [1, 3, 1_000])
def test_what_the_blend_rules_out_gets_the_mean(n_likely: int) -> None:
    """The best of either kind outside the context get what the perceptron says of them, the others the mean of that."""
    shop, globals_ = world(), some_network(7)
    n_ruled_out = 0
    for user in shop.known_users():
        with shop.gathered(user) as found:
            before = blended(found)
            after, asked = before.copy(), before.copy()
            _correct(found.entities, globals_, found.work, found.work.every[: found.n], asked)
            _correct_all(found.entities, globals_, found.work, found.n, n_likely, after)
            said = asked - before
            had = found.work.candidates["had"][: found.n].astype(bool)
            outside = ~in_context(found)
            for kind in (had, ~had):
                if not kind.any():
                    continue
                best = np.sort(before[kind & outside])[::-1]
                least = best[n_likely - 1] if len(best) > n_likely else -np.inf
                likely = kind & (before >= least)
                assert np.allclose(after[likely], asked[likely], atol=1e-5)
                assert np.allclose(after[kind & ~likely] - before[kind & ~likely], said[likely].mean(), atol=1e-4)
                n_ruled_out += int((kind & ~likely).sum())
    assert (n_ruled_out > 0) == (n_likely < 1_000)


def test_steps_go_where_the_loss_falls() -> None:
    """The gradient of a first step, which its squares and signs give away, is the slope of the log-loss."""
    shop, rng = world(), np.random.default_rng(5)
    n_checked = 0
    for user in shop.known_users()[:4]:
        with shop.gathered(user) as found:
            blend = blended(found)
            order = np.roll(np.arange(found.n, dtype=np.int32), 1)
            lift = rng.normal(0, 0.2, found.n).astype(np.float32)
            before = some_network(found.u)
            after, logits = before.copy(), blend[order].copy()
            loss = taught(found, after, order, logits, lift)
            own = before["network_category"]
            base = blend[order] + expected(found, before["network"], before["network_out"], own, order)
            assert np.allclose(logits, base, atol=1e-3)
            assert abs(loss - loss_of(base, lift)) < 1e-3
            for name in ("network", "network_out"):
                step = after[name].astype(np.float64) - before[name]
                found_gradient = -np.sign(step) * np.sqrt(after[f"{name}_sq"].astype(np.float64) * MEMORY)
                for at in zip(*(rng.integers(0, size, 40) for size in step.shape), strict=True):
                    if name == "network" and at[0] == OF_NONE:
                        assert step[at] == 0.0
                        continue
                    wanted = slope(found, before, name, at, blend[order], order, lift)
                    assert abs(found_gradient[at] - wanted) < 0.02 * abs(wanted) + 10 * LEAST
                    n_checked += abs(wanted) > 20 * LEAST
    assert n_checked > 30


def slope(
    found: Gathered, globals_: np.void, name: str, at: tuple[int, ...], blend: np.ndarray, order: np.ndarray,
    lift: np.ndarray,
) -> float:  # fmt: skip
    """Return how the log-loss changes with one weight."""
    losses = []
    for change in (1e-4, -1e-4):
        weights = {key: globals_[key].astype(np.float64) for key in ("network", "network_out")}
        weights[name][at] += change
        said = expected(found, weights["network"], weights["network_out"], globals_["network_category"], order)
        losses.append(loss_of(blend + said, lift))
    return (losses[0] - losses[1]) / 2e-4


def test_the_vector_of_a_category_follows_its_candidates() -> None:
    """Each candidate moves the vector of its category by Adagrad, and no other one moves."""
    shop, rng = world(), np.random.default_rng(6)
    for user in shop.known_users()[:4]:
        with shop.gathered(user) as found:
            blend = blended(found)
            order = np.roll(np.arange(found.n, dtype=np.int32), 1)
            lift = rng.normal(0, 0.2, found.n).astype(np.float32)
            before = some_network(found.u)
            before["network_category_sq"] = rng.uniform(0.0, 5.0, before["network_category_sq"].shape)
            after, own = before.copy(), before["network_category"].astype(np.float64)
            squares = before["network_category_sq"].astype(np.float64)
            taught(found, after, order, blend[order].copy(), lift)
            logits = blend[order] + lift + expected(found, before["network"], before["network_out"], own, order)
            slopes = np.exp(logits - np.logaddexp.reduce(logits))
            slopes[slopes < LEAST] = 0.0
            slopes[0] = -slopes[1:].sum()
            units, vectors = hidden_units(found, before["network"], order), vectors_of(found, order)
            for g, unit, at in zip(slopes, units, vectors, strict=True):
                squares[at] += g * g * (unit * unit).mean()
                own[at] -= CATEGORY_RATE * g / np.sqrt(squares[at] + CATEGORY_PRIOR) * unit
            assert np.allclose(after["network_category"], own, atol=1e-4)
            assert np.allclose(after["network_category_sq"], squares, rtol=1e-2)
            others = ~np.isin(np.arange(own.shape[0]), vectors)
            assert (after["network_category"][others] == before["network_category"][others]).all()
            assert (after["network_category"] != before["network_category"]).any()


def test_a_category_has_the_same_vector_in_every_worker() -> None:
    """Whatever is met first; and some of many categories have vectors of their own."""
    paths = [("Food", f"aisle {k}") for k in range(40)]
    found = []
    for order in (paths, paths[::-1]):
        shop = World()
        entries = [{"item_id": f"new {path[1]}", "category": path} for path in order]
        shop.replica.apply_catalog([LocalRecord(e["item_id"].encode(), json.dumps(e).encode()) for e in entries])
        entities = shop.replica.entities()
        dense = [int(entities.category_of_row[shop.replica.table.index.get(hash_category(path))]) for path in paths]
        assert min(dense) >= 0
        found.append(entities.category_vectors[dense].tolist())
    assert found[0] == found[1]
    assert len(set(found[0])) > 20


def test_a_taught_choice_becomes_likelier() -> None:
    """The log-loss of an item that is taken again and again falls."""
    shop = world()
    for user in shop.known_users()[:3]:
        with shop.gathered(user) as found:
            blend, globals_ = blended(found), new_globals()[0]
            order = np.arange(found.n, dtype=np.int32)[::-1].copy()
            lift = np.zeros(found.n, np.float32)
            losses = [taught(found, globals_, order, blend[order].copy(), lift) for _ in range(300)]
            assert losses[-1] < losses[0] - 0.1


def test_it_counts_for_less_where_it_is_wrong() -> None:
    """An output against what happens loses its weight; without weight the logits are the blend's."""
    shop = world()
    with shop.gathered(shop.known_users()[0]) as found:
        blend, globals_ = blended(found), some_network(2)
        own = globals_["network_category"]
        wrong = int(np.argmin(expected(found, globals_["network"], globals_["network_out"], own, np.arange(found.n))))
        order = np.array([wrong, *(k for k in range(found.n) if k != wrong)], np.int32)
        kept = {name: globals_[name].copy() for name in ("network", "network_out", "network_category", *MEANS)}
        for _ in range(2_000):
            taught(found, globals_, order, blend[order].copy(), np.zeros(found.n, np.float32))
            for name, values in kept.items():
                globals_[name] = values
        assert globals_["network_gate"][0] < 0.5
        globals_["network_gate"][0] = 0.0
        after = blend.copy()
        _correct(found.entities, globals_, found.work, np.arange(found.n, dtype=np.int32), after)
        assert (after == blend).all()


def test_slates_take_the_mean_of_the_latest_weights() -> None:
    """Logits are those of the mean, which forgets its first steps; and a step is made from the weights themselves."""
    shop = world()
    with shop.gathered(shop.known_users()[0]) as found:
        blend, globals_ = blended(found), some_network(4)
        order, lift = np.arange(found.n, dtype=np.int32), np.zeros(found.n, np.float32)
        mean = {name: globals_[name].astype(np.float64) for name in MEANS}
        for n in range(1, 30):
            taught(found, globals_, order, blend[order].copy(), lift)
            share = 1.0 / min(MEAN_MEMORY, 1.0 + MEAN_SHARE * n)
            for name in MEANS:
                mean[name] += share * (globals_[name.removeprefix("mean_")] - mean[name])
                assert np.allclose(globals_[name], mean[name], atol=1e-5)
        assert not np.allclose(globals_["mean_network_out"], globals_["network_out"], atol=1e-4)
        after = blend.copy()
        _correct(found.entities, globals_, found.work, order, after)
        own = globals_["network_category"]
        said = expected(found, globals_["mean_network"], globals_["mean_network_out"], own, order)
        assert np.allclose(after - blend, globals_["network_gate"][0] * said, atol=1e-3)
        other = globals_.copy()
        for name in MEANS:
            other[name] = 0.0
        for one in (globals_, other):
            taught(found, one, order, blend[order].copy(), lift)
        assert (other["network"] == globals_["network"]).all()


def test_the_count_of_steps_may_end() -> None:
    """A step after as many as the count can hold leaves weights that are numbers."""
    shop, globals_ = world(), some_network(5)
    globals_["network_n"] = 2**32 - 2
    with shop.gathered(shop.known_users()[0]) as found:
        order, lift = np.arange(found.n, dtype=np.int32), np.zeros(found.n, np.float32)
        for _ in range(4):
            taught(found, globals_, order, blended(found), lift)
    assert no_nan(*(globals_[name] for name in NAMES))
    assert globals_["network_n"] > 2**30


def test_what_is_not_finite_teaches_nothing() -> None:
    """A logit that is no number makes no step, and leaves the weights as they are."""
    shop, globals_ = world(), some_network(1)
    with shop.gathered(shop.known_users()[0]) as found:
        logits = blended(found)
        logits[0] = np.nan
        kept = globals_.tobytes()
        order = np.arange(found.n, dtype=np.int32)
        assert np.isnan(taught(found, globals_, order, logits, np.zeros(found.n, np.float32)))
        assert globals_.tobytes() == kept


def test_weights_survive_any_shoppers() -> None:
    """After a thousand events of random shoppers something is learned, and all of it is finite."""
    shop = World()
    shop.live(shoppers(1_000, 4), 50)
    learned = shop.users.globals
    assert no_nan(*(learned[name] for name in NAMES))
    assert learned["network_out"].any()
    assert learned["network_category"].any()
    assert learned["network_n"] > 0
