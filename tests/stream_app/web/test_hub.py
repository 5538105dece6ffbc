"""What the page is put together from: strangers' answers and records are passed over, and the page goes on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.members import Member
from stream_app.observer import Observation
from stream_app.records.slate import AsOf, Slate, SlateItem, encode_slate
from stream_app.settings import Settings
from stream_app.web.hub import Hub
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Callable

SLATE = Slate(
    slate_id="0-7",
    user_id="ann",
    as_of=AsOf(0, 7),
    event_time_ms=1,
    emitted_at_ms=2,
    policy="greedy",
    policy_version=0,
    context_categories=[],
    items=[SlateItem("item-1", "a", 0.5, 1.0, "popular")],
)
FOREIGN = [b"no JSON", b"\xff", b"{}", b"[1]", b'{"items": []}', b'{"slate_id": "1", "items": [{}]}', b"[" * 50_000]


class FakeObserver:
    """Says what the broker says of three workers without partitions."""

    def __init__(self) -> None:
        members = tuple(Member("user", address, frozenset()) for address in ("here:1", "proxy:1", "silent:1"))
        self.latest = Observation(time.time_ns() // 1_000_000, (), members)
        self.history = [self.latest]
        self.changed = asyncio.Condition()

    def addresses(self) -> list[str]:
        """Return the addresses of the workers."""
        return [member.address for member in self.latest.members]


class FakeLookup:
    """Gives what listens at an address answers."""

    address = "here:1"

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def peer(self, address: str, path: str, timeout_s: float) -> bytes | None:
        """Return the answer of a proxy; the silent worker gives none."""
        del path, timeout_s
        return self._answer if address == "proxy:1" else None


class FakeCollector:
    """Has learned three events."""

    def quality(self) -> dict[str, Any]:
        """Return no figures."""
        return {}

    def learned(self) -> dict[str, Any]:
        """Return sums."""
        return {"n_events": 3, "by_type": {"view": 3}, "rejects": {}}

    def arms(self) -> list[Any]:
        """Return no arms."""
        return []


def hub_of(settings: Settings, answer: bytes = b"") -> Hub:
    """Return a hub whose peer answers so."""
    status = {"ready": True, "phase": "running", "stages": {}, "tails": {}}
    parts: Any = (FakeObserver(), FakeCollector(), lambda: status, FakeLookup(answer), lambda slate: slate)
    return Hub(settings, *parts)


def report(**changes: Any) -> bytes:
    """Return what a worker answers."""
    mine = {"ready": False, "phase": "catching up", "stages": {}, "tails": {}}
    return msgspec.json.encode({**mine, "learned": FakeCollector().learned(), **changes})


def test_a_peer_that_is_no_worker_does_not_answer() -> None:
    """A proxy's page and JSON of another shape count as no answer; a report of a worker is shown and added up."""
    for answer in (b"<html>503</html>", b"[]", b"{}", b"\xff", report(learned={"n_events": {}}), report(stages=1)):
        state = asyncio.run(hub_of(Settings(), answer).overview())
        assert [worker["answers"] for worker in state["workers"]] == [True, False, False]
        assert state["learned"]["n_events"] == 3
    state = asyncio.run(hub_of(Settings(), report()).overview())
    assert [worker["answers"] for worker in state["workers"]] == [True, True, False]
    assert state["learned"] == {"n_events": 6, "by_type": {"view": 6}, "rejects": {}}


def test_records_of_strangers_are_passed_over(app_settings: Settings) -> None:
    """What is no slate among the slates, or no reject among the rejects, does not keep the page from the rest."""
    harness.make_topics(app_settings)
    foreign = [(b"k", value) for value in FOREIGN]
    harness.send(app_settings, [*foreign, (b"ann", encode_slate(SLATE))], topic=app_settings.topic_recommendations)
    harness.send(app_settings, foreign, topic=app_settings.topic_rejects)

    async def follow() -> list[dict[str, Any]]:
        hub = hub_of(app_settings)
        watching = hub.watch()
        await anext(watching)
        feed = asyncio.create_task(hub._feed())
        try:
            await wait_for(lambda: feed.done() or (bool(hub._slates) and bool(hub._rejects)))
            assert not feed.done()
            assert {row["code"] for row in hub._rejects} == {"foreign"}
            return list(hub._slates)
        finally:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
            await watching.aclose()

    assert asyncio.run(follow()) == [msgspec.to_builtins(SLATE)]


async def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most half a minute."""
    for _ in range(1_500):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("the feed takes too long")
