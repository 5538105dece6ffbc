"""A behaviour event: what a shop, a feed or a course catalogue produces to the events topic."""

from typing import Annotated, Literal, get_args

import msgspec

EventType = Literal[
    "impression", "view", "click", "favorite", "cart", "purchase", "rating", "review", "dislike", "forget"
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
"""What a user can do."""

FIRST_TIME_MS = 946_684_800_000
"""2000-01-01 UTC, in milliseconds since 1970 UTC: an earlier event is rejected."""
FEWEST_STARS = 1.0
MOST_STARS = 5.0
LAST_POSITION = 2**31 - 1

_Id = Annotated[str, msgspec.Meta(min_length=1)]
_Time = Annotated[int, msgspec.Meta(ge=FIRST_TIME_MS)]
_Position = Annotated[int, msgspec.Meta(ge=0, le=LAST_POSITION)]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a user did. Record key: ``user_id`` as UTF-8. Unknown fields are ignored.

    Attributes
    ----------
    event_id
        Unique per user: an id seen among the user's last 32 events is a duplicate, counted and not learned again.
    type
        What happened: one of :data:`EVENT_TYPES`; ``forget`` erases the user.
    user_id
        Who did it; also the record's key.
    event_time_ms
        When, in milliseconds since 1970 UTC, an integer; from 2000 to ``max_future_ms`` from now.
    item_id
        With what; needed by every type but ``forget``.
    value
        Stars of a rating, 1 to 5, needed there. Quantity of a purchase, in any unit, above 0: checked, but not used.
        Other types may carry any finite number, which is not looked at.
    session_id
        Visit or basket it belongs to; the session's items are the context of the next slate. Empty is like none.
    slate_id
        Slate that the user reacted to. Empty is like none.
    position
        Position in that slate, 0-based.
    """

    event_id: Annotated[_Id, msgspec.Meta(description="Unique per user.")]
    type: Annotated[EventType, msgspec.Meta(description="What happened.")]
    user_id: Annotated[_Id, msgspec.Meta(description="Who did it; also the record's key.")]
    event_time_ms: Annotated[_Time, msgspec.Meta(description="When, milliseconds since 1970 UTC; 2000 or later.")]
    item_id: Annotated[_Id | None, msgspec.Meta(description="With what; all types but forget need it.")] = None
    value: Annotated[float | None, msgspec.Meta(description="Stars of a rating, 1-5; quantity of a purchase.")] = None
    session_id: Annotated[str | None, msgspec.Meta(description="Visit or basket.")] = None
    slate_id: Annotated[str | None, msgspec.Meta(description="Slate that the user reacted to.")] = None
    position: Annotated[_Position | None, msgspec.Meta(description="Position in that slate, 0-based.")] = None
