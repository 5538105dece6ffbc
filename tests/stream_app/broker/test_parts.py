"""Tests of what the broker is made of: Java, ports, locks, configuration, its process, and the words for its end."""

from __future__ import annotations

import base64
import errno
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream_app.broker import BrokerError, EmbeddedBroker
from stream_app.broker import files as broker_files
from stream_app.broker.config import cluster_id_of, new_cluster_id, write_config
from stream_app.broker.files import DirectoryLock, refusals
from stream_app.broker.java import find_java, java_candidates
from stream_app.broker.ports import check_port, free_port, free_ports, is_free, serving_cluster
from stream_app.broker.process import ChildProcess
from stream_app.broker.trouble import ended_error, late_error

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 120.0

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="starts a shell script")


@pytest.fixture
def fake_java(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return what makes a program that answers ``-version`` as told."""

    def make(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@on_posix
def test_the_first_java_that_is_new_enough_is_taken(fake_java: Callable[[str, str], Path], tmp_path: Path) -> None:
    """One that is missing, fails or is too old is passed over, however it writes its version."""
    old = fake_java("old", "echo 'java version \"1.8.0_391\"' >&2")
    broken = fake_java("broken", "echo 'cannot load libjvm' >&2; exit 1")
    good = fake_java("good", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    assert find_java([tmp_path / "none", old, broken, good]) == good


@on_posix
def test_no_java_says_why_each_was_refused(fake_java: Callable[[str, str], Path], tmp_path: Path) -> None:
    """The error tells what is wrong with each one that was found, and how to get one."""
    old = fake_java("old", "echo 'openjdk version \"11.0.2\"' >&2")
    broken = fake_java("broken", "echo 'cannot load libjvm' >&2; exit 1")
    with pytest.raises(BrokerError) as caught:
        find_java([old, broken, tmp_path / "none"])
    for words in (
        f"{old}: is version 11",
        f"{broken}: fails with exit code 1 (cannot load libjvm)",
        f"{tmp_path / 'none'}: No such file",
        "pip install 'crossaisle[broker]'",
        "JAVA_HOME",
    ):
        assert words in str(caught.value)


def test_no_java_at_all_says_so() -> None:
    """Without any candidate the error still says what to do."""
    with pytest.raises(BrokerError, match=r"none was found.*pip install"):
        find_java([])


@on_posix
def test_candidates_come_best_first(fake_java: Callable[[str, str], Path], tmp_path: Path) -> None:
    """``JAVA_HOME`` comes before the path, and what comes as a package before both."""
    on_path = fake_java("java", "exit 0")
    found = java_candidates({"JAVA_HOME": "/a/java", "PATH": str(tmp_path)})
    assert found[-2:] == [Path("/a/java/bin/java"), on_path]
    assert found[:-2] == java_candidates({"PATH": str(tmp_path / "none")})


def test_a_port_that_is_taken_is_refused() -> None:
    """A port on which something listens, on this or on all addresses, cannot be had; once it is free it can."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - to see that it is noticed
        with socket.create_server((host, 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(BrokerError, match=rf"port {port} is taken.*--port"):
                check_port(port)
        check_port(port)


def test_free_ports_are_not_lent_to_clients() -> None:
    """A free port is none that the system may lend to an outgoing connection, and can be listened on."""
    port = free_port()
    assert port < 32_768
    check_port(port)


def test_free_ports_differ() -> None:
    """Ports that are chosen together are not the same."""
    assert len(set(free_ports(20))) == 20
    assert not is_free(70_000)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x00",
        b"\x00\x00\x00\x0c\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x0c\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\x00\x00\x00\x13\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01\xff",
    ],
    ids=["nothing", "http", "short", "no broker", "cut off", "not text"],
)
def test_other_answers_are_no_broker(answer: bytes) -> None:
    """What listens, but does not answer as a broker in service does, serves no cluster."""

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        assert serving_cluster(server.getsockname()[1]) is None
        thread.join()


def test_the_broker_in_service_names_its_cluster(broker: EmbeddedBroker) -> None:
    """A real broker answers with the id that its data directory holds."""
    assert broker.port is not None
    assert serving_cluster(broker.port) == cluster_id_of(broker.data_dir) is not None


def test_cluster_ids_are_what_kafka_wants() -> None:
    """An id is sixteen bytes in base64 without padding, differs each time, and is never taken for an option."""
    made = {new_cluster_id() for _ in range(200)}
    assert len(made) == 200
    for cluster_id in made:
        assert len(base64.urlsafe_b64decode(cluster_id + "==")) == 16
        assert not cluster_id.startswith("-")


def test_the_configuration_holds_no_absolute_path(tmp_path: Path) -> None:
    """The data directory may have any name: it is not written into the configuration."""
    directory = tmp_path / "Käufe, neu = 1"
    directory.mkdir()
    write_config(directory, 9092, 9093)
    for name in ("server.properties", "log4j2.properties"):
        assert str(tmp_path) not in (directory / name).read_text()
    assert cluster_id_of(directory) is None


def test_a_broker_runs_in_a_directory_with_an_odd_name(tmp_path: Path) -> None:
    """Blanks, commas, umlauts and a dollar in the name of the data directory do no harm, and its log is there."""
    with EmbeddedBroker(tmp_path / "Käufe, ${neu} = 1") as broker:
        assert broker.port is not None
        assert serving_cluster(broker.port) == cluster_id_of(broker.data_dir)
        assert "Kafka Server started" in broker.log_path.read_text()


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    """The second one does not get it, but learns who has it; once it is given back it can be had."""
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    assert first.acquire()
    first.describe("a longer description than the next one")
    first.describe("the first one")
    assert not second.acquire()
    assert second.holder() == "the first one"
    assert second.descriptors == ()
    first.release()
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "is full: make room"), (errno.EACCES, "cannot write to .*Permission denied")]
)
def test_refusals_name_the_remedy(tmp_path: Path, number: int, words: str) -> None:
    """What the file system refuses is told with the directory and the remedy."""
    with pytest.raises(BrokerError, match=rf"{words}.*, or go elsewhere"), refusals(tmp_path, "go elsewhere"):
        raise OSError(number, os.strerror(number))


def test_a_full_disk_keeps_the_broker_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space is named with the option that chooses another directory, and no lock is left."""
    monkeypatch.setattr(broker_files, "MIN_FREE_BYTES", 1 << 62)
    broker = EmbeddedBroker(tmp_path / "data")
    with pytest.raises(BrokerError, match=r"is full .*--data"):
        broker.start()
    assert broker.pid is None
    lock = DirectoryLock(tmp_path / "data")
    assert lock.acquire()
    lock.release()


def test_a_late_broker_is_given_up(tmp_path: Path) -> None:
    """One that is not up in time is ended, and the error tells its log."""
    broker = EmbeddedBroker(tmp_path / "data", start_timeout_s=0.2)
    with pytest.raises(BrokerError, match=rf"within 0.2 s.*\nIts log is {tmp_path}.*broker.log"):
        broker.start()
    assert broker.pid is None


def test_the_end_of_a_broker_is_noticed(tmp_path: Path) -> None:
    """One that was ended from outside is told, with the signal and the end of its log, and can be started again."""
    with EmbeddedBroker(tmp_path / "data") as broker:
        broker.check()
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(BrokerError, match=r"ended by signal 9 while running.*\n.*broker.log; it ends with:\n  "):
            broker.check(TIMEOUT_S)
        broker.start()
        broker.check()


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("ERROR java.io.IOException: No space left on device", "make room"),
        ("Caused by: java.net.BindException: Address already in use", "--port"),
        ("Failed to acquire lock on file .lock in topics. A Kafka instance is using it", "another broker uses"),
        ("java.lang.OutOfMemoryError: Java heap space", "its memory was used up"),
        ("java.io.IOException: Too many open files", "ulimit -n"),
        ("java.lang.NoClassDefFoundError: kafka/Kafka", "reinstall"),
        ("Stored node id 77 doesn't match previous node id 1 in meta.properties", "cannot be read"),
        ("something that nobody has seen before", "the log tells more"),
    ],
)
def test_known_troubles_get_their_remedy(tmp_path: Path, line: str, remedy: str) -> None:
    """What the log says is put into a cause and a remedy, and quoted, without the lines of the stack trace."""
    (tmp_path / "broker.log").write_text(f"first\n{line}\n\tat org.apache.kafka.Some.thing(Some.java:1)\n")
    message = str(ended_error(tmp_path, 1, "while starting"))
    assert message.startswith("Apache Kafka ended with exit code 1 while starting; ")
    assert remedy in message.splitlines()[0]
    assert f"  {line}" in message.splitlines()
    assert "Some.java" not in message


def test_without_a_log_nothing_is_quoted(tmp_path: Path) -> None:
    """A broker that has said nothing is told as such."""
    assert str(late_error(tmp_path, 5.0)).endswith("broker.log, and empty.")


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], ChildProcess]:
    """Return what starts a Python program as the broker is started."""

    def start(script: str) -> ChildProcess:
        return ChildProcess([sys.executable, "-c", script], directory=tmp_path, output=tmp_path / "output")

    return start


def printed(tmp_path: Path, words: str) -> bool:
    """Wait until the child has printed something."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while words not in (tmp_path / "output").read_text():
        assert time.monotonic() < deadline_s, f"the child did not print {words}"
        time.sleep(0.02)
    return True


def test_a_child_ends_with_its_exit_code(child: Callable[[str], ChildProcess], tmp_path: Path) -> None:
    """What it prints is kept, and its exit code is told as often as it is asked for."""
    process = child("print('said'); raise SystemExit(3)")
    assert process.wait(TIMEOUT_S) == 3
    assert process.wait(0) == 3
    assert printed(tmp_path, "said")
    process.terminate()
    process.kill()


def test_a_deaf_child_can_be_killed(child: Callable[[str], ChildProcess], tmp_path: Path) -> None:
    """One that ignores SIGTERM still runs after it, and is gone after being killed."""
    process = child(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    assert printed(tmp_path, "up")
    process.terminate()
    assert process.wait(0.2) is None
    process.kill()
    assert process.wait(0) == -signal.SIGKILL


def test_a_child_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    """What keeps it from being started is raised where it is started, not in the thread that keeps it."""
    with pytest.raises(FileNotFoundError):
        ChildProcess([sys.executable], directory=tmp_path / "none", output=tmp_path / "output")
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        ChildProcess([str(tmp_path / "no-such-program")], output=tmp_path / "output")
