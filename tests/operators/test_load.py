"""Invariants of the decision what to do under load."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.load import (
    FEW_FRESH,
    FEW_PER_CATEGORY,
    FEW_POPULAR,
    FEW_SCANNED,
    MAX_LEVEL,
    STRETCH,
    Load,
    LoadParams,
    candidates_at,
    observe,
)
from operators.params import P_LONG
from stream_app.replica import Replica
from stream_app.settings import Settings

PARAMS = LoadParams()
LOOKS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(-5_000, 5_000)), max_size=80)


def run(looks: list[tuple[int, int]]) -> list[tuple[int, Load]]:
    """Return times and loads after each look; times may run backwards."""
    load, now_ms, out = Load(), 1_700_000_000_000, []
    for n_waiting, step_ms in looks:
        now_ms += step_ms
        load = observe(load, n_waiting, now_ms, PARAMS)
        out.append((now_ms, load))
    return out


@given(LOOKS)
def test_levels_change_one_by_one(looks: list[tuple[int, int]]) -> None:
    """A level is one of those there are, and the next one is its neighbour at most, whatever the clock does."""
    levels = [0, *(load.level for _, load in run(looks))]
    assert all(0 <= level <= MAX_LEVEL for level in levels)
    assert all(abs(b - a) <= 1 for a, b in pairwise(levels))


@given(LOOKS, st.integers(PARAMS.behind + 1, 10**9))
def test_a_lasting_backlog_raises_to_the_top(looks: list[tuple[int, int]], n_waiting: int) -> None:
    """From any state, a backlog without a break ends on the highest level after rise_ms for each level."""
    looks = [*looks, (n_waiting, 1), *[(n_waiting, PARAMS.rise_ms)] * MAX_LEVEL]
    assert run(looks)[-1][1].level == MAX_LEVEL


@given(LOOKS, st.integers(0, PARAMS.calm))
def test_calm_returns_to_normal(looks: list[tuple[int, int]], n_waiting: int) -> None:
    """From any state, calm without a break ends on level 0 after fall_ms for each level: nothing sticks."""
    looks = [*looks, (n_waiting, 1), *[(n_waiting, PARAMS.fall_ms)] * MAX_LEVEL]
    assert run(looks)[-1][1].level == 0


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 500)), max_size=60))
def test_a_level_rises_after_a_backlog_without_a_break(looks: list[tuple[int, int]]) -> None:
    """Every look of the rise_ms before a rise saw a backlog."""
    times = run(looks)
    for k in range(1, len(times)):
        if times[k][1].level > times[k - 1][1].level:
            since_ms = times[k][0] - PARAMS.rise_ms
            assert all(looks[j][0] > PARAMS.behind for j in range(k + 1) if times[j][0] >= since_ms)


@given(LOOKS, st.integers(PARAMS.deep + 1, 10**9))
def test_a_deep_backlog_raises_to_the_top_at_once(looks: list[tuple[int, int]], n_waiting: int) -> None:
    """From any state, a deep backlog that lasts rise_deep_ms ends on the highest level."""
    looks = [*looks, (n_waiting, 1), (n_waiting, PARAMS.rise_deep_ms)]
    assert run(looks)[-1][1].level == MAX_LEVEL


def test_a_single_deep_look_raises_nothing() -> None:
    """One look at a full queue, as after a pause, is no backlog."""
    looks = [(PARAMS.deep + 1, 1), (0, PARAMS.rise_deep_ms), (PARAMS.deep + 1, 1)]
    assert run(looks)[-1][1].level == 0


@given(st.lists(st.tuples(st.integers(0, 2 * PARAMS.deep), st.integers(1, 150)), max_size=80))
def test_the_top_is_reached_by_a_deep_backlog_that_lasts(looks: list[tuple[int, int]]) -> None:
    """A jump of two levels comes after rise_deep_ms of deep looks alone; backlogs that are not deep do not count."""
    times = run(looks)
    for k in range(1, len(times)):
        if times[k][1].level > times[k - 1][1].level + 1:
            since_ms = times[k][0] - PARAMS.rise_deep_ms
            assert all(looks[j][0] > PARAMS.deep for j in range(k + 1) if times[j][0] >= since_ms)


def test_a_deep_look_in_a_backlog_is_not_a_deep_backlog() -> None:
    """After a while of being behind, one deep look raises nothing; the backlog still counts from its start."""
    behind, deep = PARAMS.behind + 1, PARAMS.deep + 1
    levels = [load.level for _, load in run([(behind, 1), (behind, 1_000), (deep, 100), (behind, 100), (deep, 800)])]
    assert levels == [0, 0, 0, 0, 1]


def test_only_the_highest_level_shrinks_the_candidates() -> None:
    """Levels below it get the very arrays of the replica; the highest gets copies, and the replica keeps its own."""
    entities = Replica(Settings()).entities()
    entities.n_top[0] = entities.n_fresh_top[0] = 128
    entities.category_n_top[:] = 16
    assert all(candidates_at(level, entities) is entities for level in range(MAX_LEVEL))
    few = candidates_at(MAX_LEVEL, entities)
    assert few.n_top[0] == FEW_POPULAR
    assert few.n_fresh_top[0] == FEW_FRESH
    assert set(few.category_n_top.tolist()) == {FEW_PER_CATEGORY}
    assert entities.n_top[0] == 128
    assert few.n_top.dtype == np.int32
    assert few.category_n_top.dtype == np.int32


@given(st.integers(0, 3 * FEW_SCANNED))
def test_the_highest_level_scans_the_most_popular_items(n_items: int) -> None:
    """Those that are left are the most popular ones, each with its own factors, in arrays of the same types."""
    replica = Replica(Settings())
    replica.ensure(np.arange(1, n_items + 1, dtype=np.uint64))
    entities = replica.entities()
    popularity = np.random.default_rng(n_items).permutation(n_items).astype(np.float32)
    entities.headers["popularity"][:n_items, P_LONG] = popularity
    factors = np.tile(popularity, (entities.scan_factors.shape[0], 1))
    entities = entities._replace(scan=np.arange(n_items, dtype=np.int32), scan_factors=factors)
    few = candidates_at(MAX_LEVEL, entities)
    assert sorted(popularity[few.scan], reverse=True) == sorted(popularity, reverse=True)[:FEW_SCANNED]
    assert (few.scan_factors == popularity[few.scan]).all()
    assert (few.scan.dtype, few.scan_factors.dtype) == (np.int32, np.float32)
    assert few.scan_factors.flags.c_contiguous


def test_intervals_grow_with_the_level() -> None:
    """The normal level leaves the commit interval alone."""
    assert STRETCH[0] == 1
    assert list(STRETCH) == sorted(set(STRETCH))
