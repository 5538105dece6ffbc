"""What the HTTP server answers with: recommendations, and problems that name their remedy."""

from typing import Annotated, Literal

import msgspec

from stream_app.records import AsOf, SlateItem

Source = Literal["published", "computed", "popular"]

PROBLEMS = {
    "bad_request": (400, "A parameter is missing, unknown or out of its range."),
    "no_token": (401, "The token is missing or wrong."),
    "wrong_host": (403, "Without a token the server answers to names of this machine only."),
    "unknown_user": (404, "No event of this user was learned, or the user was forgotten."),
    "unknown_item": (404, "No event about this item was learned, and the catalogue does not list it."),
    "no_slate": (404, "The user is known, but nothing may be recommended at present."),
    "nothing_popular": (404, "No item outside the excluded categories has been used yet."),
    "not_found": (404, "There is no such page."),
    "method_not_allowed": (405, "The page knows other methods only."),
    "not_ready": (503, "Nobody owns the user's partition yet, or its owner does not answer; try again."),
    "busy": (503, "Too many requests wait at this worker, or too many pages are open; try again."),
}
"""Every code of a problem: its HTTP status, and what it means."""


class Recommendations(msgspec.Struct, frozen=True, kw_only=True):
    """What to show a user now: a slate as in the topic, and where it comes from.

    Attributes
    ----------
    source
        ``published``: the newest slate of the topic, byte for byte; ``computed``: made for this request from the
        user's committed row, in no topic; ``popular``: the fallback, the same for everybody.
    slate_id, as_of
        Of the published slate, else null: reactions to other slates carry no ``slate_id``.
    event_time_ms
        Time of the user's newest event that it knows of, in milliseconds since 1970 UTC; null for ``popular``.

    The other fields are those of a slate.
    """

    source: Annotated[Source, msgspec.Meta(description="published, computed or popular.")]
    user_id: Annotated[str, msgspec.Meta(description="For whom.")]
    policy: Annotated[str, msgspec.Meta(description="Name of the policy.")]
    policy_version: Annotated[int, msgspec.Meta(description="Version of the policy.")]
    emitted_at_ms: Annotated[int, msgspec.Meta(description="When it was made, ms since 1970 UTC.")]
    items: Annotated[list[SlateItem], msgspec.Meta(description="The slots, top first.")]
    context_categories: Annotated[list[str], msgspec.Meta(description="Categories that are left out.")]
    slate_id: Annotated[str | None, msgspec.Meta(description="Of a published slate.")] = None
    as_of: Annotated[AsOf | None, msgspec.Meta(description="The newest event it knows of.")] = None
    event_time_ms: Annotated[int | None, msgspec.Meta(description="That event's time, ms since 1970 UTC.")] = None


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer (RFC 9457).

    Attributes
    ----------
    type
        ``about:blank``.
    title
        What the code means in general.
    status
        The HTTP status.
    code
        One of :data:`PROBLEMS`, for machines.
    detail
        What happened here, and the remedy.
    """

    type: Annotated[str, msgspec.Meta(description="about:blank")]
    title: Annotated[str, msgspec.Meta(description="What the code means in general.")]
    status: Annotated[int, msgspec.Meta(description="The HTTP status.")]
    code: Annotated[str, msgspec.Meta(description="Why, for machines.", extra_json_schema={"enum": sorted(PROBLEMS)})]
    detail: Annotated[str, msgspec.Meta(description="What happened here, and the remedy.")]


class ProblemError(Exception):
    """A request that cannot be answered.

    Parameters
    ----------
    code
        One of :data:`PROBLEMS`.
    detail
        What happened here, and the remedy.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status."""
        return PROBLEMS[self.code][0]

    def encode(self) -> bytes:
        """Return the body of the answer, JSON of :class:`Problem`."""
        status, title = PROBLEMS[self.code]
        return msgspec.json.encode(Problem("about:blank", title, status, self.code, self.detail))


def published(slate: bytes) -> bytes:
    """Return a slate of the topic as an answer: the same JSON object with ``source`` before its fields."""
    return b'{"source":"published",' + slate[1:]
