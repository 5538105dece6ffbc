"""The sum over partitions: idempotent, without order, at one time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.policy_context import N_CELLS
from operators.policy_posterior import GuardParams
from operators.policy_state import Observed, add_up, learn_policy, mean_and_variance
from operators.standing import N_STANDING


def observed(as_of_s: int, n: float, reward: float) -> Observed:
    """Return a partition that observed ``n`` slates of two arms in every cell."""
    cells = np.tile([n, n * reward, n * reward**2 + 0.1 * n], (2, N_CELLS, 1))
    totals = np.tile([n, n * reward, n * reward**2, 0], (2, 2, 1))
    return Observed(as_of_s, cells, totals, 2 * totals, np.full((2, N_STANDING), n))


PARTITIONS = st.lists(
    st.builds(observed, st.integers(1, 10**8), st.floats(0, 1e4), st.floats(-1, 1)), min_size=1, max_size=6
)


@given(PARTITIONS, st.randoms(use_true_random=False))
def test_the_order_of_partitions_changes_nothing(partitions: list[Observed], rng: object) -> None:
    """The same newest statistics in any order give the same policy, to the last bit."""
    shuffled = list(partitions)
    rng.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis's random.Random
    first = learn_policy(partitions, 2, 30.0, GuardParams())
    again = learn_policy(shuffled, 2, 30.0, GuardParams())
    assert np.array_equal(first.shares, again.shares)
    assert np.array_equal(first.cells, again.cells)
    assert np.array_equal(first.standing, again.standing)


def test_sums_are_decayed_to_the_newest_time() -> None:
    """A partition whose sums are as of one half-life ago counts half; totals and standing sums have no weights."""
    total = add_up([observed(10**6, 8.0, 0.5), observed(10**6 + 86_400, 2.0, 0.5)], 2, 1.0)
    assert total.as_of_s == 10**6 + 86_400
    np.testing.assert_allclose(total.cells[..., 0], 6.0)
    np.testing.assert_allclose(total.final[..., 0], 10.0)
    np.testing.assert_allclose(total.pending[..., 0], 20.0)
    np.testing.assert_allclose(total.standing, 10.0)


def test_no_partition_is_no_observation() -> None:
    """Without any statistics the policy is the one of the start."""
    learned = learn_policy([], 3, 30.0, GuardParams())
    assert learned.as_of_s == 0
    np.testing.assert_allclose(learned.shares.sum(axis=1), 1.0)


def test_mean_and_variance() -> None:
    """Of the rewards 1, 2 and 3; and of none."""
    assert mean_and_variance(np.array([3.0, 6.0, 14.0, 0.0])) == (3, 2.0, 14 / 3 - 4)
    assert mean_and_variance(np.zeros(4)) == (0, 0.0, 0.0)
