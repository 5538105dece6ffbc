"""From decoded events to what kernels learn from: ids hashed, words looked up in tables, one column after the other."""

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from operators.arrays import EVENT
from state.ids import hash_ids
from state.layout import EPOCH_2000_S

if TYPE_CHECKING:
    from state.arrays import Rows, UInt64s
    from stream_app.records import Event

TYPES: Final = ("impression", "view", "click", "favorite", "cart", "purchase", "rating", "review", "dislike")
WEIGHTS: Final = {
    "impression": 0.0,
    "view": 0.1,
    "click": 0.3,
    "favorite": 0.6,
    "cart": 0.8,
    "purchase": 1.0,
    "review": 0.5,
    "dislike": -1.0,
}
"""How much an event of a type teaches; that of a rating comes from its value, a dislike is negative."""
_NUMBERS: Final = {name: number for number, name in enumerate(TYPES)}
_RATING: Final = _NUMBERS["rating"]
_WEIGHT_OF: Final = np.array([WEIGHTS.get(name, 0.0) for name in TYPES], np.float32)

_user_id, _item_id, _event_id = attrgetter("user_id"), attrgetter("item_id"), attrgetter("event_id")
_time_ms, _type = attrgetter("event_time_ms"), attrgetter("type")


def rating_weight(stars: float | None) -> float:
    """Return how much a rating teaches: 1 for 4 stars and more, negative below 3; without a value it counts as 3."""
    value = stars if stars is not None else 3.0
    return 1.0 if value >= 4 else 0.3 if value >= 3 else -1.0  # noqa: PLR2004 - the five-star scale


def user_hashes(events: "Sequence[Event]") -> "UInt64s":
    """Return the id of each event's user, shape ``(n,)``."""
    return hash_ids(map(_user_id, events), len(events))


def event_columns(events: "Sequence[Event]") -> "Rows":
    """Return events as kernels see them, dtype :data:`operators.arrays.EVENT`, as far as the events alone tell.

    Rows, rewards and slates are left 0. None of the events is a ``forget``.
    """
    n = len(events)
    out = np.zeros(n, EVENT)
    out["id"] = hash_ids(map(_item_id, events), n)
    out["event_hash"] = hash_ids(map(_event_id, events), n)
    out["session"] = _sessions(events)
    out["t_s"] = np.fromiter(map(_time_ms, events), np.int64, n) // 1000 - EPOCH_2000_S
    types = np.fromiter(map(_NUMBERS.__getitem__, map(_type, events)), np.uint8, n)
    out["type"] = types
    out["weight"] = _WEIGHT_OF[types]
    for k in np.flatnonzero(types == _RATING).tolist():
        out["weight"][k] = rating_weight(events[k].value)
    return out


def _sessions(events: "Sequence[Event]") -> "UInt64s":
    """Return the id of each event's session; 0 where it has none."""
    texts = [event.session_id or "" for event in events]
    out = hash_ids(texts, len(texts))
    if "" in texts:
        out[[not text for text in texts]] = 0
    return out
