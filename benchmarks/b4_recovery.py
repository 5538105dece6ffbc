"""B4: seconds from the start of a worker to its first slate, with a warm store and with an empty one.

A worker learns events, is killed with SIGKILL while it works, and is started again: with its local store, then without.
A single event is sent beforehand; its slate ends the measurement. What a start costs without any state is measured on a
new application, so that recovery can be told from start-up. The group's session timeout is waited for beforehand; the
quick form ends workers gently instead, so that there is none.

What there is to recover is told in three ways, and the seconds per million of each. Rows are users, items, categories
and what else has a header in the changelogs of both stages. Pages are all keys there that have a value, headers among
them. Records are whatever the changelogs hold: earlier versions of pages, checkpoints and marks of transactions, too.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from typing import Any

import msgspec

from benchmarks.cluster import Cluster, cluster, say
from benchmarks.defaults import DefaultSettings
from benchmarks.workers import Process, admin_of, committed, consumer_of
from state.codec import KEY_BYTES, KIND_HEADER, split_key
from stream_app.changelog import CHECKPOINT_KEY
from stream_app.produce import produce_records
from stream_app.records import Event
from stream_app.settings import Settings

TITLE = "Recovery: seconds to the first slate after kill -9"
_TIMEOUT_S = 300.0
_SESSION_S = DefaultSettings().session_timeout_ms / 1000 + 1.0
"""Until the group has noticed that a killed worker is gone; a restart before that waits for it, with any store."""
_POLL_S = 0.02


async def measure(*, quick: bool) -> dict[str, Any]:
    """Kill and restart a worker, and return times and what there was to recover."""
    n_events = 5_000 if quick else 200_000
    async with cluster() as home:
        await home.fill(n_events)
        settings = await home.app("recovery")
        await _learn(settings, n_events, gently=quick)
        session_s = 0.0 if quick else _SESSION_S
        await asyncio.sleep(session_s)
        there = await held(settings)
        warm_s = await _restart(settings, 1, gently=quick)
        await asyncio.sleep(session_s)
        shutil.rmtree(settings.state_dir / settings.app_id)
        empty_s = await _restart(settings, 2, gently=quick)
        new_s = await _restart(await _new_app(home), 3, gently=quick)
    say(f"  warm {warm_s:.1f} s, empty {empty_s:.1f} s, new {new_s:.1f} s")
    return {
        "events": n_events,
        **there,
        "new_application_s": new_s,
        "warm_store_s": warm_s,
        "empty_store_s": empty_s,
        "warm_beyond_start_s": warm_s - new_s,
        "empty_beyond_start_s": empty_s - new_s,
        **{
            f"empty_beyond_start_s_per_million_{what}": (empty_s - new_s) / max(n, 1) * 1e6 for what, n in there.items()
        },
    }


async def _new_app(home: Cluster) -> Settings:
    """Return an application with a catalogue as large, whose events topic is empty."""
    return await home.app("new", topic_events="new.events")


async def _learn(settings: Settings, n: int, *, gently: bool) -> None:
    """Let a worker learn, and kill it shortly before it is done."""
    process = Process(settings)
    try:
        async with admin_of(settings) as admin:
            while await committed(admin, settings) < n * 0.98:
                process.check()
                await asyncio.sleep(_POLL_S)
    finally:
        process.end(gently=gently)


async def held(settings: Settings) -> dict[str, int]:
    """Return how many rows and pages the changelogs of both stages hold, and in how many records."""
    found = dict.fromkeys(("rows", "pages", "changelog_records"), 0)
    for topic in (settings.topic_user_state, settings.topic_item_state):
        async with consumer_of(settings, topic) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            begins = await consumer.beginning_offsets(consumer.assignment())
        found["changelog_records"] += sum(ends[tp] - begins[tp] for tp in ends)
        keys = await _keys(settings, topic)
        found["pages"] += len(keys)
        found["rows"] += sum(split_key(key)[1] == KIND_HEADER for key in keys)
    return found


async def _keys(settings: Settings, topic: str) -> set[bytes]:
    """Return the keys of pages whose newest committed record has a value."""
    keys: set[bytes] = set()
    async with consumer_of(settings, topic, isolation_level="read_committed") as consumer:
        tps = consumer.assignment()
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        while not all([await consumer.position(tp) >= ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    if record.key == CHECKPOINT_KEY or len(record.key or b"") != KEY_BYTES:
                        continue
                    if record.value is None:
                        keys.discard(record.key)
                    else:
                        keys.add(record.key)
    return keys


async def _restart(settings: Settings, number: int, *, gently: bool) -> float:
    """Send one event, start a worker, and return the seconds until that event's slate can be read.

    A new application has nothing to recommend yet: there the commit of the event ends the measurement.
    """
    user = f"someone-{number}"
    event = Event(f"restart-{number}", "purchase", user, time.time_ns() // 1_000_000, "1082185")
    topic = settings.topic_recommendations
    async with consumer_of(settings, topic, isolation_level="read_committed") as slates, admin_of(settings) as admin:
        before = await committed(admin, settings)
        await produce_records(settings, settings.topic_events, [msgspec.json.encode(event)])
        process = Process(settings)
        try:
            while time.monotonic() - process.started_s < _TIMEOUT_S:
                process.check()
                found = await slates.getmany(timeout_ms=20)
                if any(record.key == user.encode() for records in found.values() for record in records):
                    return time.monotonic() - process.started_s
                if before == 0 and await committed(admin, settings) > 0:
                    return time.monotonic() - process.started_s
        finally:
            process.end(gently=gently)
    sys.exit(f"B4: no slate for {user} in {_TIMEOUT_S:.0f} s; see {process.log}")
