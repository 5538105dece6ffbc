"""A small made-up shop for tests of the real worker: a catalogue, shoppers with sessions, and what to count after."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from stream_app.inspect import inspect_totals
from stream_app.records import Slate, decode_slate
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings

REAL_WORKER = (sys.executable, "-m", "stream_app.cli.main", "worker")
N_CATEGORIES = 12
N_ITEMS = 60
N_USERS = 40
START_MS = 1_600_000_000_000
MINUTE_MS = 60_000
COMPILE_S = 900.0
"""A first start on a machine compiles the kernels."""
_TYPES = ("view", "click", "cart", "purchase", "purchase", "purchase", "rating", "favorite", "impression")


def item_name(k: int) -> str:
    """Return the id of item ``k``."""
    return f"item-{k}"


def category_of(k: int) -> list[str]:
    """Return the category path of item ``k``."""
    return ["shop", f"aisle-{k % N_CATEGORIES}"]


def catalogue(items: range = range(N_ITEMS), **fields: Any) -> list[tuple[bytes, bytes]]:
    """Return catalogue records of these items."""
    return [
        (item_name(k).encode(), json.dumps({"item_id": item_name(k), "category": category_of(k), **fields}).encode())
        for k in items
    ]


class Shop:
    """Makes events with ids of their own; the same seed makes the same ones."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - shoppers, not secrets
        self._n = 0
        self.by_type: Counter[str] = Counter()
        self.users: set[str] = set()
        self.items: set[str] = set()

    @property
    def n_events(self) -> int:
        """Events made so far."""
        return self.by_type.total()

    def event(self, user: str, item: str, kind: str = "purchase", **fields: Any) -> tuple[bytes, bytes]:
        """Return one event's key and value, and count it."""
        self._n += 1
        self.by_type[kind] += 1
        self.users.add(user)
        self.items.add(item)
        event = {
            "event_id": f"e{self._n}",
            "type": kind,
            "user_id": user,
            "item_id": item,
            "event_time_ms": START_MS + self._n * MINUTE_MS,
            **({"value": float(self._rng.randint(1, 5))} if kind == "rating" else {}),
            **fields,
        }
        return user.encode(), json.dumps(event).encode()

    def events(self, n: int) -> list[tuple[bytes, bytes]]:
        """Return ``n`` events of shoppers who like three aisles each, in sessions of about six."""
        out: list[tuple[bytes, bytes]] = []
        while len(out) < n:
            u = self._rng.randrange(N_USERS)
            session = f"s{self._n}"
            for _ in range(min(self._rng.randint(3, 9), n - len(out))):
                aisle = (u + self._rng.randrange(3)) % N_CATEGORIES
                k = aisle + N_CATEGORIES * self._rng.randrange(N_ITEMS // N_CATEGORIES)
                out.append(self.event(f"user-{u}", item_name(k), self._rng.choice(_TYPES), session_id=session))
        return out


def totals(settings: Settings) -> dict[str, Any]:
    """Return what the committed state of both stages says."""
    return asyncio.run(inspect_totals(settings))


def wait_learned(settings: Settings, n: int, worker: harness.Worker) -> dict[str, Any]:
    """Wait until both stages have learned ``n`` events; fail at once if the worker ends before."""
    found: dict[str, Any] = {}

    def done() -> bool:
        found.update(totals(settings))
        learned = found["n_events"] >= n and found["item_events"] >= n
        assert learned or worker.process.poll() is None, worker.log
        return learned

    harness.wait_for(done, f"{n} events to be learned by both stages", COMPILE_S)
    return found


def wait_ready(worker: harness.Worker) -> None:
    """Wait until the real worker is ready, which on a first start takes as long as compiling does."""

    def done() -> bool:
        assert worker.process.poll() is None, worker.log
        return worker.get("/health/ready")[0] == 200

    harness.wait_for(done, "the worker to be ready", COMPILE_S)


def wait_replica(worker: harness.Worker, n_events: int) -> dict[str, Any]:
    """Return what the worker's replica has of every item, once it holds all events; it may follow what is committed."""
    found: dict[str, Any] = {}

    def done() -> bool:
        found.update({name: worker.get(f"/items/{name}")[1] for name in map(item_name, range(N_ITEMS))})
        return sum(item.get("n_events", 0) for item in found.values()) == n_events

    harness.wait_for(done, f"the replica to hold {n_events} events")
    return found


def slates(settings: Settings) -> list[Slate]:
    """Return all committed slates."""
    return [decode_slate(r.value) for r in harness.read_committed(settings, settings.topic_recommendations)]


def check_learned_once(settings: Settings, shop: Shop) -> None:
    """Assert that both stages have learned every event once, and that no slate was published twice."""
    harness.wait_decided(settings, settings.topic_user_state, settings.topic_item_state, settings.topic_recommendations)
    found = totals(settings)
    assert found["n_events"] == found["item_events"] == shop.n_events
    assert found["by_type"] == dict(sorted(shop.by_type.items()))
    assert found["n_users"] == len(shop.users)
    assert found["n_items"] == len(shop.items)
    ids = [slate.slate_id for slate in slates(settings)]
    assert len(ids) == len(set(ids))
    assert len(ids) == found["n_slates"]
