"""The examples in docs/examples, in every language, against a real broker: events in, committed slates out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from stream_app.broker.classpath import class_path
from stream_app.evaluation.files import Request, evaluate_files
from stream_app.kafka import client_options
from stream_app.records import EventLimits, Slate, decode_events, encode_slate
from stream_app.records.examples import SLATE
from stream_app.settings import Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, with_sizes
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
TIMEOUT_S = 120.0
OLDEST_NODE = (20, 19)


def _python(_home: Path) -> list[str]:
    return [sys.executable]


def _java(_home: Path) -> list[str]:
    """Return the command that compiles and runs one Java file; the embedded broker's Java has no compiler."""
    if shutil.which("javac") is None or (java := shutil.which("java")) is None:
        pytest.skip("no JDK: javac is not on the path (Debian: default-jdk-headless)")
    jars = [jar for jar in class_path(lambda _: None) if jar.name.startswith(("kafka-clients", "slf4j-api"))]
    assert jars
    return [java, "-cp", os.pathsep.join(map(str, jars))]


def _node(home: Path) -> list[str]:
    """Return the command that runs a file of Node, once the client has been installed next to it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node: node and npm are not on the path (Debian: nodejs npm)")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, told.strip().lstrip("v").split(".")[:2])) < OLDEST_NODE:
        pytest.skip(f"Node {told.strip()} is older than the client wants")
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=home, check=True, timeout=TIMEOUT_S)
    return [node]


COUNTER = "python/count_hits.py"
CASES = {
    "aiokafka": (_python, "python/produce_aiokafka.py", "python/consume_aiokafka.py"),
    "confluent-kafka": (_python, "python/produce_confluent.py", "python/consume_confluent.py"),
    "java": (_java, "java/Produce.java", "java/Consume.java"),
    "node": (_node, "node/produce.js", "node/consume.js"),
}


class Language:
    """The examples of one language, copied aside, with the address and the topics of a test in them."""

    def __init__(self, name: str, settings: Settings, home: Path) -> None:
        command, *files = CASES[name]
        self.home = home
        own = {
            "127.0.0.1:9092": settings.bootstrap_servers,
            '"events"': f'"{settings.topic_events}"',
            '"recommendations"': f'"{settings.topic_recommendations}"',
            "shop-front": f"{settings.app_id}.shop-front",
        }
        folder = (EXAMPLES / files[0]).parent
        for source in folder.iterdir():
            if source.is_file():
                text = source.read_text()
                for shown, used in own.items():
                    text = text.replace(shown, used)
                (home / source.name).write_text(text)
        runs: Callable[[Path], list[str]] = command
        self._command = runs(home)
        self._produce, self._consume = (Path(file).name for file in files)

    def produce(self) -> None:
        """Run the producer to its end."""
        command = [*self._command, self._produce]
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr + done.stdout

    def consume(self, n: int) -> list[str]:
        """Run the consumer until it has printed ``n`` lines, then end it."""
        out = self.home / "printed"
        with out.open("w") as file, (self.home / "errors").open("w") as errors:
            process = subprocess.Popen([*self._command, self._consume], cwd=self.home, stdout=file, stderr=errors)

            def printed() -> bool:
                assert process.poll() is None, (self.home / "errors").read_text()
                return len(out.read_text().splitlines()) >= n

            try:
                harness.wait_for(printed, f"{n} lines of {self._consume}", TIMEOUT_S)
            finally:
                process.terminate()
                process.wait(TIMEOUT_S)
        return out.read_text().splitlines()


@pytest.fixture(params=CASES)
def language(request: pytest.FixtureRequest, app_settings: Settings, tmp_path: Path) -> Language:
    """Return the examples of each language in turn, on topics of their own."""
    harness.make_topics(app_settings)
    return Language(request.param, app_settings, tmp_path)


def _slate(n: int) -> bytes:
    return encode_slate(Slate(**{**SLATE, "slate_id": f"0-{n}", "as_of": SLATE["as_of"], "items": SLATE["items"]}))


async def _publish(settings: Settings) -> None:
    """Write three slates as a worker does, the second one in a transaction that is aborted."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=f"{settings.app_id}.test")
    await producer.start()
    try:
        for n in range(3):
            await producer.begin_transaction()
            await producer.send_and_wait(settings.topic_recommendations, _slate(n), key=b"household-1228")
            await (producer.abort_transaction() if n == 1 else producer.commit_transaction())
    finally:
        await producer.stop()


def test_events_in_and_slates_out(language: Language, app_settings: Settings) -> None:
    """The event is good, in the partition where Java puts the user; no slate of an aborted transaction is shown."""
    language.produce()
    (record,) = harness.read_committed(app_settings, app_settings.topic_events)
    decoded = decode_events([record], now_ms=time.time_ns() // 1_000_000, limits=EventLimits())
    assert decoded.rejections == []
    assert (decoded.events[0].user_id, decoded.events[0].value) == ("ann", 2)
    assert record.partition == _partition_of(b"ann", harness.N_PARTITIONS)
    asyncio.run(_publish(app_settings))
    lines = language.consume(2)
    assert [n for n in range(3) if any(f"0-{n}" in line for line in lines)] == [0, 2]
    assert len(lines) == 2
    assert all("household-1228" in line and "995242" in line for line in lines)


def _partition_of(key: bytes, n_partitions: int) -> int:
    from aiokafka.partitioner import murmur2  # noqa: PLC0415

    found: Any = murmur2(key) & 0x7FFFFFFF
    return int(found % n_partitions)


def test_every_example_is_tested() -> None:
    """No example lies in the folder without being run."""
    there = {str(p.relative_to(EXAMPLES)) for p in EXAMPLES.rglob("*") if p.suffix in {".py", ".java", ".js"}}
    assert there == {file for _, *files in CASES.values() for file in files} | {COUNTER}


def test_hits_can_be_counted_without_the_product(tmp_path: Path) -> None:
    """The example counts what ``metrics.json`` says, from events, catalogue and lists alone."""
    write_synthetic(tmp_path, with_sizes(KINDS["groceries"], n_users=40, n_items=200, n_categories=20, days=40))
    events, catalog = tmp_path / "events.jsonl", tmp_path / "catalog.jsonl"
    request = Request(events, catalog, tmp_path, ("popularity",), time.time_ns() // 1_000_000)
    rates = evaluate_files(request, Settings())["models"]["popularity"]["lists"]
    command = [sys.executable, str(EXAMPLES / COUNTER), str(events), str(catalog), str(tmp_path / "slates.jsonl")]
    counted = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    each = {name: rates[name]["all"]["hr"] for name in ("x", "o", "e", "slate")}
    assert counted == [f"{name}: {hr['mean']:.4f} of {hr['n']:,}" for name, hr in each.items()]


def test_the_nodes_client_is_pinned() -> None:
    """Its version is fixed, so that the example stays as it was tested."""
    wanted = json.loads((EXAMPLES / "node" / "package.json").read_text())["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values())
