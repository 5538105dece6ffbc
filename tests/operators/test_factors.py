"""Factors: the query, the sampled softmax against a plain computation, and what is left when numbers break."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.arrays import new_accumulators
from operators.factors import accumulator, build_query, factor_score, sgd_step
from operators.params import LearnParams
from state.layout import N_FACTORS, N_RECENT
from tests.operators.world import HISTORIES, N_ITEMS, Step, World, no_nan, shoppers

NEGATIVES = st.lists(st.integers(0, N_ITEMS - 1), max_size=16)


def a_world() -> World:
    """Return a world in which everybody has bought, and every item has been."""
    world = World()
    world.live([Step(k % 4, k % N_ITEMS, "purchase", k / 10, k // 5) for k in range(2 * N_ITEMS)])
    world.live(shoppers(60, 1))
    return world


def step(world: World, user: int, item: int, negatives: list[int], weight: float, rate: float = 0.1) -> tuple:
    """Make one step; return loss, accumulators, scratch space, and the user's factors before it."""
    entities, users, work = world.entities, world.arrays, world.new_work()
    acc = new_accumulators(world.replica.n_rows, 128, 1)
    u = world.user_row(user)
    before = users.headers[u]["factors"].copy()
    n_sources = build_query(users, u, entities, work, 0.9)
    rows = np.array([world.item_row(k) for k in negatives], np.int32)
    params = LearnParams(rate=rate)
    loss = sgd_step(
        users, u, world.item_row(item), rows, len(negatives), n_sources, weight, entities, work, acc, params
    )
    return loss, acc, work, before


@settings(max_examples=80)
@given(HISTORIES)
def test_the_query_is_the_documented_sum(history: list[Step]) -> None:
    """The query is the user's factors plus the weighted context factors of at most twenty positives."""
    world = World()
    world.live(history)
    entities, users, work = world.entities, world.arrays, world.new_work()
    for user in world.known_users():
        header = users.headers[world.user_row(user)]
        n = build_query(users, world.user_row(user), entities, work, 0.9)
        assert 0 <= n == int(header["n_recent"]) <= N_RECENT
        wanted = header["factors"].astype(np.float64)
        total = sum(0.9**k for k in range(n))
        for k in range(n):
            row = int(header["recent"][k])
            assert work.sources[k] == row
            wanted += 0.9**k / math.sqrt(total) * entities.headers[row]["context"]
        assert np.allclose(work.query, wanted, atol=1e-5)


@settings(max_examples=80)
@given(st.integers(0, 3), st.integers(0, N_ITEMS - 1), NEGATIVES, st.floats(0.05, 1.0))
def test_a_step_is_the_gradient_of_the_sampled_softmax(user: int, item: int, negatives: list[int], w: float) -> None:
    """Loss and gradients are those of a plain computation; the probabilities' gradients sum to zero."""
    world = a_world()
    loss, acc, work, before = step(world, user, item, negatives, w)
    drawn = [world.item_row(k) for k in negatives if k != item]
    rows = [world.item_row(item), *drawn]
    headers, totals = world.entities.headers, world.entities.totals
    log_q = np.log(0.5 * (headers["n"][rows] + 0.5) / totals[0] + 0.5 / totals[1])
    logits = headers["bias"][rows] + headers["target"][rows].astype(np.float64) @ work.query - log_q
    p = np.exp(logits - logits.max())
    p /= p.sum()
    assert np.isclose(loss, -math.log(p[0]), atol=1e-4)
    g = w * (p - np.eye(1, len(rows), 0)[0])
    assert np.allclose(work.gradient, g @ headers["target"][rows], atol=1e-4)
    records = acc.records[: acc.n[0]]
    assert abs(float(records["bias"].sum())) < 1e-4
    for row in set(rows):
        wanted = sum(g[k] for k in range(len(rows)) if rows[k] == row)
        assert np.isclose(acc.records[acc.slot[row]]["bias"], wanted, atol=1e-4)
        assert np.allclose(acc.records[acc.slot[row]]["target"], wanted * work.query, atol=1e-4)
    moved = world.arrays.headers[world.user_row(user)]["factors"] - before
    assert float(moved @ work.gradient) <= 1e-9, "a step goes against the gradient"
    assert no_nan(moved, records["target"], records["context"], records["target_sq"])


def test_steps_lower_the_loss() -> None:
    """Repeated towards one item, the user's steps make it likelier."""
    world = a_world()
    losses = [step(world, 0, 7, [1, 2, 3, 4, 5], 1.0)[0] for _ in range(20)]
    assert losses[-1] < losses[0]


def test_broken_factors_change_nothing() -> None:
    """Where a logit is not finite the loss is NaN, and neither user nor accumulators have changed."""
    world = a_world()
    world.entities.headers[world.item_row(3)]["target"][:] = np.nan
    before = world.arrays.headers[world.user_row(0)].copy()
    loss, acc, _, _ = step(world, 0, 7, [1, 3], 1.0)
    assert math.isnan(loss)
    assert acc.n[0] == 0
    assert world.arrays.headers[world.user_row(0)] == before


def test_a_score_is_bias_plus_product() -> None:
    """The factor score reads the row of the item and the query, nothing else."""
    world = a_world()
    work = world.new_work()
    work.query[:] = np.arange(N_FACTORS)
    row = world.item_row(4)
    header = world.entities.headers[row]
    wanted = float(header["bias"]) + float(header["target"] @ work.query)
    assert math.isclose(factor_score(world.entities, row, work), wanted, rel_tol=1e-4)


@given(st.lists(st.integers(0, 49), max_size=60))
def test_each_touched_row_has_one_accumulator(rows: list[int]) -> None:
    """A row gets one record, and keeps it; records know their rows."""
    acc = new_accumulators(50, 50, 1)
    places = {row: accumulator(acc, row) for row in rows}
    assert acc.n[0] == len(places)
    assert sorted(places.values()) == list(range(len(places)))
    assert all(accumulator(acc, row) == at and acc.records[at]["row"] == row for row, at in places.items())
