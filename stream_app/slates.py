"""From a filled slate of rows to the record that consumers read: strings for ids, words for reasons."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from operators.slate import REASON_CATEGORY, REASON_POPULAR, REASON_REPEAT, REASON_TASTE, REASON_TOGETHER
from state.arrays import Rows, UInt64s
from stream_app.record_size import TOPIC_BYTES
from stream_app.records import AsOf, Event, Slate, SlateItem, encode_slate, path_label

if TYPE_CHECKING:
    from stream_app.replica import Replica

REASONS = {
    REASON_REPEAT: "repeat",
    REASON_TOGETHER: "together",
    REASON_TASTE: "taste",
    REASON_CATEGORY: "category",
    REASON_POPULAR: "popular",
}
"""Machine-readable reasons; "together" is followed by a colon and the item it goes with."""

SLATE_BYTES: Final = TOPIC_BYTES - 8_192
"""Most bytes of a slate: with its key (an id), and what is around it in a batch, no more than the topic takes."""
MOST_LABEL_CHARACTERS: Final = 8_192
"""Of an item's category in a slate that is too large with whole ones, which default limits of ids do not allow."""

_DIGITS = 6
"""Of a score, after the point."""


class SlatePolicy(NamedTuple):
    """Which arm filled a slate, under which version of the policy, with what probability, in which group."""

    arm: str
    version: int
    propensity: float
    group: str


class FilledSlate(NamedTuple):
    """One record of :data:`operators.rank.SLATE` as plain Python values: reading them singly is slow."""

    ids: list[int]
    scores: list[float]
    propensities: list[float]
    reasons: list[int]
    sources: list[int]
    categories: list[int]


def unpack(slates: Rows, ids: UInt64s) -> Iterator[FilledSlate]:
    """Yield the slates of a batch.

    Parameters
    ----------
    slates
        Shape ``(n,)``, dtype :data:`operators.rank.SLATE`.
    ids
        Id of every entity row.
    """
    scores = slates["scores"].astype(np.float64).round(_DIGITS)
    columns = (
        ids[slates["rows"]], scores, slates["propensities"], slates["reasons"], ids[slates["sources"]],
        slates["categories"],
    )  # fmt: skip
    lists = zip(*(column.tolist() for column in columns), strict=True)
    for n, n_categories, row in zip(slates["n"].tolist(), slates["n_categories"].tolist(), lists, strict=True):
        item_ids, scores, propensities, reasons, sources, categories = row
        yield FilledSlate(
            item_ids[:n], scores[:n], propensities[:n], reasons[:n], sources[:n], categories[:n_categories]
        )


def build_slate(
    slate: FilledSlate, event: Event, partition: int, offset: int, now_ms: int, replica: "Replica", policy: SlatePolicy
) -> bytes | None:
    """Return the bytes of a slate, or None when nothing may be recommended.

    Parameters
    ----------
    slate
        One of :func:`unpack`.
    event, offset
        The user's newest event in the interval and where it came from.
    policy
        Which arm filled it, and how it came to do so.
    """
    items = slate_items(slate, replica)
    if not items:
        return None
    return fitting(
        Slate(
            slate_id=f"{partition}-{offset}",
            user_id=event.user_id,
            as_of=AsOf(partition=partition, offset=offset),
            event_time_ms=event.event_time_ms,
            emitted_at_ms=now_ms,
            policy=policy.arm,
            policy_version=policy.version,
            policy_propensity=policy.propensity,
            group=policy.group,
            context_categories=context_names(slate, replica),
            items=items,
        )
    )


def fitting(slate: Slate) -> bytes:
    """Return the bytes of a slate, of :data:`SLATE_BYTES` at most.

    One that is larger names as many of its context categories as there is room for, the first ones. Where there is room
    for none, the items' categories are cut off after :data:`MOST_LABEL_CHARACTERS`.
    """
    value = encode_slate(slate)
    if len(value) <= SLATE_BYTES:
        return value
    names = slate.context_categories
    slate = msgspec.structs.replace(slate, context_categories=[])
    room = SLATE_BYTES - len(encode_slate(slate))
    if room < 0:
        items = [msgspec.structs.replace(i, category=i.category[:MOST_LABEL_CHARACTERS]) for i in slate.items]
        return encode_slate(msgspec.structs.replace(slate, items=items))
    n_bytes = np.cumsum([len(msgspec.json.encode(name)) + 1 for name in names])
    n = int(np.searchsorted(n_bytes, room, side="right"))
    return encode_slate(msgspec.structs.replace(slate, context_categories=names[:n]))


def slate_items(slate: FilledSlate, replica: "Replica") -> list[SlateItem]:
    """Return the slots of a filled slate, without items that have left the catalogue."""
    items = []
    slots = zip(slate.ids, slate.scores, slate.propensities, slate.reasons, slate.sources, strict=True)
    for item, score, propensity, reason, source in slots:
        listed = replica.listed.get(item)
        if listed is not None:
            items.append(SlateItem(listed.item_id, listed.label, score, propensity, _reason(reason, source, replica)))
    return items


def context_names(slate: FilledSlate, replica: "Replica") -> list[str]:
    """Return the names of the categories that the user is in."""
    return [path_label(replica.category_paths[c]) for c in slate.categories]


def _reason(reason: int, source: int, replica: "Replica") -> str:
    if reason == REASON_TOGETHER:
        name = replica.item_name(source)
        return f"together:{name}" if name is not None else REASONS[REASON_CATEGORY]
    return REASONS[reason]
