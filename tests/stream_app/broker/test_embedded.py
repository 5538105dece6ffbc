"""Tests of the embedded broker: it keeps data, names the remedy when it cannot run, and never outlives its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.broker import BrokerError, EmbeddedBroker
from stream_app.broker.classpath import class_path
from stream_app.broker.jars import listed_jars
from stream_app.broker.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 180.0
TOPIC = "kept"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds, within bounds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


async def write(address: str, values: list[bytes]) -> None:
    """Make the topic if need be and write values to it, acknowledged."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        if TOPIC not in await admin.list_topics():
            made = await admin.create_topics([NewTopic(TOPIC, 1, 1)])
            assert [code for _, code, *_ in made.topic_errors] == [0], "a topic could not be made on a started broker"
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(TOPIC, value)


async def read(address: str, n_values: int) -> list[bytes]:
    """Read so many values from the beginning of the topic."""
    values: list[bytes] = []
    async with AIOKafkaConsumer(TOPIC, bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(TIMEOUT_S):
            while len(values) < n_values:
                batches = await consumer.getmany(timeout_ms=500)
                values += [record.value for records in batches.values() for record in records]
    return values


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Yield a started broker that the test may end."""
    with EmbeddedBroker(tmp_path / "data") as broker:
        yield broker


async def test_restart_keeps_data_and_port(own: EmbeddedBroker) -> None:
    """A topic can be made the moment that start returns; after a stop and a start, address and data are the same."""
    address, first = own.bootstrap_servers, own.pid
    await write(address, [b"a"])
    await asyncio.to_thread(own.stop)
    assert not own.pid
    await asyncio.to_thread(own.start)
    assert own.bootstrap_servers == address
    assert own.pid not in {None, first}
    await write(address, [b"b"])
    assert await read(address, 2) == [b"a", b"b"]


async def test_kill_keeps_acknowledged_data(own: EmbeddedBroker) -> None:
    """A broker killed from outside starts again, with all that was acknowledged; another object may do it, too."""
    await write(own.bootstrap_servers, [b"a"])
    assert own.pid is not None
    os.kill(own.pid, signal.SIGKILL)
    with pytest.raises(BrokerError, match="ended by signal 9"):
        await asyncio.to_thread(own.check, TIMEOUT_S)
    await asyncio.to_thread(own.start)
    await write(own.bootstrap_servers, [b"b"])
    own.kill()
    with EmbeddedBroker(own.data_dir, own.port) as second:
        assert second.bootstrap_servers == own.bootstrap_servers
        assert await read(second.bootstrap_servers, 2) == [b"a", b"b"]


def test_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """A broker started in a thread goes on when that thread has ended."""
    broker = EmbeddedBroker(tmp_path / "data")
    starter = threading.Thread(target=broker.start)
    starter.start()
    starter.join()
    try:
        asyncio.run(write(broker.bootstrap_servers, [b"a"]))
        assert asyncio.run(read(broker.bootstrap_servers, 1)) == [b"a"]
    finally:
        broker.stop()


def test_port_taken(tmp_path: Path) -> None:
    """A port that is taken is named, with the option that chooses another one, and no broker is left."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        broker = EmbeddedBroker(tmp_path / "data", port)
        with pytest.raises(BrokerError, match=rf"port {port} is taken.*--port"):
            broker.start()
    assert broker.pid is None


def test_directory_in_use(broker: EmbeddedBroker) -> None:
    """A second broker on the same directory is refused with the way out, and does not harm the first."""
    with pytest.raises(BrokerError, match=rf"another broker uses {re.escape(str(broker.data_dir))}.*--data"):
        EmbeddedBroker(broker.data_dir).start()
    asyncio.run(write(broker.bootstrap_servers, [b"a"]))


def test_directory_is_a_file(tmp_path: Path) -> None:
    """A data directory that cannot be one is named, with the option that chooses another one."""
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(BrokerError, match=rf"{re.escape(str(tmp_path / 'data'))}.*--data"):
        EmbeddedBroker(tmp_path / "data").start()


def test_damaged_data_shows_the_log(own: EmbeddedBroker) -> None:
    """When Kafka refuses its data, the error says so with the log's words; the directory can then be used again."""
    first = own.pid
    own.start()
    assert own.pid == first, "starting a running broker must change nothing"
    own.stop()
    own.stop()
    assert own.pid is None
    meta = next(own.data_dir.rglob("meta.properties"))
    kept = meta.read_text()
    meta.write_text("version=1\nnode.id=77\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    with pytest.raises(BrokerError, match=re.escape(str(own.data_dir))) as caught:
        own.start()
    assert "77" in str(caught.value), "the reason from the log is missing"
    meta.write_text(kept)
    own.start()


def test_progress_may_end_the_start(tmp_path: Path) -> None:
    """What the progress callback raises comes out of start, and leaves no process."""

    def refuse(words: str) -> None:
        raise InterruptedError(words)

    broker = EmbeddedBroker(tmp_path / "data", progress=refuse)
    with pytest.raises(InterruptedError):
        broker.start()
    assert broker.pid is None


def listens(port: int) -> bool:
    """Return whether anything listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- the jars ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache of its own that holds all jars."""
    home = tmp_path / "cache"
    home.mkdir()
    for jar in class_path(lambda _words: None):
        shutil.copyfile(jar, home / jar.name)
    return home


def test_whole_cache_is_used_as_it_is(cache: Path) -> None:
    """Nothing is fetched, and nothing said, when all jars are there."""
    words: list[str] = []
    jars = class_path(words.append, cache)
    assert {jar.parent for jar in jars} == {cache}
    assert not words


@pytest.mark.parametrize("damage", ["gone", "short", "same size"])
def test_damaged_jar_is_replaced(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """One damaged jar is replaced, from the Maven repository on disk if it is there; the others are left alone."""
    jar = min(listed_jars(), key=lambda jar: jar.n_bytes)
    victim = cache / jar.name
    whole, others = victim.read_bytes(), {path: path.stat().st_mtime_ns for path in cache.glob("*.jar")}
    kept = tmp_path / "m2" / jar.group.replace(".", "/") / jar.artifact / jar.version / jar.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(whole)
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    del others[victim]
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(whole[:100] if damage == "short" else bytes(len(whole)))
    words: list[str] = []
    assert victim in class_path(words.append, cache, {"none": "http://127.0.0.1:9"})
    assert victim.read_bytes() == whole
    assert words
    assert {path: path.stat().st_mtime_ns for path in others} == others


# --- the command ------------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """Return the processes whose parent has this id."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            if int(text[text.rindex(")") + 2 :].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def runs(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits to be collected does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] != "Z"


@contextlib.contextmanager
def command(data: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``crossaisle broker``, and see to it that it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_app.cli.main", "broker", "--data", str(data), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@on_linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_command_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """The command prints its address and nothing else, and a signal ends it with exit code 0 and no Java left."""
    port = free_port()
    with command(tmp_path / "data", "--port", str(port)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"127.0.0.1:{port}\n"
        asyncio.run(write(f"127.0.0.1:{port}", [b"a"]))
        javas = children(process.pid)
        assert javas
        process.send_signal(number)
        rest, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
        assert rest == ""
    assert not [pid for pid in javas if runs(pid)]


@on_linux
def test_killed_parent_leaves_no_java(tmp_path: Path) -> None:
    """Java ends when the command is killed with no chance to stop it, and the data directory is free again."""
    port = free_port()
    with command(tmp_path / "data", "--port", str(port)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"127.0.0.1:{port}\n"
        javas = children(process.pid)
        assert javas
        process.kill()
        process.wait(TIMEOUT_S)
        wait_for(lambda: not any(runs(pid) for pid in javas), "Java to end with its parent")
        wait_for(lambda: not listens(port), "its port to be free")  # its threads may end after its first one
    with EmbeddedBroker(tmp_path / "data", port) as broker:
        assert broker.pid is not None


@on_linux
def test_signal_during_the_start(tmp_path: Path) -> None:
    """A signal while Kafka still starts ends the command without an address printed, and no Java is left."""
    with command(tmp_path / "data", "--port", str(free_port())) as process:
        wait_for(lambda: bool(children(process.pid)), "the start of Java")
        javas = children(process.pid)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=TIMEOUT_S)
        assert out == ""
    wait_for(lambda: not any(runs(pid) for pid in javas), "Java to end")


def test_command_names_the_remedy(tmp_path: Path) -> None:
    """The command says on stderr alone what is wrong, and fails."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with command(tmp_path / "data", "--port", str(port)) as process:
            out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert out == ""
    assert f"error: port {port} is taken" in errors
    assert "--port" in errors
