"""A broker with topics and real events in it, for the scenarios that need one."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
from platformdirs import user_cache_path

from benchmarks.defaults import DefaultSettings
from stream_app.broker import EmbeddedBroker
from stream_app.broker.ports import free_port
from stream_app.dataset import CATALOG_FILE, EVENTS_FILE, write_complete_journey
from stream_app.produce import produce_records
from stream_app.records import Event
from stream_app.settings import Settings
from stream_app.topics import create_topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PAST_EAGER = 230_000
"""After so many events in all, every one of four partitions is past those that all teach the rankers (``n_eager``)."""


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def purchases(limit: int) -> tuple[Path, Path]:
    """Return events and catalogue of Complete Journey with at least ``limit`` events, made once and kept."""
    whole = user_cache_path("crossaisle") / "benchmarks" / "complete-journey"
    folder = whole if (whole / ".complete").exists() else whole.with_name(f"complete-journey-{limit}")
    if not (folder / ".complete").exists():
        say(f"making {limit:,} events in {folder}")
        write_complete_journey(folder, seed=0, limit=limit)
        (folder / ".complete").touch()
    return folder / EVENTS_FILE, folder / CATALOG_FILE


def lines(path: Path, limit: int | None = None) -> Iterator[bytes]:
    """Yield the first lines of a file, without their ends."""
    with path.open("rb") as file:
        yield from (line.rstrip(b"\n") for line in islice(file, limit))


def _until_now(events: list[bytes]) -> Iterator[bytes]:
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    shift_ms = time.time_ns() // 1_000_000 - decode(events[-1]).event_time_ms
    for line in events:
        event = decode(line)
        yield encode(msgspec.structs.replace(event, event_time_ms=event.event_time_ms + shift_ms))


class Cluster:
    """A running broker, its home directory, and settings of applications on it.

    Parameters
    ----------
    broker
        Started.
    home
        Everything of this run; removed with it.
    partitions
        Partitions of every topic.
    """

    def __init__(self, broker: EmbeddedBroker, home: Path, partitions: int) -> None:
        self.broker, self.home, self.partitions = broker, home, partitions

    def settings(self, app_id: str, **more: Any) -> Settings:
        """Return settings of an application of its own, with its own state directory and web port."""
        folder = self.home / app_id
        folder.mkdir(exist_ok=True)
        return DefaultSettings(
            **{
                "bootstrap_servers": self.broker.bootstrap_servers,
                "app_id": app_id,
                "state_dir": folder,
                "web_port": free_port(),
                "partitions": self.partitions,
                "topic_recommendations": f"{app_id}.slates",
                "topic_rejects": f"{app_id}.rejects",
                **more,
            }
        )

    async def app(self, app_id: str, **more: Any) -> Settings:
        """Return settings of an application whose topics exist; events and catalogue are shared by all."""
        settings = self.settings(app_id, **more)
        await create_topics(settings, self.partitions, 1)
        return settings

    async def fill(self, n_events: int, *, until_now: bool = False) -> int:
        """Produce catalogue and the first ``n_events`` events; return how many there were.

        With ``until_now`` the events are moved in time, so that the last one is of the present.
        """
        settings = await self.app("filler")
        events, catalog = purchases(n_events)
        await produce_records(settings, settings.topic_catalog, lines(catalog))
        found = lines(events, n_events)
        return await produce_records(settings, settings.topic_events, _until_now(list(found)) if until_now else found)


@asynccontextmanager
async def cluster(partitions: int = 4) -> AsyncIterator[Cluster]:
    """Run a broker in a temporary directory."""
    with TemporaryDirectory(prefix="crossaisle-bench-") as folder:
        home = Path(folder)
        with EmbeddedBroker(home / "broker") as broker:
            yield Cluster(broker, home, partitions)
