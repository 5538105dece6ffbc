"""Processes of the broker and of the demo's workers: started so that they end with this one, whatever ends this one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LAUNCHER: Final = """\
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks Linux to kill it (9) when its parent dies (1, PR_SET_PDEATHSIG), makes sure that it still lives, and becomes the
program. Between fork and exec this process could not do it: other threads may hold locks."""


class ChildProcess:
    """A program that runs until it is ended, or until this process ends: on Linux also when that is killed.

    It has a session of its own: Ctrl-C in a terminal reaches this process alone, which then ends it in order.

    Parameters
    ----------
    command
        Program and arguments.
    directory
        Where it runs; None: where this process does.
    output
        File that takes what it prints; written anew, or appended to if ``append`` says so.
    descriptors
        Open files that it inherits.
    environment
        Its environment; None: that of this process.

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path,
        directory: Path | None = None,
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        append: bool = False,
    ) -> None:
        if sys.platform == "linux" and sys.executable:
            program = shutil.which(command[0])
            if program is None:  # the launcher would start, and end without it
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
            command = [program, *command[1:]]
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
        self._command = command
        self._directory = directory
        self._output = output
        self._descriptors = descriptors
        self._environment = environment
        self._mode = "ab" if append else "wb"
        self._started = threading.Event()
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        # Linux ends the program with the thread that started it, so that is one which lives as long as the program.
        threading.Thread(target=self._keep, name="child", daemon=True).start()
        self._started.wait()
        if self._error is not None:
            raise self._error

    def _keep(self) -> None:
        try:
            with self._output.open(self._mode) as output:
                self._process = subprocess.Popen(  # noqa: S603 - the project's own commands
                    self._command,
                    cwd=self._directory,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=() if sys.platform == "win32" else tuple(self._descriptors),
                    start_new_session=True,
                )
        except OSError as error:
            self._error = error
        finally:
            self._started.set()
        if self._process is not None:
            self._process.wait()
            self._ended.set()

    @property
    def pid(self) -> int:
        """Its process id."""
        return 0 if self._process is None else self._process.pid

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until it has ended, at most so many seconds; return its exit code, or ``None`` if it still runs."""
        if self._process is None or not self._ended.wait(timeout_s):
            return None
        return self._process.returncode

    def terminate(self) -> None:
        """Ask it to end in order."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all its children at once, and wait until it is gone; its children stay if it had ended before."""
        if self._process is None or self._ended.is_set():
            return
        if sys.platform == "win32":
            self._process.kill()
        elif self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._ended.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
