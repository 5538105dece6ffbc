"""Checks of this machine: libraries, disk, memory, the web port, and what the embedded broker needs."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
from packaging.requirements import Requirement

from state.layout import ENTITY_HEADER, ENTITY_PAGES, USER_HEADER, USER_PAGES
from stream_app.broker.classpath import cached_jars
from stream_app.broker.files import BrokerError
from stream_app.broker.java import find_java, java_candidates
from stream_app.direct import ask
from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.settings import PREFIX
from stream_app.web.guard import ExposedError, check_exposure

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.settings import Settings

LOW_BYTES: Final = 256 << 20
"""Less free space than this stops a worker soon."""
SCARCE_BYTES: Final = 2 << 30
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_LIBRARIES: Final = ("crossaisle", "faust-streaming", "aiokafka", "numpy", "numba", "rocksdict", "msgspec")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_WEB_TIMEOUT_S: Final = 2.0


def check_versions(settings: Settings) -> list[Finding]:
    """Name the versions, which a report of a defect needs, and compare them with what this version was made for."""
    del settings
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    found = f"Python {platform.python_version()}, {libraries}"
    wrong = [text for line in requires("crossaisle") or () if (text := _unmet(Requirement(line)))]
    if wrong:
        remedy = "install crossaisle anew, in an environment of its own: pip install --upgrade crossaisle"
        return [error("versions", f"{found}; {', '.join(wrong)}", "what this version was made for", remedy)]
    return [ok("versions", found, "Python 3.11 or newer, and what this version was made for")]


def _unmet(wanted: Requirement) -> str:
    """Say what is installed where it is not what is wanted; nothing where it is, or only an extra asks for it."""
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return ""
    try:
        installed = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is missing"
    is_met = wanted.specifier.contains(installed, prereleases=True)
    return "" if is_met else f"{wanted.name} {installed} is not {wanted}"


def check_disk(settings: Settings) -> list[Finding]:
    """Check that the directory of the local stores can be written to, or be made, and has room."""
    directory, remedy = settings.state_dir, f"make it writable, or set {PREFIX}STATE_DIR to another directory"
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there) as file:
            file.write(b"crossaisle")
            file.flush()
    except OSError as problem:
        why = problem.strerror or str(problem)
        if problem.errno in _NO_ROOM:
            remedy = f"make room, or set {PREFIX}STATE_DIR to a directory on another disk"
        return [error("disk", f"{directory} cannot be written to: {why}", "a writable directory", remedy)]
    return judge_space(directory, shutil.disk_usage(there).free)


def judge_space(directory: Path, free: int) -> list[Finding]:
    """Judge the free space of a directory, in bytes."""
    found, wanted = f"{directory}: writable, {_size(free)} free", f"at least {_size(SCARCE_BYTES)} free"
    remedy = f"make room, or set {PREFIX}STATE_DIR to a directory on another disk"
    if free < LOW_BYTES:
        return [error("disk", found, wanted, remedy)]
    if free < SCARCE_BYTES:
        return [warning("disk", found, wanted, remedy)]
    return [ok("disk", found, wanted)]


def check_memory(settings: Settings, n_user: int, n_item: int) -> list[Finding]:
    """Compare the memory that is available with what all tasks may take, were they all in one worker.

    Parameters
    ----------
    n_user, n_item
        Tasks of each stage: partitions of its input topic.
    """
    needed = rows_bytes(settings.hot_rows, n_user, n_item)
    available = psutil.virtual_memory().available
    limit = _container_limit()
    if limit is not None:
        available = min(available, limit)
    found = (
        f"{_size(available)} available; {settings.hot_rows:,} hot rows in each of {n_user} user and "
        f"{n_item} item tasks may take {_size(needed)}"
    )
    wanted = "room for all tasks in one worker"
    if needed <= available:
        return [ok("memory", found, wanted)]
    remedy = f"lower {PREFIX}HOT_ROWS, or run workers on more machines: they share out the tasks"
    return [warning("memory", found, wanted, remedy)]


def rows_bytes(hot_rows: int, n_user: int, n_item: int) -> int:
    """Return what full tables take, in bytes, when each row has its header and one page of each chain."""
    user = USER_HEADER.itemsize + sum(page.itemsize for page in USER_PAGES)
    entity = ENTITY_HEADER.itemsize + sum(page.itemsize for page in ENTITY_PAGES)
    return hot_rows * (n_user * user + n_item * entity)


def check_web(settings: Settings) -> list[Finding]:
    """Check that the web port is free, and who could reach it."""
    host, port = settings.web_host, settings.web_port
    findings = [_check_port(host, port)]
    try:
        check_exposure(settings)
    except ExposedError as problem:
        remedy = f"set {PREFIX}WEB_TOKEN, or {PREFIX}WEB_HOST=127.0.0.1"
        findings.append(error("web", str(problem), "a token where others can reach it", remedy))
    return findings


def _check_port(host: str, port: int) -> Finding:
    found, wanted = f"{host}:{port} is free", "a free port"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as problem:
        remedy = f"set {PREFIX}WEB_PORT to a free port"
        if problem.errno != errno.EADDRINUSE:
            why = problem.strerror or str(problem)
            return error("web", f"{host}:{port} cannot be bound: {why}", wanted, f"{remedy}, or {PREFIX}WEB_HOST")
        if _worker_answers(host, port):
            found = f"a worker runs at {host}:{port}"
            return warning("web", found, wanted, f"{remedy} for another worker on this machine")
        return error("web", f"{host}:{port} is taken by another program", wanted, remedy)
    return ok("web", found, wanted)


def _worker_answers(host: str, port: int) -> bool:
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}/health/live"  # noqa: S104 - compared
    page = ask(address, _WEB_TIMEOUT_S)
    return page is not None and b'"live"' in page.begin


def check_embedded(settings: Settings) -> list[Finding]:
    """Check what `crossaisle broker` needs, where the broker is to be on this machine."""
    hosts = {address.strip().rpartition(":")[0] for address in settings.bootstrap_servers.split(",")}
    if not hosts <= set(_LOOPBACK):
        return []
    wanted = "a Java of version 17 or newer, and Apache Kafka"
    try:
        java = find_java(java_candidates(os.environ))
    except BrokerError as problem:
        remedy = "do so, if you want `crossaisle broker` or `crossaisle demo`"
        return [warning("embedded", str(problem), wanted, remedy)]
    n_there, n_jars = cached_jars()
    jars = "Apache Kafka is in the cache" if n_there == n_jars else "Apache Kafka will be downloaded once (45 MB)"
    return [ok("embedded", f"{java}; {jars}", wanted)]


def _container_limit() -> int | None:
    """Return what the container may take, in bytes; None without a limit."""
    try:
        text = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _size(n_bytes: int) -> str:
    return f"{n_bytes / (1 << 30):.1f} GiB" if n_bytes >= 1 << 30 else f"{n_bytes / (1 << 20):.0f} MiB"


CHECKS: Final[tuple[Callable[[Settings], list[Finding]], ...]] = (
    check_versions,
    check_disk,
    check_web,
    check_embedded,
)
"""All of them that ask no broker, in their order."""
