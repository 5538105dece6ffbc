"""The class path of Apache Kafka: jars downloaded once, checked at each use, mended when damaged."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platformdirs import user_cache_path

from stream_app.broker.files import BrokerError, DirectoryLock, check_space, refusals
from stream_app.broker.jars import KAFKA_VERSION, Jar, listed_jars
from stream_app.broker.java import INSTALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_N_THREADS: Final = 8
_N_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 15
_TICK_S: Final = 0.2
_REMEDY: Final = "set XDG_CACHE_HOME to a directory elsewhere"


def class_path(
    progress: Callable[[str], None], cache: Path | None = None, repositories: dict[str, str] | None = None
) -> list[Path]:
    """Return the jars of Apache Kafka in the order of the class path; the first call on a machine downloads 45 MB.

    Each call compares every jar with its checksum; one that is gone or damaged is fetched anew.

    Parameters
    ----------
    progress
        Takes a few words while it downloads, several times a second; what it raises ends the download.
    cache
        Directory for the jars; one in the user's cache directory if None.
    repositories
        Names and addresses of the Maven repositories to download from; Maven Central, and those of the user's
        settings of ``jgo``, if None.

    Raises
    ------
    BrokerError
        A jar can neither be found nor fetched, or the disk is full.
    """
    home, jars = _home(cache), listed_jars()
    if any(not jar.is_at(home / jar.name) for jar in jars):
        with refusals(home, _REMEDY):
            home.mkdir(parents=True, exist_ok=True)
            check_space(home, _REMEDY)
            with _alone(home, progress):
                missing = [jar for jar in jars if not jar.is_at(home / jar.name)]
                _Download(missing, home, progress).run(repositories)
    return [home / jar.name for jar in jars]


def cached_jars(cache: Path | None = None) -> tuple[int, int]:
    """Return how many jars of Apache Kafka are in the cache, whole, and how many there are; nothing is downloaded."""
    home, jars = _home(cache), listed_jars()
    return sum(jar.is_at(home / jar.name) for jar in jars), len(jars)


def _home(cache: Path | None) -> Path:
    return cache if cache is not None else user_cache_path("crossaisle") / f"kafka-{KAFKA_VERSION}"


@contextlib.contextmanager
def _alone(home: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process downloads, and keep others waiting."""
    lock = DirectoryLock(home)
    while not lock.acquire():
        progress("waiting for another process that downloads Apache Kafka")
        time.sleep(_TICK_S)
    try:
        yield
    finally:
        lock.release()


class _EndedError(Exception):
    """One download ends because another one failed, or because someone stops it."""


class _Download:
    """Brings jars into a directory, several at once; each appears there whole and checked, or not at all."""

    def __init__(self, jars: list[Jar], home: Path, progress: Callable[[str], None]) -> None:
        self._jars = jars
        self._home = home
        self._progress = progress
        self._n_bytes = 0
        self._counting = threading.Lock()
        self._ending = threading.Event()

    def run(self, repositories: dict[str, str] | None) -> None:
        """Bring all of them. What has arrived stays, so that another run goes on from there."""
        for stale in self._home.glob("download-*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=self._home, ignore_cleanup_errors=True) as staging:
            context = _maven_context(Path(staging), self._count, repositories)
            with ThreadPoolExecutor(_N_THREADS, thread_name_prefix="download") as pool:
                pending = [pool.submit(self._bring, jar, context) for jar in self._jars]
                try:
                    self._watch(pending)
                finally:
                    self._ending.set()
                    pool.shutdown(cancel_futures=True)

    def _watch(self, pending: list[Future[None]]) -> None:
        total = sum(jar.n_bytes for jar in self._jars)
        while True:
            done, open_ = wait(pending, timeout=_TICK_S, return_when=FIRST_EXCEPTION)
            self._progress(
                f"fetching Apache Kafka {KAFKA_VERSION}, once: {min(self._n_bytes, total) / 1e6:.0f} of "
                f"{total / 1e6:.0f} MB"
            )
            for future in done:
                future.result()
            if not open_:
                return

    @contextlib.contextmanager
    def _count(self, _name: str, _total: int) -> Iterator[Callable[[int], None]]:
        yield self._advance

    def _advance(self, n_bytes: int) -> None:
        with self._counting:
            self._n_bytes += n_bytes
        if self._ending.is_set():
            raise _EndedError

    def _bring(self, jar: Jar, context: Any) -> None:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        path: Path = artifact.cached_path
        local = _local_repository() / path.relative_to(context.repo_cache)
        if jar.is_at(local):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local, path)
            self._advance(jar.n_bytes)
            path.replace(self._home / jar.name)
            return
        for attempt in range(1, _N_ATTEMPTS + 1):
            why = _fetch(artifact)
            if why is None and jar.is_at(path):
                path.replace(self._home / jar.name)
                return
            path.unlink(missing_ok=True)
            if self._ending.wait(attempt if attempt < _N_ATTEMPTS else 0):
                raise _EndedError
        message = (
            f"{jar.name} of Apache Kafka could not be fetched from {', '.join(context.remote_repos.values())} "
            f"({why or 'what arrived has another checksum'}): check the network, and HTTPS_PROXY if there is a proxy, "
            "and try again; what has arrived is kept"
        )
        raise BrokerError(message)


def _fetch(artifact: Any) -> str | None:
    """Download one jar to where ``jgo`` puts it; return why it went wrong, if it did."""
    import requests  # noqa: PLC0415 - comes with jgo

    try:
        artifact.resolve()
    except requests.ConnectionError as error:
        return type(error).__name__
    except (requests.RequestException, RuntimeError) as error:
        return str(error)
    return None


def _maven_context(staging: Path, count: Callable[[str, int], Any], repositories: dict[str, str] | None) -> Any:
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 - an extra, it may not be installed
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - as above
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - as above
    except ImportError as error:
        message = f"the package jgo is not installed, it fetches Apache Kafka: {INSTALL}"
        raise BrokerError(message) from error
    if repositories is None:
        repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(
        resolver=PythonResolver(progress_callback=count),
        repo_cache=staging,
        local_repos=[],
        remote_repos=repositories,
        timeout=_TIMEOUT_S,
    )


def _local_repository() -> Path:
    """Return the user's Maven repository: ``M2_REPO``, else ``~/.m2/repository``."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 - comes with jgo

    return Path(GlobalSettings.load().repo_cache)
