"""Serving lines: what the header says, as of the hour; totals of attributes are sums over items."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.arrays import N_CONTENT, N_CONTENT_BITS
from operators.numeric import decay
from operators.params import CONTENT_TABLES, CONTENT_VALUES, P_LONG, POPULARITY_DAYS
from operators.serving import HOUR_S, N_TAGS, SERVING, count_attributes, fill_lines
from state.layout import ENTITY_HEADER, N_POPULARITIES


@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=N_POPULARITIES, max_size=N_POPULARITIES),
    st.integers(0, 10**9),
    st.integers(-1_000, 1_000_000),
    st.integers(0, 1000),
)
def test_a_line_says_what_the_header_says(popularity: list[float], t_s: int, later_s: int, n_repeat: int) -> None:
    """All numbers are finite and those of the header, decayed to the beginning of the hour; attributes stay."""
    header, line = np.zeros(1, ENTITY_HEADER), np.zeros(1, SERVING)
    header["popularity"], header["t_s"], header["n"], header["n_repeat"] = popularity, t_s, n_repeat + 3, n_repeat
    header["blend_bias"] = 0.5
    line["attributes"] = (1, 2, 3, 4)
    hour = max(t_s + later_s, 0) // HOUR_S + 1
    fill_lines(line, header, np.zeros(1, np.int32), 1, hour, np.zeros(N_POPULARITIES, np.float32))
    passed = (hour - 1) * HOUR_S - t_s
    wanted = math.log(float(header["popularity"][0, P_LONG]) * decay(passed, POPULARITY_DAYS[P_LONG]) + 0.1)
    assert math.isclose(line["popularity"][0, P_LONG], wanted, rel_tol=1e-5, abs_tol=1e-5)
    assert np.isfinite(line["popularity"]).all()
    assert np.isfinite(line["first"]).all()
    assert 0.0 <= line["repeat"][0] < 1.0
    assert line["bias"][0] == 0.5
    assert line["hour"][0] == hour
    assert not line["untried"][0]
    assert line["attributes"][0].tolist() == [1, 2, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-5, 50)), max_size=30))
def test_totals_are_sums_over_items(changes: list[tuple[int, int]]) -> None:
    """However the events of items come in, each attribute's total is the sum over its items."""
    rng = np.random.default_rng(7)
    serving, tags = np.zeros(10, SERVING), rng.integers(0, 6, (10, N_TAGS)).astype(np.int32)
    serving["attributes"] = rng.integers(0, 6, serving["attributes"].shape)
    totals, events = np.zeros(6 + N_CONTENT + N_CONTENT_BITS), np.zeros(10)
    serving["embedded"] = rng.integers(0, 2, 10)
    serving["signature"] = rng.integers(0, 256, serving["signature"].shape)
    for row, n in changes:
        count_attributes(serving, tags, np.array([row], np.int32), np.array([float(n)]), totals, 6)
        events[row] += n
    for number in range(6):
        held = (serving["attributes"] == number).sum(axis=1) + (tags == number).sum(axis=1)
        assert totals[number] == (held * events).sum()
    content = totals[6:]
    embedded = events * serving["embedded"]
    bits = np.unpackbits(serving["signature"], axis=1, bitorder="little")
    assert (content[N_CONTENT:] == embedded @ bits).all()
    for k in range(CONTENT_TABLES):
        counted = np.bincount(serving["signature"][:, k], embedded, CONTENT_VALUES)
        assert (content[CONTENT_VALUES * k : CONTENT_VALUES * (k + 1)] == counted).all()
