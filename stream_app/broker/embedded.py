"""The embedded broker: a real, single-node Apache Kafka in a process of its own, on 127.0.0.1.

It is what ``crossaisle broker``, the demo, the tests and the benchmarks run. It is not for production: one node, no
replicas, no authentication.
"""

from __future__ import annotations

import atexit
import os
import shutil
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from platformdirs import user_data_path

from stream_app.broker.classpath import class_path
from stream_app.broker.config import (
    FORMER_LOG_NAME,
    LOG4J_NAME,
    LOG_NAME,
    NEW_TOPICS_NAME,
    OUTPUT_NAME,
    PROPERTIES_NAME,
    TOPICS_NAME,
    cluster_id_of,
    new_cluster_id,
    write_config,
)
from stream_app.broker.files import BrokerError, DirectoryLock, check_space, refusals
from stream_app.broker.jars import KAFKA_VERSION
from stream_app.broker.java import find_java, java_candidates
from stream_app.broker.ports import HOST, check_port, free_port, serving_cluster
from stream_app.broker.process import ChildProcess
from stream_app.broker.trouble import ended_error, late_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["DEFAULT_PORT", "BrokerError", "EmbeddedBroker"]

DEFAULT_PORT: Final = 9092
START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 20.0

_FORMAT_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
_PROGRESS_EVERY_S: Final = 0.25
_JVM: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
_REMEDY: Final = "choose another directory with --data"


class EmbeddedBroker:
    """An Apache Kafka that this process starts and stops; it ends with this process in any case.

    Parameters
    ----------
    data_dir
        Where its topics are kept; they stay between runs. A directory in the user's data directory if None.
    port
        Port on 127.0.0.1; a free one if None. It stays the same when the same object starts again.
    progress
        Takes a few words while it downloads and starts, several times a second, in the thread that starts it. What it
        raises ends the start, and `start` raises it.
    start_timeout_s
        How long Apache Kafka may take until it accepts connections, in seconds.
    properties
        Further properties of Kafka, such as an authorizer; they win over those that are set here.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        progress: Callable[[str], None] | None = None,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.data_dir = (data_dir if data_dir is not None else user_data_path("crossaisle") / "broker").absolute()
        self.port = port
        self._progress = progress if progress is not None else _say_nothing
        self._start_timeout_s = start_timeout_s
        self._properties = properties
        self._lock = DirectoryLock(self.data_dir)
        self._process: ChildProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients, ``host:port``; known once it has been started, or if a port was given."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it is not started."""
        return self._process.pid if self._process is not None else None

    @property
    def log_path(self) -> Path:
        """File that the broker's own log goes to."""
        return self.data_dir / LOG_NAME

    def start(self) -> None:
        """Start it and return when it accepts connections; does nothing if it runs.

        Raises
        ------
        BrokerError
            The port is taken, the data directory is in use or cannot be written, the disk is full, no Java runs, Kafka
            cannot be fetched, or it does not come up.
        """
        if self._process is not None and self._process.wait(0) is None:
            return
        self.kill()  # what is left of a run that ended by itself
        port = self.port if self.port is not None else free_port()
        check_port(port)
        self._progress("looking for a Java")
        java = find_java(java_candidates(os.environ))
        jars = class_path(self._progress)
        try:
            with refusals(self.data_dir, _REMEDY):
                self._take_lock(port)
                self._launch([str(java), *_JVM, "-cp", os.pathsep.join(map(str, jars))], port)
            self._wait_until_up(port)
        except BaseException:
            self.kill()
            raise
        self.port = port
        atexit.register(self.kill)

    def _take_lock(self, port: int) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        check_space(self.data_dir, _REMEDY)
        if not self._lock.acquire():
            holder = self._lock.holder()
            message = (
                f"another broker uses {self.data_dir}{f' ({holder})' if holder else ''}: stop it, or give this one a "
                "directory of its own with --data"
            )
            raise BrokerError(message)
        self._lock.describe(f"started by process {os.getpid()}, at {HOST}:{port}")

    def _launch(self, java: Sequence[str], port: int) -> None:
        if self.log_path.exists():
            self.log_path.replace(self.data_dir / FORMER_LOG_NAME)
        self._format(java)
        write_config(self.data_dir, port, free_port(), properties=self._properties)
        self._progress(f"starting Apache Kafka {KAFKA_VERSION}")
        command = [*java, f"-Dlog4j2.configurationFile={LOG4J_NAME}", "kafka.Kafka", PROPERTIES_NAME]
        self._process = ChildProcess(
            command,
            directory=self.data_dir,
            output=self.data_dir / OUTPUT_NAME,
            descriptors=self._lock.descriptors,
        )

    def _format(self, java: Sequence[str]) -> None:
        """Make the topics' directory if there is none yet: aside, so that it is there whole or not at all."""
        if (self.data_dir / TOPICS_NAME).exists():
            return
        self._progress("making a place for its topics")
        new = self.data_dir / NEW_TOPICS_NAME
        shutil.rmtree(new, ignore_errors=True)
        # The ports are not used, but must be some.
        write_config(self.data_dir, DEFAULT_PORT, DEFAULT_PORT + 1, topics=NEW_TOPICS_NAME)
        formatting = ChildProcess(
            [*java, "kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", PROPERTIES_NAME],
            directory=self.data_dir,
            output=self.data_dir / OUTPUT_NAME,
        )
        self._process = formatting
        self._wait(lambda: formatting.wait(0) == 0, "making a place for its topics", _FORMAT_TIMEOUT_S)
        new.rename(self.data_dir / TOPICS_NAME)

    def _wait_until_up(self, port: int) -> None:
        cluster_id = cluster_id_of(self.data_dir)
        if cluster_id is None:
            message = (
                f"{self.data_dir / TOPICS_NAME} holds no data of Apache Kafka: {_REMEDY}, or delete this one if "
                "nothing in it is of worth"
            )
            raise BrokerError(message)
        self._wait(lambda: serving_cluster(port) == cluster_id, f"starting Apache Kafka {KAFKA_VERSION}")

    def _wait(self, is_done: Callable[[], bool], what: str, timeout_s: float | None = None) -> None:
        """Wait for the process that runs to have done something; say so meanwhile, and raise if it ends or is late."""
        began_s = said_s = time.monotonic()
        limit_s = self._start_timeout_s if timeout_s is None else timeout_s
        while not is_done():
            exit_code = self._process.wait(_POLL_S) if self._process is not None else -1
            if exit_code is not None and not is_done():
                raise ended_error(self.data_dir, exit_code, f"while {what}")
            now_s = time.monotonic()
            if now_s - began_s > limit_s:
                raise late_error(self.data_dir, limit_s)
            if now_s - said_s > _PROGRESS_EVERY_S:
                said_s = now_s
                self._progress(f"{what} ({now_s - began_s:.0f} s)")

    def check(self, within_s: float = 0.0) -> None:
        """Return if it runs, or was stopped; wait so many seconds for its end.

        Raises
        ------
        BrokerError
            It has ended by itself, or was ended from outside.
        """
        exit_code = self._process.wait(within_s) if self._process is not None else None
        if exit_code is not None:
            raise ended_error(self.data_dir, exit_code, "while running")

    def stop(self) -> None:
        """Stop it in order; if that takes longer than ``STOP_TIMEOUT_S``, at once. Does nothing if it does not run."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End it at once, as kill -9 does: all that clients were told is written is there at its next start."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        self._lock.release()
        atexit.unregister(self.kill)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _say_nothing(_words: str) -> None:
    pass
