"""Small numeric kernels keep their bounds."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.numeric import decay, forward_weight, growth, kth_largest, start_entities, to_fixed, uniform
from state.layout import ENTITY_HEADER


@given(st.floats(-1e12, 1e12), st.floats(0.01, 1e4))
def test_decay_is_a_share(elapsed: float, half_life: float) -> None:
    """A decayed weight never grows, whatever the clock says."""
    assert 0.0 <= decay(elapsed, half_life) <= 1.0


@given(st.floats(0.0, 1e8), st.floats(0.5, 400.0))
def test_growth_undoes_decay(elapsed: float, half_life: float) -> None:
    """Within its bounds, growth is the inverse of decay."""
    if elapsed / (half_life * 86_400) < 50:
        assert np.isclose(decay(elapsed, half_life) * growth(elapsed, half_life), 1.0)


@given(st.floats(0.0, 255.9))
def test_fixed_point_round_trip(value: float) -> None:
    """A count survives fixed point to within half a step."""
    assert abs(float(to_fixed(value)) / 256.0 - value) <= 0.5 / 256.0 + 1e-9


@given(st.floats(-1e30, 1e30))
def test_fixed_point_saturates(value: float) -> None:
    """No count overflows into a small one."""
    assert 0 <= int(to_fixed(value)) <= 65_535
    if value > 256:
        assert int(to_fixed(value)) == 65_535


@given(st.integers(0, 2**32 - 1))
def test_forward_weight_fits_float32(t_s: int) -> None:
    """Any time of the 32-bit clock gives a weight that float32 holds."""
    weight = np.float32(forward_weight(float(t_s)))
    assert np.isfinite(weight)
    assert weight > 0


@given(st.integers(0, 2**64 - 1))
def test_uniform_range(x: int) -> None:
    """Random numbers lie in [0, 1)."""
    assert 0.0 <= uniform(np.uint64(x)) < 1.0


def test_start_values_depend_on_the_id_alone() -> None:
    """Two workers give a new item the same factors, and different items different ones; their spread is .05."""
    first, second = np.zeros(2000, ENTITY_HEADER), np.zeros(2000, ENTITY_HEADER)
    first["id"] = second["id"] = np.arange(1, 2001, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    rows = np.arange(2000, dtype=np.int32)
    start_entities(first, rows)
    start_entities(second, rows[::-1].copy())
    assert np.array_equal(first, second)
    assert abs(float(first["target"].std()) - 0.05) < 0.002
    assert abs(float(first["target"].mean())) < 0.002
    assert np.unique(first["target"][:, 0]).size > 1990


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=300), st.integers(1, 300))
def test_kth_largest_is_that_of_the_sorted_list(values: list[float], k: int) -> None:
    """It is what sorting finds, and minus infinity where no value has to go."""
    array = np.array(values, np.float32)
    before = array.copy()
    wanted = sorted(values, reverse=True)[k - 1] if len(values) > k else -math.inf
    assert kth_largest(array, k) == wanted
    assert (array == before).all()
