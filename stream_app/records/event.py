"""A behaviour event: what a shop, a feed or a course catalogue produces to the events topic."""

from typing import Annotated, Literal, get_args

import msgspec

EventType = Literal[
    "impression", "view", "click", "favorite", "cart", "purchase", "rating", "review", "dislike", "forget"
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a user did. Record key: ``user_id`` as UTF-8. Unknown fields are ignored.

    Attributes
    ----------
    event_id
        Unique per user: an id seen among the user's last 32 events is a duplicate, counted and not learned again.
    type
        What happened; ``forget`` erases the user.
    user_id
        Who did it.
    event_time_ms
        When, in milliseconds since 1970 UTC.
    item_id
        With what; needed by every type but ``forget``.
    value
        Quantity of a purchase, above 0; stars of a rating, 1 to 5, needed there.
    session_id
        Visit or basket it belongs to; the session's items are the context of the next slate.
    slate_id
        Slate that the user reacted to.
    position
        Position in that slate, 0-based.
    """

    event_id: Annotated[str, msgspec.Meta(description="Unique per user.", min_length=1)]
    type: Annotated[EventType, msgspec.Meta(description="What happened.")]
    user_id: Annotated[str, msgspec.Meta(description="Who did it; also the record's key.", min_length=1)]
    event_time_ms: Annotated[int, msgspec.Meta(description="When, milliseconds since 1970 UTC.")]
    item_id: Annotated[str | None, msgspec.Meta(description="With what; all types but forget need it.")] = None
    value: Annotated[float | None, msgspec.Meta(description="Quantity of a purchase, or 1-5 stars of a rating.")] = None
    session_id: Annotated[str | None, msgspec.Meta(description="Visit or basket.")] = None
    slate_id: Annotated[str | None, msgspec.Meta(description="Slate that the user reacted to.")] = None
    position: Annotated[int | None, msgspec.Meta(description="Position in that slate, 0-based.")] = None
