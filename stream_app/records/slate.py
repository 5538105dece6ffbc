"""A slate: what Crossaisle publishes for a user."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

_CONTEXT = "Categories the user is in, all excluded; at most 32, or as many as fit into a record of 1 MB."


def path_label(path: Sequence[str]) -> str:
    """Return a category path as one text.

    Examples
    --------
    >>> path_label(["Food", "Bread"])
    'Food / Bread'
    """
    return " / ".join(path)


class AsOf(msgspec.Struct, frozen=True):
    """The newest event that the slate knows of.

    Attributes
    ----------
    partition, offset
        Where that event stands in the events topic.
    """

    partition: Annotated[int, msgspec.Meta(description="Partition of the events topic.")]
    offset: Annotated[int, msgspec.Meta(description="Offset of the user's newest event that was learned.")]


class SlateItem(msgspec.Struct, frozen=True):
    """One slot of a slate.

    Attributes
    ----------
    item_id, category
        What is recommended; the category is the path as :func:`path_label` has it.
    score
        Probability that the user takes this item next, in [0, 1]: of the blend, with the corrections of the perceptron,
        of discoveries and of reactions to slates.
    propensity
        Probability with which the policy put this item into this slot, given the slots before it, in (0, 1].
    reason
        ``repeat``, ``together:ITEM``, ``taste``, ``category`` or ``popular``.
    """

    item_id: Annotated[str, msgspec.Meta(description="What is recommended.")]
    category: Annotated[str, msgspec.Meta(description="Its category path, joined by ' / '.")]
    score: Annotated[float, msgspec.Meta(description="Probability that the user takes it next.")]
    propensity: Annotated[float, msgspec.Meta(description="Probability that the policy put it here.")]
    reason: Annotated[str, msgspec.Meta(description="repeat, together:ITEM, taste, category or popular.")]


class Slate(msgspec.Struct, frozen=True):
    """An ordered list of recommendations. Record key: ``user_id`` as UTF-8.

    Attributes
    ----------
    slate_id
        Unique and deterministic: made of partition and offset of ``as_of``.
    user_id
        For whom.
    as_of
        The newest event it knows of.
    event_time_ms
        That event's time, in milliseconds since 1970 UTC.
    emitted_at_ms
        When it was made, in milliseconds since 1970 UTC.
    policy, policy_version
        Which policy (arm) filled it, under which version of what was learned about the arms.
    context_categories
        Categories of the user's present session: none of the items is of these. At most 32, or fewer where their names
        are so long that a record of 1 MB has no room for them.
    items
        The slots, top first. An arm that draws nothing puts the best first, but favours items new to the user.
    policy_propensity
        Probability with which that arm was chosen for this slate, in (0, 1].
    group
        ``learned``, or ``holdout`` for the share of users on a fixed arm.
    """

    slate_id: Annotated[str, msgspec.Meta(description="Unique; made of partition and offset.")]
    user_id: Annotated[str, msgspec.Meta(description="For whom; also the record's key.")]
    as_of: Annotated[AsOf, msgspec.Meta(description="The newest event it knows of.")]
    event_time_ms: Annotated[int, msgspec.Meta(description="That event's time, ms since 1970 UTC.")]
    emitted_at_ms: Annotated[int, msgspec.Meta(description="When it was made, ms since 1970 UTC.")]
    policy: Annotated[str, msgspec.Meta(description="Name of the policy.")]
    policy_version: Annotated[int, msgspec.Meta(description="Version of the policy.")]
    context_categories: Annotated[list[str], msgspec.Meta(description=_CONTEXT)]
    items: Annotated[list[SlateItem], msgspec.Meta(description="The slots, top first.")]
    policy_propensity: Annotated[float, msgspec.Meta(description="Probability that this policy was chosen.")] = 1.0
    group: Annotated[str, msgspec.Meta(description="learned, or holdout for users on a fixed policy.")] = "learned"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Slate)


def encode_slate(slate: Slate) -> bytes:
    """Return a slate as JSON."""
    return _encoder.encode(slate)


def decode_slate(raw: bytes) -> Slate:
    """Return the slate in ``raw``.

    Raises
    ------
    msgspec.DecodeError
        The bytes are no slate.
    """
    return _decoder.decode(raw)
