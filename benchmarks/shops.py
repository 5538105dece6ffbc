"""Public data sets, as they are and changed so that they look like other kinds of shops, for quality (``Q1``).

A shop is a function from events and catalogue, as JSON objects in the order of time, to other events and catalogue.
Whatever is drawn at random is drawn with one seed: the same shop is the same bytes everywhere.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Records = list[dict[str, Any]]
_SEED = 0
_DAY_MS, _LIKED, _PIECE, _TOP_DEPARTMENTS = 86_400_000, 4.0, 10, 9
_VIEWS_OF, _OTHER_VIEWS, _BEFORE_MS = 0.4, 0.75, 2 * _DAY_MS


class Shop(NamedTuple):
    """A data set, and how it is changed.

    Attributes
    ----------
    source
        ``movielens``, ``instacart`` or ``complete-journey``.
    change
        From events and catalogue to others.
    limit
        The first so many events of the source; None takes all.
    score_every
        After the warm-up one event in so many is scored.
    """

    source: str
    change: Callable[[Records, Records], tuple[Records, Records]]
    limit: int | None = None
    score_every: int = 4


def as_it_is(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Change nothing."""
    return events, catalog


def only_liked(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Keep ratings of four stars and more, as favourites."""
    liked = [event for event in events if event["value"] >= _LIKED]
    return [{**_without(event, "value"), "type": "favorite"} for event in liked], catalog


def only_days(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Forget the time of day: events of a day come in any order, all at its start."""
    rng = random.Random(_SEED)  # noqa: S311 - no secret
    days = [(event["event_time_ms"] // _DAY_MS, rng.random(), event) for event in events]
    days.sort(key=lambda one: one[:2])
    return [{**event, "event_time_ms": day * _DAY_MS} for day, _, event in days], catalog


def sets_of_tags(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Make each set of tags a category."""
    return events, [{**entry, "category": ["+".join(sorted(entry["tags"]))]} for entry in catalog]


def short_users(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Cut each user into users of ten events."""
    n: Counter[str] = Counter()
    out = []
    for event in events:
        user = event["user_id"]
        out.append({**event, "user_id": f"{user}-{n[user] // _PIECE}"})
        n[user] += 1
    return out, catalog


def no_sessions(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Leave out the sessions."""
    return [_without(event, "session_id") for event in events], catalog


def visitors(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Make each session a user of its own, without sessions."""
    return [{**_without(event, "session_id"), "user_id": event["session_id"]} for event in events], catalog


def half_a_catalog(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Leave half of the items out of the catalogue."""
    return events, random.Random(_SEED).sample(catalog, len(catalog) // 2)  # noqa: S311 - no secret


def departments(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Give ten categories, the nine departments with most events and one for all others; no brands, no sessions."""
    of_item = {entry["item_id"]: entry["category"][0] for entry in catalog}
    bought = Counter(of_item[event["item_id"]] for event in events if event["item_id"] in of_item)
    top = {name for name, _ in bought.most_common(_TOP_DEPARTMENTS)}
    names = [name if (name := entry["category"][0]) in top else "OTHER" for entry in catalog]
    changed = [{**_without(entry, "brand"), "category": [name]} for name, entry in zip(names, catalog, strict=True)]
    return no_sessions(events, changed)


def short_users_without_sessions(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Cut each user into users of ten events, without sessions."""
    return no_sessions(*short_users(events, catalog))


def one_user_in_ten(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Keep a tenth of the users."""
    users = sorted({event["user_id"] for event in events})
    kept = set(random.Random(_SEED).sample(users, len(users) // 10))  # noqa: S311 - no secret
    return [event for event in events if event["user_id"] in kept], catalog


def many_views(events: Records, catalog: Records) -> tuple[Records, Records]:
    """Add views and carts to purchases.

    Four in ten purchases were viewed two days before, every other one was put into the cart a moment before, and for
    four purchases there are three views and clicks of other items, drawn by popularity, that lead nowhere.
    """
    rng = random.Random(_SEED)  # noqa: S311 - no secret
    popular = [event["item_id"] for event in events]
    first_ms = events[0]["event_time_ms"]
    out: Records = []
    for event in events:
        key, time_ms = event["event_id"], event["event_time_ms"]
        out.append(event)
        if rng.random() < 1 / 2:
            out.append({**event, "event_id": f"{key}-cart", "type": "cart", "event_time_ms": time_ms - 1})
        if rng.random() < _VIEWS_OF:
            out.append(_look(event, f"{key}-view", "view", max(first_ms, time_ms - _BEFORE_MS)))
        if rng.random() < _OTHER_VIEWS:
            kind = rng.choice(["view", "view", "click"])
            other = {**event, "item_id": rng.choice(popular)}
            out.append(_look(other, f"{key}-other", kind, max(first_ms, time_ms - rng.randrange(_BEFORE_MS))))
    out.sort(key=lambda event: event["event_time_ms"])
    return out, catalog


def _look(event: dict[str, Any], event_id: str, kind: str, time_ms: int) -> dict[str, Any]:
    """Return a view or click of the event's item, in a session of that day."""
    session = f"{event['user_id']}-look-{time_ms // _DAY_MS}"
    return {**event, "event_id": event_id, "type": kind, "event_time_ms": time_ms, "session_id": session}


def _without(record: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != field}


SHOPS = {
    "MovieLens": Shop("movielens", as_it_is),
    "only ratings of 4 and more, as favorites": Shop("movielens", only_liked),
    "times to the day, in any order within it": Shop("movielens", only_days),
    "sets of genres as categories": Shop("movielens", sets_of_tags),
    "MovieLens, users cut into pieces of ten events": Shop("movielens", short_users),
    "Instacart": Shop("instacart", as_it_is),
    "no sessions": Shop("instacart", no_sessions),
    "half of the items missing in the catalogue": Shop("instacart", half_a_catalog),
    "Instacart, users cut into pieces of ten events": Shop("instacart", short_users),
    "each session a user of its own": Shop("instacart", visitors),
    "80,000 purchases, with carts, and views of which most lead nowhere": Shop("instacart", many_views, 80_000),
    "Complete Journey, first 200,000 events, no sessions": Shop("complete-journey", no_sessions, 200_000, 8),
    "the same, ten categories (departments), no brands": Shop("complete-journey", departments, 200_000, 8),
    "the same, users cut into pieces of ten events": Shop("complete-journey", short_users_without_sessions, 200_000, 8),
    "the whole year of one user in ten": Shop("complete-journey", one_user_in_ten, None, 8),
}
"""By the name that the table of ``docs/quality.md`` shows."""
