"""The worker on a real broker and ``evaluate`` are one implementation: the same events give the same slates."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from typing import TYPE_CHECKING

import numpy as np

from stream_app.evaluation.replay import ReplayModel
from stream_app.evaluation.source import read_catalog, read_events
from stream_app.settings import Settings
from stream_app.topics import create_topics
from tests.stream_app import harness, shop
from tests.stream_app.harness import Worker
from tests.stream_app.shop import REAL_WORKER

if TYPE_CHECKING:
    from pathlib import Path

N_USERS = 12
N_EVENTS = 400
N_FIRST = 240
"""Events before the commit; more than half, so that an evaluation with this lag publishes once."""
MINUTE_MS = 60_000
LISTED_MS = shop.START_MS - 1_000
"""When all items were listed: a moment ago, so that those without events are new."""


def market() -> list[dict[str, object]]:
    """Return purchases of users with favourites, in sessions of four, in the order of time."""
    rng = random.Random(5)  # noqa: S311 - shoppers, not secrets
    favourites = [rng.sample(range(shop.N_ITEMS), 12) for _ in range(N_USERS)]
    events: list[dict[str, object]] = []
    for k in range(N_EVENTS):
        visit, user = divmod(k // 4, N_USERS)
        item = rng.choice(favourites[user]) if rng.random() < 0.8 else rng.randrange(shop.N_ITEMS)
        events.append(
            {
                "event_id": f"e{k}",
                "type": "purchase",
                "user_id": f"user-{user}",
                "item_id": shop.item_name(item),
                "session_id": f"s{user}-{visit}",
                "event_time_ms": shop.START_MS + k * MINUTE_MS,
            }
        )
    return events


def describe(item: int) -> dict[str, object]:
    """Return a catalogue entry with everything that the model reads."""
    return {
        "item_id": shop.item_name(item),
        "category": shop.category_of(item),
        "brand": f"brand {item % 3}",
        "price": 1.0 + item % 7,
        "title": f"thing {item % 5}, large",
        "tags": [f"tag {item % 4}"],
        "embedding": [item % 3 - 1.0, item % 5 - 2.0, 0.5],
    }


def evaluated(events: list[dict[str, object]], folder: Path) -> dict[str, list[str]]:
    """Return what ``evaluate`` would show each user after all events, items being published after ``N_FIRST``.

    For each user the events are replayed with one more of the same session and minute: the lists made before it.
    """
    settings = Settings()
    (folder / "catalog.jsonl").write_text(
        "".join(json.dumps({**describe(k), "listed_ms": LISTED_MS}) + "\n" for k in range(shop.N_ITEMS))
    )
    catalog = read_catalog(folder / "catalog.jsonl", settings)
    newest = {str(event["user_id"]): event for event in events}
    found = {}
    for user, event in newest.items():
        file = folder / f"{user}.jsonl"
        lines = [*events, {**event, "event_id": "one more"}]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        log = read_events(file, settings, now_ms=2 * shop.START_MS, limit=None)
        [batch] = log.batches(len(lines))
        at = next(k for k, e in enumerate(batch) if e.event_id == "one more")
        batch = [*batch[:at], *batch[at + 1 :], batch[at]]
        scored = np.zeros(len(batch), np.bool_)
        scored[-1] = True
        model = ReplayModel(settings, catalog.records, replica_lag=N_FIRST)
        [answer] = model.score_and_learn(batch, 0, scored).scored
        found[user] = answer.lists["slate"]
    return found


def committed(settings: Settings) -> dict[str, list[str]]:
    """Return each user's newest slate that a plain consumer can read."""
    return {slate.user_id: [item.item_id for item in slate.items] for slate in shop.slates(settings)}


def test_the_worker_and_evaluate_give_the_same_slates(app_settings: Settings, tmp_path: Path) -> None:
    """After the same events on one partition, with one commit between them, every user's slate is the same.

    What the first events teach about items reaches the later ones' slates through both stages and the replica.
    """
    settings = harness.with_short_session(app_settings, policy="greedy", commit_interval_ms=2_000)
    asyncio.run(create_topics(settings, 1, 1))
    catalogue = [(shop.item_name(k).encode(), json.dumps(describe(k)).encode()) for k in range(shop.N_ITEMS)]
    harness.send(settings, catalogue, topic=settings.topic_catalog, timestamp_ms=LISTED_MS)
    events = market()
    records = [(str(e["user_id"]).encode(), json.dumps(e).encode()) for e in events]
    harness.send(settings, records[:N_FIRST])
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        shop.wait_learned(settings, N_FIRST, worker)
        shop.wait_replica(worker, N_FIRST)
        harness.send(settings, records[N_FIRST:])
        shop.wait_learned(settings, N_EVENTS, worker)
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log
    wanted = evaluated(events, tmp_path)
    touched = {str(event["user_id"]) for event in events[N_FIRST:]}
    shown = committed(settings)
    assert touched <= set(shown)
    assert all(len(items) == settings.slate_size for items in shown.values())
    assert {user: shown[user] for user in touched} == {user: wanted[user] for user in touched}
