"""Worker processes and rival programs of a benchmark: start them, ask how far they are, end them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, NoError

from stream_app.broker.ports import free_port
from stream_app.kafka import client_options, stop_consumer
from stream_app.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from stream_app.settings import Settings

_ROOT = Path(__file__).parents[1]
WORKER = (sys.executable, "-m", "stream_app.cli.main", "worker")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a subprocess these settings, and the defaults for all others.

    What the shell sets is left out. Modules are found from any folder.
    """
    topics = ("topic_events", "topic_recommendations", "topic_rejects")
    names = ("bootstrap_servers", "app_id", "state_dir", "hot_rows", *topics)
    env = {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    path = os.pathsep.join(filter(None, (str(_ROOT), kept.get("PYTHONPATH"))))
    return {**kept, **env, f"{PREFIX}WEB_PORT": str(free_port()), "PYTHONPATH": path}


class Process:
    """A subprocess whose log is kept; it runs in a folder without a ``.env`` file.

    Parameters
    ----------
    settings
        Of the application; their state directory holds the log, and is where the process runs.
    command
        What to run.
    name
        Of the log.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = WORKER, name: str = "worker") -> None:
        self.log = settings.state_dir / f"{name}.log"
        self.started_s = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, env=environment(settings), cwd=settings.state_dir, stdout=log, stderr=log
            )
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
        self.wait()

    def wait(self) -> None:
        """Wait until it has ended."""
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


async def committed(admin: AIOKafkaAdminClient, settings: Settings, group: str | None = None) -> int:
    """Return how many events a group has committed; the worker's user stage if none is named."""
    try:
        offsets = await admin.list_consumer_group_offsets(group or f"{settings.app_id}.user")
    except KafkaError:  # the group's coordinator is made at the first question
        return 0
    return sum(max(found.offset, 0) for tp, found in offsets.items() if tp.topic == settings.topic_events)


async def written(consumer: AIOKafkaConsumer, topic: str, partitions: int) -> int:
    """Return how many records a topic holds."""
    ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(partitions)])
    return sum(ends.values())


async def owners(admin: AIOKafkaAdminClient, group: str, topic: str) -> int:
    """Return how many members of a group own partitions of a topic; none while it shares them out."""
    try:
        described = await admin.describe_consumer_groups([group])
    except KafkaError:  # as above
        return 0
    n = 0
    for response in described:
        for error, _name, state, _type, _protocol, members, *_ in response.groups:
            if error == NoError.errno and state == "Stable":
                n += sum(_owns(assignment, topic) for *_, assignment in members)
    return n


def _owns(assignment: bytes, topic: str) -> bool:
    if not assignment:
        return False
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return any(name == topic and partitions for name, partitions in decoded.assignment)
