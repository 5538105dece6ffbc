"""Records of every version say the same of a partition, whatever time their sums are as of."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.policy_context import N_CELLS
from operators.standing import N_STANDING
from stream_app.policy_publish import make_state
from stream_app.policy_weights import weighted_sums
from stream_app.records.policy import POLICY_FORMAT_VERSION, ArmStatistics, PolicyStatistics, StandingStatistics
from stream_app.settings import Settings

DAY_S = 86_400
SETTINGS = Settings()
HALF_LIFE_DAYS = SETTINGS.policy_half_life_days
ROW = (0.0, 0.0, 0.0, 0.0)


def statistics(newest_day: int, n: float, reward: float, *, days_before: float = 0.0) -> PolicyStatistics:
    """Return what a partition observed up to a day's first second, with sums as of a time before that."""
    weight = n * 2.0 ** (days_before / HALF_LIFE_DAYS)
    arms = {
        arm.name: ArmStatistics(
            cells=[(weight, weight * reward * k, weight * (reward * k) ** 2 + 0.1 * weight)] * N_CELLS,
            final={"learned": ROW, "holdout": ROW},
            open={"learned": [ROW] * 4, "holdout": [ROW] * 4},
            standing=StandingStatistics(0, [0.0] * N_STANDING, [[0.0] * N_STANDING] * 4),
        )
        for k, arm in enumerate(SETTINGS.arms)
    }
    as_of_s = newest_day * DAY_S - round(days_before * DAY_S)
    return PolicyStatistics(POLICY_FORMAT_VERSION, 0, as_of_s, HALF_LIFE_DAYS, DAY_S, newest_day, arms)


BEFORE = st.integers(0, 600)


@given(st.floats(0, 1e5), st.floats(-1, 1), st.integers(0, 300), st.tuples(BEFORE, BEFORE))
def test_what_is_learned_does_not_depend_on_the_time_of_the_sums(
    n: float, reward: float, apart: int, before: tuple[int, int]
) -> None:
    """Two partitions, one older, whose sums are as of any days: numbers and posterior are those of the newest slate."""
    days = (5_000, 5_000 + apart)
    now = [statistics(day, n, reward) for day in days]
    old = [statistics(day, n, reward, days_before=passed) for day, passed in zip(days, before, strict=True)]
    wanted, found = (make_state(SETTINGS, 1, records) for records in (now, old))
    assert found.as_of_ms == wanted.as_of_ms
    for a, b in zip(found.arms, wanted.arms, strict=True):
        np.testing.assert_allclose(
            [a.n, a.mean, a.deviation, a.p_worse], [b.n, b.mean, b.deviation, b.p_worse], rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(a.n, N_CELLS * n * (1 + 2.0 ** (-apart / HALF_LIFE_DAYS)), rtol=1e-9, atol=1e-300)


@given(st.floats(0, 1e5), st.integers(0, DAY_S - 1))
def test_sums_as_of_the_newest_slate_are_left_alone(n: float, second: int) -> None:
    """Wherever in its period that slate lies."""
    record = statistics(5_000, n, 0.5, days_before=-second / DAY_S)
    as_of_s, cells = weighted_sums(record)
    assert as_of_s == record.as_of_s
    assert all(np.array_equal(cells[name], arm.cells) for name, arm in record.arms.items())


def test_before_the_first_slate() -> None:
    """There is no time, and nothing to weigh."""
    as_of_s, cells = weighted_sums(statistics(0, 0.0, 0.0))
    assert as_of_s == 0
    assert not np.any(list(cells.values()))
