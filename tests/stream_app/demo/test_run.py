"""The demo as users run it: on a real broker with real workers, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream_app.broker.ports import HOST
from stream_app.demo.options import DemoError, DemoOptions
from stream_app.demo.report import PlainView
from stream_app.demo.run import Demo

if TYPE_CHECKING:
    from collections.abc import Iterator

N_HOUSEHOLDS = 20
N_ITEMS = 60
WAIT_S = 240.0
COMMAND = (sys.executable, "-m", "stream_app.cli.main", "demo")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """Write a small shop: events, a catalogue of 12 categories, and how many events there are."""
    folder = tmp_path_factory.mktemp("shop")
    events, catalog = folder / "events.jsonl", folder / "catalog.jsonl"
    items = [
        {"item_id": f"i{number}", "category": ["food", f"c{number % 12}"], "title": f"Item {number}"}
        for number in range(N_ITEMS)
    ]
    catalog.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    lines: list[str] = []
    for basket in range(120):
        for place in range(5):
            number = len(lines)
            event = {
                "event_id": f"e{number}",
                "type": "purchase",
                "user_id": f"u{basket % N_HOUSEHOLDS}",
                "item_id": f"i{(basket * 7 + place * 13) % N_ITEMS}",
                "event_time_ms": 1_483_272_000_000 + basket * 60_000,
                "session_id": f"b{basket}",
            }
            lines.append(f"{json.dumps(event)}\n")
    events.write_text("".join(lines))
    return events, catalog, len(lines)


class Running:
    """A demo in a process of its own, with its lines as they come."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self.process = process
        self.home = home
        self.lines: list[str] = []

    def until(self, words: str) -> str:
        """Read lines until one holds the words, return it, and fail if the demo ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if words in line:
                return line
        pytest.fail(f"the demo ended without {words!r}:\n" + "\n".join(self.lines))

    def until_caught_up(self) -> None:
        """Read lines until all events are learned that are sent by now."""
        n_sent, _ = self._numbers()
        while self._numbers()[1] < n_sent:
            pass

    def _numbers(self) -> tuple[int, int]:
        """Return the events sent and learned of the next line that has them."""
        found = re.search(r"events ([\d,]+) .* learned ([\d,]+) ", self.until("  events "))
        assert found is not None
        return int(found[1].replace(",", "")), int(found[2].replace(",", ""))

    def end(self) -> str:
        """Read what is left and return all lines once the demo has ended with exit code 0."""
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in self.process.stdout)
        text = "\n".join(self.lines)
        assert self.process.wait(WAIT_S) == 0, text
        return text

    def processes(self) -> list[int]:
        """Return the processes that belong to this demo, found by the folder in their environment."""
        return processes_of(self.home)


def processes_of(home: Path) -> list[int]:
    """Return the ids of all processes whose environment names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"XDG_DATA_HOME={home}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # It has just ended, or is not ours.
    return found


@contextmanager
def running(home: Path, *arguments: str) -> Iterator[Running]:
    """Run the demo with data of its own, and leave nothing of it behind."""
    environment = {**os.environ, "XDG_DATA_HOME": str(home), "COLUMNS": "200"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield Running(process, home)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until_gone(pids: list[int]) -> None:
    """Wait until none of the processes is left, and fail if one stays."""
    deadline_s = time.monotonic() + 120.0
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline_s, f"still there: {pids}"
        time.sleep(0.05)


needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")


@pytest.mark.slow
@needs_proc
def test_a_demo_in_a_pipe_ends_by_itself_with_everything_learned(tmp_path: Path, files: tuple[Path, Path, int]) -> None:
    """Without a terminal it prints lines, ends when all events are learned, and says that each was, exactly once."""
    events, catalog, n_events = files
    with running(tmp_path, "--events", str(events), "--catalog", str(catalog), "--rate", "200") as demo:
        demo.until("slates")
        assert demo.processes()
        text = demo.end()
    assert "household u" in text, text
    assert f"learned     {n_events} of {n_events}, each exactly once" in text
    assert f"{N_HOUSEHOLDS} households in 120 baskets" in text
    assert "watch --user u" in text
    assert processes_of(tmp_path) == []


@pytest.mark.slow
@needs_proc
def test_killed_worker_comes_back_and_sigterm_ends_all(tmp_path: Path, files: tuple[Path, Path, int]) -> None:
    """A worker killed with SIGKILL is replaced and nothing is lost; SIGTERM then ends every process, exit code 0."""
    events, catalog, _ = files
    arguments = ("--events", str(events), "--catalog", str(catalog), "--rate", "20", "--duration", "600")
    with running(tmp_path, *arguments) as demo:
        demo.until("household u")
        worker = next(pid for pid in demo.processes() if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        demo.until("was killed (SIGKILL); started again as pid")
        demo.until_caught_up()
        pids = demo.processes()
        demo.process.send_signal(signal.SIGTERM)
        text = demo.end()
    assert "each exactly once, although a worker was ended 1 time" in text
    wait_until_gone(pids)


@pytest.mark.slow
async def test_a_worker_that_cannot_run_ends_the_demo_with_its_log(
    tmp_path: Path, files: tuple[Path, Path, int]
) -> None:
    """When a worker fails by itself, the broker is stopped, and the error shows the worker's last words."""
    events, catalog, _ = files
    command = (sys.executable, "-c", "raise SystemExit('no kernels today')")
    options = DemoOptions(events=events, catalog=catalog, data_dir=tmp_path / "demo", worker_command=command)
    demo = Demo(options, PlainView(lambda _: None))
    with pytest.raises(DemoError, match="no kernels today"):
        await demo.run()
    host, port = demo.state.bootstrap_servers.split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def run_briefly(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a demo that is to fail before it starts anything."""
    environment = {**os.environ, "XDG_DATA_HOME": str(home)}
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S
    )


def test_a_taken_port_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """The asked port is taken: exit code 1, and one line that names it and says what to do."""
    with socket.create_server((HOST, 0)) as other:
        port = int(other.getsockname()[1])
        done = run_briefly(tmp_path, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} ")
    assert "--port" in done.stderr
    assert done.stdout == ""


def test_events_without_a_catalogue_are_refused(tmp_path: Path, files: tuple[Path, Path, int]) -> None:
    """Own events need the catalogue they are about."""
    done = run_briefly(tmp_path, "--events", str(files[0]))
    assert done.returncode == 1
    assert "--catalog" in done.stderr


@pytest.mark.slow
def test_a_missing_file_is_named(tmp_path: Path, files: tuple[Path, Path, int]) -> None:
    """A file that is not there is an error that names it, and the broker that was starting is stopped."""
    missing = tmp_path / "missing.jsonl"
    done = run_briefly(tmp_path, "--events", str(missing), "--catalog", str(files[1]))
    assert done.returncode == 1
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr
