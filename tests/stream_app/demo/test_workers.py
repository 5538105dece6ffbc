"""The demo's worker processes: their settings, their ends, and what is said when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream_app.demo.workers import WorkerError, WorkerProcess, ended_from_outside, log_tail, worker_environment
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_S = 120.0
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
POLITE = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
    "print('up', flush=True); time.sleep(600)"
)
FAULTY = "print('first line'); print('kaboom: the last words'); raise SystemExit(3)"


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of another process, and fail when it does not come."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], WorkerProcess]]:
    """Make worker processes that run a script of the test instead of a worker; all are killed at the end."""
    made: list[WorkerProcess] = []

    def build(script: str) -> WorkerProcess:
        worker = WorkerProcess(1, os.environ, tmp_path / "worker-1.log", (sys.executable, "-c", script))
        made.append(worker)
        return worker

    yield build
    for worker in made:
        worker.kill()


def test_a_worker_that_ends_by_its_own_fault_is_reported_with_its_last_words(
    make: Callable[[str], WorkerProcess],
) -> None:
    """The error names the exit code, shows the end of the log and says where the whole log is."""
    worker = make(FAULTY)
    worker.start()
    until(lambda: "kaboom" in " ".join(log_tail(worker.log_path)))
    with pytest.raises(WorkerError) as raised:
        until(lambda: worker.revive() is not None)
    message = str(raised.value)
    assert "ended with code 3" in message
    assert "kaboom: the last words" in message
    assert str(worker.log_path) in message


def test_a_killed_worker_is_started_again(make: Callable[[str], WorkerProcess]) -> None:
    """A worker that someone kills comes back under another pid, and the sentence names both."""
    worker = make(POLITE)
    worker.start()
    first = worker.pid
    assert first is not None
    assert worker.revive() is None
    os.kill(first, signal.SIGKILL)
    said: list[str] = []

    def revived() -> bool:
        what = worker.revive()
        said.extend([what] if what else [])
        return bool(said)

    until(revived)
    assert worker.pid != first
    assert worker.n_restarts == 1
    assert f"pid {first}" in said[0]
    assert f"pid {worker.pid}" in said[0]
    assert worker.revive() is None


def test_stopping_waits_for_a_polite_worker(make: Callable[[str], WorkerProcess]) -> None:
    """A worker that ends at SIGTERM is not killed."""
    worker = make(POLITE)
    worker.start()
    until(lambda: "up" in " ".join(log_tail(worker.log_path)))
    assert worker.stop(WAIT_S)


def test_stopping_kills_a_worker_that_does_not_listen(make: Callable[[str], WorkerProcess]) -> None:
    """A worker that ignores SIGTERM is gone after the time-out, too."""
    worker = make(STUBBORN)
    worker.start()
    until(lambda: "deaf" in " ".join(log_tail(worker.log_path)))
    assert not worker.stop(0.1)
    assert worker.pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_worker_ends_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    """Whichever thread has started it: it lives as long as the demo, and no longer."""
    log, told = tmp_path / "worker-1.log", tmp_path / "pid"
    demo = f"""
import os, pathlib, sys, threading, time
from stream_app.demo.workers import WorkerProcess
worker = WorkerProcess(1, os.environ, pathlib.Path({str(log)!r}), (sys.executable, "-c", {POLITE!r}))
thread = threading.Thread(target=worker.start)
thread.start()
thread.join()
pathlib.Path({str(told)!r}).write_text(str(worker.pid))
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", demo], cwd=Path(__file__).parents[3]) as parent:
        try:
            until(lambda: "up" in " ".join(log_tail(log)) and told.exists() and told.read_text() != "")
            pid = int(told.read_text())
            assert runs(pid)
        finally:
            parent.kill()
    until(lambda: not runs(pid))
    assert not runs(pid)


def runs(pid: int) -> bool:
    """Whether a process runs: it is there, and is no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is told where it is started, and not by the end of the process."""
    with pytest.raises(WorkerError, match="cannot be started"):
        WorkerProcess(1, os.environ, tmp_path / "log", (str(tmp_path / "none"),)).start()


def test_a_worker_belongs_to_the_demo_whatever_the_shell_says(tmp_path: Path) -> None:
    """Broker and security of the shell are overruled; other settings of the shell are kept."""
    shell = {
        "CROSSAISLE_BOOTSTRAP_SERVERS": "prod:9092",
        "CROSSAISLE_SECURITY_PROTOCOL": "SASL_SSL",
        "CROSSAISLE_SASL_PASSWORD": "secret",
        "CROSSAISLE_SSL_CAFILE": "ca.pem",
        "CROSSAISLE_SLATE_SIZE": "5",
        "PATH": "/bin",
    }
    settings = Settings(bootstrap_servers="127.0.0.1:4711")
    environment = worker_environment(settings, shell, state_dir=tmp_path, web_port=4712)
    assert environment["CROSSAISLE_BOOTSTRAP_SERVERS"] == "127.0.0.1:4711"
    assert environment["CROSSAISLE_SECURITY_PROTOCOL"] == "PLAINTEXT"
    assert not environment["CROSSAISLE_SASL_PASSWORD"]
    assert not environment["CROSSAISLE_SSL_CAFILE"]
    assert environment["CROSSAISLE_STATE_DIR"] == str(tmp_path)
    assert environment["CROSSAISLE_WEB_PORT"] == "4712"
    assert environment["CROSSAISLE_SLATE_SIZE"] == "5"
    assert environment["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("code", "expected"), [(0, True), (-9, True), (-15, True), (-2, True), (1, False), (3, False), (-11, False)]
)
def test_only_kills_and_polite_ends_come_from_outside(code: int, expected: bool) -> None:  # a parameter
    """A crash, by code or by segmentation fault, is the worker's own."""
    assert ended_from_outside(code) is expected


def test_the_tail_of_a_log_is_its_end(tmp_path: Path) -> None:
    """Of a long log only the last lines that are not blank are shown; a log that is not there has none."""
    log = tmp_path / "log"
    assert log_tail(log) == []
    log.write_text("".join(f"line {number}\n\n" for number in range(100)))
    assert log_tail(log, n_lines=2) == ["line 98", "line 99"]
