"""The demo's worker processes: started, watched, started again when someone kills them, and stopped."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from stream_app.broker.process import ChildProcess
from stream_app.settings import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream_app.settings import Settings

TAIL_LINES: Final = 20
STOP_TIMEOUT_S: Final = 8.0
KILLS_TOLERATED: Final = 20
"""How often a worker may be killed from outside before the demo takes it for a fault (the system kills for memory)."""


class WorkerError(Exception):
    """A worker ended by itself. The message holds the end of its log and the remedy."""


def worker_environment(
    settings: Settings, environment: Mapping[str, str], *, state_dir: Path, web_port: int
) -> dict[str, str]:
    """Return the environment of a worker that belongs to the demo, whatever the shell or a ``.env`` says.

    Parameters
    ----------
    settings
        The demo's settings: broker, application and partitions come from here.
    environment
        The environment to start from; other ``CROSSAISLE_`` variables in it are kept, so a setting can be tried out.
    state_dir
        Folder of this worker's local stores.
    web_port
        Port of this worker's HTTP server.
    """
    own = {
        "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "APP_ID": settings.app_id,
        "STATE_DIR": str(state_dir),
        "WEB_HOST": "127.0.0.1",
        "WEB_PORT": str(web_port),
        "WEB_ADVERTISE": "",
        "SECURITY_PROTOCOL": "PLAINTEXT",
        **{name.upper(): "" for name in CREDENTIALS},
        "PARTITIONS": str(settings.partitions),
        "REPLICATION_FACTOR": "1",
    }
    return {**environment, **{f"CROSSAISLE_{name}": value for name, value in own.items()}, "PYTHONUNBUFFERED": "1"}


class WorkerProcess:
    """One ``crossaisle worker`` with a log file.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches the demo alone, which stops it in order. On
    Linux it ends with the demo, should that be killed.

    Parameters
    ----------
    number
        Its number in the demo, from 1; only for messages.
    environment
        Environment of the process.
    log_path
        File that takes what it prints; appended to.
    command
        What to run; the worker command of this Python by default.
    """

    def __init__(
        self, number: int, environment: Mapping[str, str], log_path: Path, command: tuple[str, ...] | None = None
    ) -> None:
        self.number = number
        self.log_path = log_path
        self.n_restarts = 0
        self._environment = dict(environment)
        self._command = command or (sys.executable, "-m", "stream_app.cli.main", "worker")
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id; ``None`` before the first start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process.

        Raises
        ------
        WorkerError
            The system does not start it.
        """
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._process = ChildProcess(
                self._command, output=self.log_path, environment=self._environment, append=True
            )
        except OSError as error:
            message = f"worker {self.number} cannot be started: {error}; check that {self._command[0]} runs"
            raise WorkerError(message) from error

    def revive(self) -> str | None:
        """Start the process again if someone has ended it.

        Returns
        -------
        str | None
            What happened, in a sentence; ``None`` while it runs.

        Raises
        ------
        WorkerError
            It ended by a fault of its own, or has been killed too often; the message shows the end of its log.
        """
        code = None if self._process is None else self._process.wait(0)
        if code is None:
            return None
        if not ended_from_outside(code) or self.n_restarts >= KILLS_TOLERATED:
            raise WorkerError(self._obituary(code))
        ended = f"worker {self.number} (pid {self.pid}) was {_cause(code)}"
        self.n_restarts += 1
        self.start()
        return f"{ended}; started again as pid {self.pid}: it goes on from the last commit"

    def ask_to_stop(self) -> None:
        """Send SIGTERM, at which a worker commits and ends; nothing happens when it does not run."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Wait until the process has ended, and kill it with all its children if it has not in time.

        Returns
        -------
        bool
            Whether it ended by itself.
        """
        if self._process is None:
            return True
        self.ask_to_stop()
        if self._process.wait(timeout_s) is None:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """End the process and all its children at once; nothing happens when it does not run."""
        if self._process is not None:
            self._process.kill()

    def _obituary(self, code: int) -> str:
        how = (
            f"was {_cause(code)} {self.n_restarts + 1} times" if ended_from_outside(code) else f"ended with code {code}"
        )
        lines = log_tail(self.log_path)
        shown = "\n".join(f"  {line}" for line in lines) if lines else "  (it has printed nothing)"
        return (
            f"worker {self.number} {how}. The end of its log:\n{shown}\n"
            f"The whole log is {self.log_path}: put right what it names, then run `crossaisle demo` again."
        )


def ended_from_outside(code: int) -> bool:
    """Whether an exit code means that someone ended the process: killed, terminated, interrupted, or asked politely."""
    return code == 0 or -code in {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM)}


def _cause(code: int) -> str:
    if code == 0:
        return "stopped"
    name = signal.Signals(-code).name
    return "killed (SIGKILL)" if name == "SIGKILL" else f"ended by {name}"


def log_tail(path: Path, n_lines: int = TAIL_LINES, n_bytes: int = 32_768) -> list[str]:
    """Return the last ``n_lines`` lines that are not blank; none when the file is not there.

    At most the last ``n_bytes`` bytes of the file are looked at.
    """
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - n_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-n_lines:]
