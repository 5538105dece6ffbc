"""Columns of a batch are what each event says by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.arrays import EVENT
from state.ids import hash_id
from state.layout import EPOCH_2000_S
from stream_app.columns import TYPES, WEIGHTS, event_columns, rating_weight, user_hashes
from stream_app.records import Event

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
EVENTS = st.builds(
    Event,
    event_id=TEXT,
    type=st.sampled_from(TYPES),
    user_id=TEXT,
    item_id=TEXT,
    event_time_ms=st.integers(EPOCH_2000_S * 1000, 4_000_000_000_000),
    value=st.none() | st.floats(1.0, 5.0),
    session_id=st.none() | st.just("") | TEXT,
)


@given(st.lists(EVENTS, max_size=12))
def test_columns_hold_each_event(events: list[Event]) -> None:
    """Ids are the hashes of the strings, times seconds since 2000, weights those of the type or of the stars."""
    columns = event_columns(events)
    assert columns.dtype == EVENT
    assert user_hashes(events).tolist() == [hash_id(event.user_id) for event in events]
    for row, event in zip(columns, events, strict=True):
        assert int(row["id"]) == hash_id(event.item_id or "")
        assert int(row["event_hash"]) == hash_id(event.event_id)
        assert int(row["session"]) == (hash_id(event.session_id) if event.session_id else 0)
        assert int(row["t_s"]) == event.event_time_ms // 1000 - EPOCH_2000_S
        assert TYPES[row["type"]] == event.type
        weight = rating_weight(event.value) if event.type == "rating" else WEIGHTS[event.type]
        assert row["weight"] == np.float32(weight)


def test_every_type_has_a_weight() -> None:
    """All types but ratings, which have stars, are in the table; only a dislike is negative."""
    assert set(WEIGHTS) == set(TYPES) - {"rating"}
    assert [name for name, weight in WEIGHTS.items() if weight < 0] == ["dislike"]


@given(st.none() | st.floats(1.0, 5.0))
def test_stars_teach_in_three_steps(stars: float | None) -> None:
    """Four stars and more count whole, fewer than three against the item, none at all like three."""
    known = 3.0 if stars is None else stars
    assert rating_weight(stars) == (1.0 if known >= 4.0 else 0.3 if known >= 3.0 else -1.0)
