"""From a filled slate of rows to the record that consumers read: strings for ids, words for reasons."""

from typing import TYPE_CHECKING

from operators.slate import REASON_CATEGORY, REASON_POPULAR, REASON_REPEAT, REASON_TASTE, REASON_TOGETHER
from stream_app.records import AsOf, Event, Slate, SlateItem, encode_slate

if TYPE_CHECKING:
    from state.arrays import Row
    from stream_app.replica import Replica

REASONS = {
    REASON_REPEAT: "repeat",
    REASON_TOGETHER: "together",
    REASON_TASTE: "taste",
    REASON_CATEGORY: "category",
    REASON_POPULAR: "popular",
}
"""Machine-readable reasons; "together" is followed by a colon and the item it goes with."""


def build_slate(
    slate: "Row", event: Event, partition: int, offset: int, now_ms: int, replica: "Replica", policy: str
) -> bytes | None:
    """Return the bytes of a slate, or None when nothing may be recommended.

    Parameters
    ----------
    slate
        One record of dtype :data:`operators.rank.SLATE`.
    event, offset
        The user's newest event in the interval and where it came from.
    policy
        Name of the arm that filled it.
    """
    items = slate_items(slate, replica)
    if not items:
        return None
    return encode_slate(
        Slate(
            slate_id=f"{partition}-{offset}",
            user_id=event.user_id,
            as_of=AsOf(partition=partition, offset=offset),
            event_time_ms=event.event_time_ms,
            emitted_at_ms=now_ms,
            policy=policy,
            policy_version=0,
            context_categories=context_names(slate, replica),
            items=items,
        )
    )


def slate_items(slate: "Row", replica: "Replica") -> list[SlateItem]:
    """Return the slots of a filled slate, without items that have left the catalogue."""
    ids = replica.table.headers.records["id"]
    items = []
    for k in range(int(slate["n"])):
        info = replica.info.get(int(ids[slate["rows"][k]]))
        if info is None:
            continue
        items.append(
            SlateItem(
                item_id=info.item_id,
                category=" / ".join(info.category),
                score=round(float(slate["scores"][k]), 6),
                propensity=float(slate["propensities"][k]),
                reason=_reason(slate, k, replica),
            )
        )
    return items


def context_names(slate: "Row", replica: "Replica") -> list[str]:
    """Return the names of the categories that the user is in."""
    paths = replica.category_paths
    return [" / ".join(paths[c]) for c in slate["categories"][: slate["n_categories"]].tolist()]


def _reason(slate: "Row", k: int, replica: "Replica") -> str:
    reason = int(slate["reasons"][k])
    if reason == REASON_TOGETHER:
        source = replica.item_name(int(replica.table.headers.records["id"][slate["sources"][k]]))
        return f"together:{source}" if source is not None else REASONS[REASON_CATEGORY]
    return REASONS[reason]
