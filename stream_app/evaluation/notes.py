"""What a reader of an evaluation must know before its numbers: files that do not fit together, lists out of place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stream_app.evaluation.protocol import LISTS
from stream_app.records.diagnose import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.evaluation.run import Outcome

Json = dict[str, Any]

NO_CROSSING: Final = "X, E and slates have nothing to measure; the catalogue must have several categories"
_LOOKED_AT: Final = 1_000
"""Ids of the events that are looked at for one like an id of the catalogue."""
_MISPLACED: Final = (
    "sessions of a user that overlap, or events without a session among events with one: the product keeps one session "
    "per user. They count as they are. To have none, let a session end before the user's next one begins, and give all "
    "events a session, or none"
)


def notes(result: Json) -> list[tuple[str, str]]:
    """Return what is to be told, each as a name and a sentence, from what ``metrics.json`` holds."""
    out = []
    if result["input"]["unlisted_example"] is not None:
        out.append(("catalogue", _unlisted(result["input"])))
    if not result["scored"]["n_crossing"] and result["input"]["n_items_listed"]:
        out.append(("categories", NO_CROSSING))
    n_lists = result["scored"]["n"] * len(LISTS)
    for name, model in result["models"].items():
        n = model["misplaced"]
        if n:
            what = f"{n:,} of {n_lists:,} lists of {name} ({n / n_lists:.2%}) hold an item of the context"
            out.append(("misplaced", f"{what}, or of its categories where they must not: {_MISPLACED}"))
    return out


def listed(about: Json) -> str:
    """Return how many of the events' items, and of the events, the catalogue lists."""
    items = f"{about['n_items_listed']:,} of the {about['n_items_with_events']:,} items of the events"
    return f"{items}, {about['n_events_listed']:,} of {about['n_events_of_items']:,} events"


def _unlisted(about: Json) -> str:
    ids = about["unlisted_example"]
    example = f"{shown(ids['events'])} in the events, {shown(ids['catalog'])} in the catalogue"
    if not about["n_items_listed"]:
        return (
            f"it lists none of the {about['n_items_with_events']:,} items of the events, so that no list can hold what "
            f"was taken. The ids differ: {example}. Write item ids alike in both files, or give the catalogue of these "
            "events"
        )
    return (
        f"it lists only {listed(about)}. No list can hold the others: O counts them as misses; X, E and slates do not "
        f"count them. An id that is not listed, and one that is: {example}. Add what is missing, or write item ids "
        "alike in both files"
    )


def about_listing(outcome: Outcome) -> Json:
    """Return how much of the events the catalogue lists, for ``metrics.json``.

    Where it is less than half, of the items or of the events, an id of either file goes with it: if possible such that
    are meant to be the same.
    """
    item_ids, n_catalog = outcome.numbering.item_ids, outcome.numbering.n_catalog
    of_listed = [n for item, n in outcome.item_events.items() if item < n_catalog]
    n_items, n_events = len(outcome.item_events), sum(outcome.item_events.values())
    few = 2 * len(of_listed) < n_items or 2 * sum(of_listed) < n_events
    unlisted = [item_ids[item] for item in outcome.item_events if item >= n_catalog]
    return {
        "n_items_listed": len(of_listed),
        "n_events_of_items": n_events,
        "n_events_listed": sum(of_listed),
        "unlisted_example": _example(unlisted, item_ids[:n_catalog]) if few else None,
    }


def _example(unlisted: list[str], catalog_ids: Iterable[str]) -> Json:
    alike: dict[str, str] = {}
    for item_id in catalog_ids:
        alike.setdefault(_bare(item_id), item_id)
    found = next((item_id for item_id in unlisted[:_LOOKED_AT] if _bare(item_id) in alike), unlisted[0])
    return {"events": found, "catalog": alike.get(_bare(found), next(iter(alike.values())))}


def _bare(item_id: str) -> str:
    """Return what is left of an id without what programs change.

    Examples
    --------
    >>> _bare(" 0A7.0"), _bare("a7")
    ('a7', 'a7')
    """
    return item_id.strip().lower().removesuffix(".0").lstrip("0")
