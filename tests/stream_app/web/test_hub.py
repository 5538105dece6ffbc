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
from stream_app.web.answer import ProblemError
from stream_app.web.hub import _MAX_QUEUE, MAX_WATCHERS, Hub, sse
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
        self.problem = ""

    def addresses(self) -> list[str]:
        """Return the addresses of the workers."""
        return [member.address for member in self.latest.members]


class FakeLookup:
    """Gives what listens at an address answers."""

    address = "here:1"

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.forgotten: set[str] = set()

    async def knows(self, user_id: str, partition: int, timeout_s: float) -> bool:
        """Return whether a user is not among the forgotten ones."""
        del partition, timeout_s
        return user_id not in self.forgotten

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
            await harness.until(lambda: feed.done() or (bool(hub._slates) and bool(hub._rejects)), "slates and rejects")
            assert not feed.done()
            assert {row["code"] for row in hub._rejects} == {"foreign"}
            return list(hub._slates)
        finally:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
            await watching.aclose()

    assert asyncio.run(follow()) == [msgspec.to_builtins(SLATE)]


def test_slates_of_forgotten_users_are_not_shown_again(app_settings: Settings) -> None:
    """Neither to a page that finds them in the topic, nor to one that is opened after another one had them shown."""
    harness.make_topics(app_settings)
    ben = msgspec.structs.replace(SLATE, slate_id="0-8", user_id="ben")
    cai = msgspec.structs.replace(SLATE, slate_id="0-9", user_id="cai")
    slates = [(slate.user_id.encode(), encode_slate(slate)) for slate in (SLATE, ben, cai)]
    harness.send(app_settings, slates, topic=app_settings.topic_recommendations, partition=0)

    async def users_shown(hub: Hub) -> list[str]:
        watching = hub.watch()
        feed = asyncio.create_task(hub._feed())
        try:
            async for message in watching:
                name, _, value = message.partition(b"\ndata: ")
                if name == b"event: slates":
                    return [slate["user_id"] for slate in msgspec.json.decode(value)]
            return []
        finally:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
            await watching.aclose()

    async def run() -> list[list[str]]:
        hub = hub_of(app_settings)
        lookup: Any = hub._lookup
        found = []
        for forgotten in ("ann", "ben"):
            lookup.forgotten.add(forgotten)
            async with asyncio.timeout(harness.TIMEOUT_S):
                found.append(await users_shown(hub))
        return found

    assert asyncio.run(run()) == [["ben", "cai"], ["cai"]]


async def told(hub: Hub, event: bytes, n: int) -> list[Any]:
    """Return what a page is told under one name, ``n`` times, by a hub whose broker says nothing new."""
    telling, watching = asyncio.create_task(hub._tell(hub)), hub.watch()
    found: list[Any] = []
    try:
        async with asyncio.timeout(harness.TIMEOUT_S):
            while len(found) < n:
                name, _, value = (await anext(watching)).partition(b"\ndata: ")
                if name == b"event: " + event:
                    found.append(msgspec.json.decode(value))
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await watching.aclose()
    return found


async def test_pages_are_told_of_a_broker_that_has_gone_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state comes again and again, and says since when Kafka does not answer; the charts get no new point."""
    monkeypatch.setattr("stream_app.web.hub._TELL_AGAIN_S", 0.01)
    hub = hub_of(Settings())
    observer: Any = hub._observer
    gone_ms = time.time_ns() // 1_000_000 - 60_000
    observer.latest = observer.latest._replace(at_ms=gone_ms)
    for state in await told(hub, b"state", 3):
        assert (state["at_ms"], state["kafka_answers"]) == (gone_ms, False)
        assert state["now_ms"] - gone_ms >= 60_000
        assert state["health"]["level"] == "bad"
        assert state["health"]["words"][0].startswith("Kafka does not answer (since 20")
    assert not hub._points


async def test_pages_are_told_of_a_broker_that_has_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no state to tell, but how things are."""
    monkeypatch.setattr("stream_app.web.hub._TELL_AGAIN_S", 0.01)
    hub = hub_of(Settings())
    observer: Any = hub._observer
    observer.latest = None
    for health in await told(hub, b"health", 2):
        assert health["words"][0].startswith("Kafka does not answer (since this worker started)")


async def read_all(messages: AsyncIterator[bytes]) -> list[bytes]:
    """Return what a page gets until its stream ends."""
    async with asyncio.timeout(harness.TIMEOUT_S):
        return [message async for message in messages]


async def test_a_page_that_reads_too_slowly_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ends, so that it connects again, instead of standing still with keep-alives; others go on."""
    monkeypatch.setattr("stream_app.web.hub._KEEP_ALIVE_S", 0.01)
    hub = hub_of(Settings())
    slow, quick = hub.watch(), hub.watch()
    for page in (slow, quick):
        assert [(await anext(page))[:7] for _ in range(2)] == [b"event: "] * 2
    behind, waiting = asyncio.ensure_future(anext(slow)), asyncio.ensure_future(anext(quick))
    for number in range(1_000):
        hub._send("state", number)
        if not number:
            await behind
        assert (await waiting) == sse("state", number)
        waiting = asyncio.ensure_future(anext(quick))
    assert await read_all(slow) == []
    hub.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_end_reaches_a_page_however_far_it_is_behind() -> None:
    """What waits for a page does not keep the worker's end from it."""
    hub = hub_of(Settings())
    for n_waiting in (0, 1, _MAX_QUEUE - 1, _MAX_QUEUE, _MAX_QUEUE + 1, 3 * _MAX_QUEUE):
        page = hub.watch()
        await anext(page)
        for number in range(n_waiting):
            hub._send("state", number)
        hub.close()
        assert await read_all(page) == [sse("rejects", [])]
    assert not hub._watchers


async def test_a_page_counts_until_its_stream_has_ended() -> None:
    """Also when it reads too slowly: its connection is still there."""
    hub = hub_of(Settings())
    pages = [hub.watch() for _ in range(MAX_WATCHERS)]
    for page in pages:
        await anext(page)
    for number in range(_MAX_QUEUE + 1):
        hub._send("state", number)
    with pytest.raises(ProblemError, match="pages are open") as refused:
        await anext(hub.watch())
    assert "too many pages" in msgspec.json.decode(refused.value.encode())["title"]
    await pages[0].aclose()
    again = hub.watch()
    assert (await anext(again)).startswith(b"event: history")
    for page in (*pages, again):
        await page.aclose()
