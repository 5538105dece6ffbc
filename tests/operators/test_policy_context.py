"""Cells, groups, and the arm that a slate gets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.draw import draw_keys
from operators.policy_context import CELLS, HOLDOUT, LEARNED, N_CELLS, assign, cell_features, contexts, is_held_out
from state.layout import USER_HEADER
from tests.operators.chi_square import chi_square_z

SALT = np.uint64(99)


def assigned(
    n: int, shares: np.ndarray, *, version: int = 1, holdout: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arms, groups and propensities of ``n`` slates of ``n`` users, all in cell 5."""
    users = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys = draw_keys(0, users, 0, np.arange(n, dtype=np.uint64))
    cells = np.full(n, 5, np.uint8)
    arms, groups, propensities = np.zeros(n, np.int32), np.zeros(n, np.uint8), np.zeros(n)
    assign(keys, users, cells, version, shares, SALT, holdout, 1, arms, groups, propensities)
    return arms, groups, propensities


def test_cells_have_names_and_features() -> None:
    """24 distinct cells, 24 distinct rows of features."""
    assert len(set(CELLS)) == N_CELLS == 24
    assert np.unique(cell_features(), axis=0).shape == (24, 7)


@pytest.mark.parametrize(
    ("n_events", "repeats", "hour", "cell"),
    [(0, 0, 0, "new/explorer/night"), (10, 5, 7, "known/repeater/morning"), (100, 0, 23, "regular/explorer/evening")],
)
def test_contexts_follow_the_header(n_events: int, repeats: float, hour: int, cell: str) -> None:
    """Activity by the number of events, habit by the repeat rate, hour by UTC."""
    headers = np.zeros(1, USER_HEADER)
    headers["n_events"], headers["n_decayed"], headers["n_repeat_decayed"] = n_events, 10, repeats
    headers["last_s"] = 86_400 * 9 + hour * 3600
    assert CELLS[contexts(headers, np.zeros(1, np.int32))[0]] == cell


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda p: sum(p) > 0.01), st.integers(0, 2**31))
def test_the_propensity_is_the_share(weights: list[float], version: int) -> None:
    """An arm without a share is never chosen, and what is logged is the share of the arm that is."""
    shares = np.tile(np.array(weights) / sum(weights), (N_CELLS, 1))
    arms, groups, propensities = assigned(20, shares, version=version)
    assert (propensities > 0).all()
    assert np.array_equal(propensities, shares[5][arms])
    assert (groups == LEARNED).all()


def test_frequencies_match_the_shares() -> None:
    """Over 200,000 slates each arm fills its share."""
    shares = np.tile([0.5, 0.02, 0.48], (N_CELLS, 1))
    arms, _, _ = assigned(200_000, shares)
    assert chi_square_z(np.bincount(arms, minlength=3).astype(float), shares[0] * 200_000) < 4.0


def test_an_assignment_is_a_function_of_its_key_and_version() -> None:
    """The same again gives the same arms; another version gives others."""
    shares = np.full((N_CELLS, 2), 0.5)
    first, again, other = (assigned(1000, shares, version=v)[0] for v in (1, 1, 2))
    assert np.array_equal(first, again)
    assert 300 < np.count_nonzero(first != other) < 700


def test_the_holdout_is_a_stable_share_of_users() -> None:
    """Always the same users, as many as asked for, on the fixed arm with probability 1; another salt, other users."""
    shares = np.full((N_CELLS, 2), 0.5)
    arms, groups, propensities = assigned(20_000, shares, holdout=0.2)
    held = groups == HOLDOUT
    assert abs(held.mean() - 0.2) < 0.01
    assert (arms[held] == 1).all()
    assert (propensities[held] == 1).all()
    assert np.array_equal(held, assigned(20_000, shares, version=9, holdout=0.2)[1] == HOLDOUT)
    users = np.arange(1, 2001, dtype=np.uint64)
    split = [[is_held_out(u, salt, 0.5) for u in users] for salt in (SALT, np.uint64(7))]
    assert 800 < np.count_nonzero(np.array(split[0]) != split[1]) < 1200
