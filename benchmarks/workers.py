"""Worker processes and rival programs of a benchmark: start them, ask how far they are, end them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app.broker.ports import free_port
from stream_app.kafka import client_options, stop_consumer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from stream_app.settings import Settings

WORKER = (sys.executable, "-m", "stream_app.cli.main", "worker")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a subprocess these settings."""
    topics = ("topic_events", "topic_recommendations", "topic_rejects")
    names = ("bootstrap_servers", "app_id", "state_dir", "hot_rows", *topics)
    env = {f"CROSSAISLE_{name.upper()}": str(getattr(settings, name)) for name in names}
    return {**os.environ, **env, "CROSSAISLE_WEB_PORT": str(free_port())}


class Process:
    """A subprocess whose log is kept.

    Parameters
    ----------
    settings
        Of the application; their state directory holds the log.
    command
        What to run.
    name
        Of the log.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = WORKER, name: str = "worker") -> None:
        self.log = settings.state_dir / f"{name}.log"
        self.started_s = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment(settings), stdout=log, stderr=log)  # noqa: S603
        self.pid = self._process.pid

    def check(self) -> None:
        """End the benchmark with the end of the log if the process has ended."""
        if self._process.poll() is not None:
            sys.exit(f"a process of the benchmark ended; its log ends with:\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it as a crash would."""
        self.end(gently=False)

    def end(self, *, gently: bool) -> None:
        """End it with SIGTERM or SIGKILL."""
        if gently:
            self._process.terminate()
        else:
            self._process.kill()
        self._process.wait()


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Run an admin client."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def consumer_of(
    settings: Settings, topic: str | None = None, **options: object
) -> AsyncIterator[AIOKafkaConsumer]:
    """Run a consumer without a group, from the end of all partitions of a topic."""
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, **options)
    await consumer.start()
    try:
        if topic is not None:
            tps = [TopicPartition(topic, p) for p in range(settings.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_end(*tps)
        yield consumer
    finally:
        await stop_consumer(consumer)


async def committed(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    """Return how many events the worker's user stage has committed."""
    try:
        offsets = await admin.list_consumer_group_offsets(f"{settings.app_id}.user")
    except KafkaError:  # the group's coordinator is made at the first question
        return 0
    return sum(max(found.offset, 0) for tp, found in offsets.items() if tp.topic == settings.topic_events)


async def written(consumer: AIOKafkaConsumer, topic: str, partitions: int) -> int:
    """Return how many records a topic holds."""
    ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(partitions)])
    return sum(ends.values())
