"""Counts hit rates from `slates.jsonl`, without Crossaisle: count_hits.py EVENTS CATALOG SLATES, all plain JSON Lines.

The events must be in the order of their times. `forget` and `impression` events are not in such a file.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DAY_MS = 86_400_000


def lines(path: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a file."""
    with Path(path).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def main(events: str, catalog: str, slates: str) -> None:
    """Print the hit rate at ten of each list, and of how many events."""
    category = {entry["item_id"]: tuple(entry["category"]) for entry in lines(catalog)}
    lists = {answer["event_id"]: answer for answer in lines(slates)}
    had, past = {}, {}  # of each user: items; sessions, times and items
    hits = {"x": [], "o": [], "e": [], "slate": []}
    for event in lines(events):
        user, item, session, now = event["user_id"], event["item_id"], event.get("session_id"), event["event_time_ms"]
        of_user, before = had.setdefault(user, set()), past.setdefault(user, [])
        answer = lists.get(event["event_id"])
        if answer:
            if session:
                context = [i for s, _, i in before if s == session]
            else:
                context = [i for _, t, i in before[-10:] if now - t <= DAY_MS]
            known = category.get(item)
            crosses = known is not None and known not in {category.get(i) for i in context}
            measured = {"o": True, "x": crosses, "slate": crosses, "e": crosses and item not in of_user}
            for name, counts in measured.items():
                if counts:
                    hits[name].append(item in answer[name])
        of_user.add(item)
        before.append((session, now, item))
    for name, found in hits.items():
        rate = f"{sum(found) / len(found):.4f}" if found else "-"
        print(f"{name}: {rate} of {len(found):,}")


main(*sys.argv[1:])
