"""What the tests of running workers share: start them, send them events, and count what they committed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import TopicPartition as ConfluentTopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from stream_app.kafka import client_options
from stream_app.topic_facts import TopicFactsCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from stream_app.settings import Settings

ROOT = Path(__file__).parents[2]
COUNTING_WORKER = (sys.executable, str(ROOT / "tests" / "stream_app" / "counting.py"))
N_PARTITIONS = 4
TIMEOUT_S = 180.0


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """Return the environment that gives a subprocess these settings."""
    env = {**os.environ, **extra}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    for name, value in settings.model_dump().items():
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[f"CROSSAISLE_{name.upper()}"] = text
    return env


def with_short_session(settings: Settings, **changes: object) -> Settings:
    """Return settings with the shortest session that a broker allows by default: a killed worker is missed sooner."""
    return settings.model_copy(update={"session_timeout_ms": 6_000, **changes})


class Worker:
    """A worker process; its log is kept in a file, and nothing of it outlives the ``with`` block."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        command: Sequence[str] = COUNTING_WORKER,
        *,
        fault: str | None = None,
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._log = log
        extra = {**extra, **({"CROSSAISLE_FAULT": fault} if fault else {})}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env=environment(settings, **extra), stdout=file, stderr=file, cwd=log.parent
            )

    def __enter__(self) -> Self:
        """Return the running worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """What the worker has logged so far."""
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(timeout_s)

    def terminate(self) -> int:
        """Ask the worker to end, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of a web view; status 0 if the server does not answer."""
        url = f"http://127.0.0.1:{self._settings.web_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def wait_ready(self) -> dict[str, Any]:
        """Wait until ``/health/ready`` answers 200 and return its body."""
        wait_for(
            lambda: self.get("/health/ready")[0] == 200 or self.process.poll() is not None, "the worker to be ready"
        )
        status, body = self.get("/health/ready")
        assert status == 200, self.log
        return body

    def wait_counted(self, n: int) -> None:
        """Wait until ``n`` events are counted in committed state; fail at once if the worker ends before."""
        wait_for(lambda: self._has_counted(n), f"{n} events to be counted")

    def _has_counted(self, n: int) -> bool:
        done = counts(self._settings).total() >= n
        assert done or self.process.poll() is None, self.log
        return done

    def owned(self, stage: str = "user") -> list[int]:
        """Return the partitions whose tasks run in this worker."""
        _, body = self.get("/health/ready")
        tasks = body.get("stages", {}).get(stage, {}).get("tasks", [])
        return [task["partition"] for task in tasks if task["state"] == "running"]


def stop_limit_s() -> float:
    """Return how long a worker may take to end after SIGTERM: 5 s, stretched by how overloaded its cores are."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 5.0 * max(1.0, *(load / n_cores for load in os.getloadavg()))


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Poll until a condition holds; fail if it does not within ``timeout_s`` seconds."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


@contextlib.asynccontextmanager
async def unretrieved() -> AsyncIterator[list[str]]:
    """Yield a list that holds at the end what the event loop would tell of errors that nobody has looked at."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    try:
        yield told
        for _ in range(10):  # let what is left behind end
            await asyncio.sleep(0)
        gc.collect()
    finally:
        loop.set_exception_handler(None)


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Let other tasks run until a condition holds; fail if it does not within ``timeout_s`` seconds."""
    give_up = time.monotonic() + timeout_s
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < give_up, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(0.01)


def send(
    settings: Settings,
    events: Iterable[tuple[bytes | None, bytes | None]],
    *,
    topic: str | None = None,
    partition: int | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    timestamp_ms: int | None = None,
) -> None:
    """Send keys and values to a topic, the events topic if not given, and wait until the broker has them.

    They get the present time unless another one is given.
    """
    to = topic or settings.topic_events

    async def run() -> None:
        producer = AIOKafkaProducer(**client_options(settings), linger_ms=5, max_batch_size=1 << 17)
        await producer.start()
        try:
            futures = [
                await producer.send(
                    to, value, key=key, partition=partition, headers=list(headers), timestamp_ms=timestamp_ms
                )
                for key, value in events
            ]
            await asyncio.gather(*futures)
        finally:
            await producer.stop()

    asyncio.run(run())


class Flow:
    """Sends events from a thread, one producer all the while, until the ``with`` block ends."""

    def __init__(self, settings: Settings, *, n_per_s: int = 2000, n_keys: int = 100) -> None:
        self._settings = settings
        self._pause_s = 0.05
        self._n_per_round = max(1, round(n_per_s * self._pause_s))
        self._n_keys = n_keys
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.sent: Counter[bytes] = Counter()
        """Events that the broker has taken, by key."""

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sending and wait until the broker has all that was sent."""
        self._ending.set()
        self._thread.join()

    async def _run(self) -> None:
        producer = AIOKafkaProducer(**client_options(self._settings), linger_ms=5, enable_idempotence=True)
        await producer.start()
        try:
            n = 0
            while not self._ending.is_set():
                keys = [b"user-%d" % (i % self._n_keys) for i in range(n, n + self._n_per_round)]
                n += len(keys)
                topic = self._settings.topic_events
                await asyncio.gather(*[await producer.send(topic, b"event", key=key) for key in keys])
                self.sent.update(keys)
                await asyncio.sleep(self._pause_s)
        finally:
            await producer.stop()


def send_numbered(settings: Settings, n: int, *, n_keys: int = 100) -> Counter[bytes]:
    """Send ``n`` events over ``n_keys`` keys; return how many each key got."""
    keys = [b"user-%d" % (i % n_keys) for i in range(n)]
    send(settings, [(key, b"event") for key in keys])
    return Counter(keys)


def read_committed(settings: Settings, topic: str) -> list[Any]:
    """Return all committed records of a topic, from its beginning to its present end."""

    async def run() -> list[Any]:
        consumer = AIOKafkaConsumer(
            **client_options(settings), isolation_level="read_committed", enable_auto_commit=False
        )
        await consumer.start()
        try:
            n_partitions = (await TopicFactsCache(settings, [topic]).get(topic)).n_partitions
            tps = [TopicPartition(topic, p) for p in range(n_partitions)]
            consumer.assign(tps)
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            for tp in tps:
                consumer.seek(tp, begins[tp])
            records: list[Any] = []
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for batch in (await consumer.getmany(timeout_ms=50)).values():
                    records += batch
            return records
        finally:
            await consumer.stop()

    return asyncio.run(run())


def wait_decided(settings: Settings, *topics: str) -> None:
    """Wait until no transaction is open on some topics.

    Kafka answers a commit before its markers stand in every partition. Until then a reader of committed records is held
    back, even where the worker that made the commit has ended.
    """

    async def ends(isolation_level: str) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(**client_options(settings), isolation_level=isolation_level)
        await consumer.start()
        try:
            facts = TopicFactsCache(settings, topics)
            numbers = {topic: (await facts.get(topic)).n_partitions for topic in topics}
            return await consumer.end_offsets(
                [TopicPartition(topic, p) for topic in topics for p in range(numbers[topic])]
            )
        finally:
            await consumer.stop()

    async def is_decided() -> bool:
        return await ends("read_committed") == await ends("read_uncommitted")

    wait_for(lambda: asyncio.run(is_decided()), "all transactions to be decided")


def counts(settings: Settings) -> Counter[bytes]:
    """Return the committed count of each key, from the changelog of the counting worker."""
    newest = {record.key: record.value for record in read_committed(settings, settings.topic_user_state)}
    prefix = b"the-count-of-"
    return Counter({key.removeprefix(prefix): int(v) for key, v in newest.items() if key.startswith(prefix)})


def outputs(settings: Settings) -> list[bytes]:
    """Return the values of all committed outputs: partition and offset of the events they answer."""
    return [record.value for record in read_committed(settings, settings.topic_recommendations)]


def checkpoints(settings: Settings) -> dict[int, dict[str, Any]]:
    """Return the newest checkpoint of each partition."""
    records = read_committed(settings, settings.topic_user_state)
    return {r.partition: json.loads(r.value) for r in records if r.key == b"\x00checkpoint"}


def check_exactly_once(settings: Settings, sent: Counter[bytes]) -> None:
    """Assert that every event was counted once, answered once, and totalled once."""
    wait_decided(settings, settings.topic_user_state, settings.topic_recommendations)
    assert counts(settings) == sent
    answered = outputs(settings)
    assert len(answered) == sent.total()
    assert len(set(answered)) == sent.total()
    assert sum(c["state"]["total"] for c in checkpoints(settings).values()) == sent.total()


def recreate_topic(settings: Settings, topic: str) -> None:
    """Delete a topic and make it anew."""

    async def run() -> None:
        admin = AIOKafkaAdminClient(**client_options(settings))
        await admin.start()
        try:
            await admin.delete_topics([topic])
        finally:
            await admin.close()

    asyncio.run(run())
    make_topics(settings)


def alter_topic(settings: Settings, topic: str, config: Mapping[str, str]) -> None:
    """Give a topic this configuration, and the broker's defaults for the rest."""

    async def run() -> None:
        admin = AIOKafkaAdminClient(**client_options(settings))
        await admin.start()
        try:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(config))])
        finally:
            await admin.close()

    asyncio.run(run())


def delete_records(settings: Settings, topic: str, partition: int, before: int) -> None:
    """Delete the records of a compacted topic before an offset, as an operator may by mistake."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    alter_topic(settings, topic, {"cleanup.policy": "delete", "max.message.bytes": "4194304"})
    for future in admin.delete_records([ConfluentTopicPartition(topic, partition, before)]).values():
        future.result(30)
    alter_topic(settings, topic, {"cleanup.policy": "compact", "max.message.bytes": "4194304"})


def make_topics(settings: Settings) -> None:
    """Make all topics of an application that do not exist yet."""
    from stream_app.topics import create_topics  # noqa: PLC0415

    asyncio.run(create_topics(settings, N_PARTITIONS, 1))
