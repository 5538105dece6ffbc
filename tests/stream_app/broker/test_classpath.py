"""Tests of fetching Apache Kafka: from a Maven repository on this machine that behaves, or does not."""

from __future__ import annotations

import http.server
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream_app.broker import files as broker_files
from stream_app.broker.classpath import class_path
from stream_app.broker.files import BrokerError, DirectoryLock
from stream_app.broker.jars import Jar, listed_jars, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator

JARS = {jar.name: jar for jar in listed_jars()}


class Repository(http.server.ThreadingHTTPServer):
    """A Maven repository that serves the jars of this machine's cache.

    Attributes
    ----------
    asked
        File names that were asked for.
    spoilt
        File names of which it serves other bytes than it should.
    """

    def __init__(self, jars: list[Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jars = {jar.name: jar for jar in jars}
        self.asked: list[str] = []
        self.spoilt: set[str] = set()

    @property
    def addresses(self) -> dict[str, str]:
        """Its name and address, as the class path wants them."""
        return {"here": f"http://127.0.0.1:{self.server_address[1]}"}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        """Serve a jar, or nothing."""
        name = self.path.rsplit("/", 1)[-1]
        self.server.asked.append(name)
        if name not in self.server.jars:
            self.send_error(404)
            return
        content = self.server.jars[name].read_bytes()
        if name in self.server.spoilt:
            content = bytes(len(content))
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def ignore(_words: str) -> None:
    """Take progress and do nothing with it."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """Yield a running repository; the user's own Maven repository is empty meanwhile."""
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Repository(class_path(ignore)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_list_has_one_version_of_each() -> None:
    """No artifact is listed twice, and all of Kafka is of one version."""
    jars = listed_jars()
    assert len({jar.artifact for jar in jars}) == len(jars)
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {"4.4.0"}


def test_a_jar_is_known_by_its_checksum(tmp_path: Path) -> None:
    """A file of the right size with another content is not the jar, nor is one that is not there."""
    path = tmp_path / "a-1.jar"
    path.write_bytes(b"content")
    jar = Jar("group", "a", "1", 7, sha256_of(path))
    assert jar.name == path.name
    assert jar.is_at(path)
    path.write_bytes(b"another")
    assert not jar.is_at(path)
    assert not jar.is_at(tmp_path / "none.jar")


def test_everything_is_fetched_once(repository: Repository, tmp_path: Path) -> None:
    """An empty cache is filled with progress told; the second time nothing is fetched."""
    words: list[str] = []
    jars = class_path(words.append, tmp_path / "cache", repository.addresses)
    assert [jar.name for jar in jars] == list(JARS)
    assert all(JARS[jar.name].is_at(jar) for jar in jars)
    assert words
    assert all(said.startswith("fetching Apache Kafka") for said in words)
    repository.asked.clear()
    assert class_path(ignore, tmp_path / "cache", repository.addresses) == jars
    assert not repository.asked


def test_the_local_maven_repository_is_used(repository: Repository, tmp_path: Path) -> None:
    """What the user's Maven repository has is copied; what it has in a damaged form is fetched."""
    name, damaged = list(JARS)[:2]
    for each in (name, damaged):
        jar = JARS[each]
        path = tmp_path / "m2" / jar.group.replace(".", "/") / jar.artifact / jar.version / each
        path.parent.mkdir(parents=True)
        shutil.copyfile(repository.jars[each], path)
        if each == damaged:
            path.write_bytes(path.read_bytes()[:-1])
    class_path(ignore, tmp_path / "cache", repository.addresses)
    assert name not in repository.asked
    assert damaged in repository.asked
    assert JARS[damaged].is_at(tmp_path / "cache" / damaged)


def test_wrong_content_is_refused(repository: Repository, tmp_path: Path) -> None:
    """A jar with another content than listed is asked for again, then named, and never gets into the cache."""
    name = next(iter(JARS))
    repository.spoilt.add(name)
    with pytest.raises(BrokerError, match=rf"{name}.*another checksum.*try again"):
        class_path(ignore, tmp_path / "cache", repository.addresses)
    assert repository.asked.count(name) == 3
    assert not (tmp_path / "cache" / name).exists()


def test_an_interrupted_download_goes_on(repository: Repository, tmp_path: Path) -> None:
    """What the progress raises ends the download; whole jars are kept, no others, and the next one fetches the rest."""
    cache = tmp_path / "cache"

    def stop(words: str) -> None:
        if any(cache.glob("*.jar")):
            raise RuntimeError(words)

    last = list(JARS)[-1]
    repository.spoilt.add(last)  # so that it cannot be complete already
    with pytest.raises(RuntimeError, match="fetching"):
        class_path(stop, cache, repository.addresses)
    kept = [path.name for path in cache.glob("*.jar")]
    assert kept
    assert all(JARS[name].is_at(cache / name) for name in kept)
    assert not list(cache.glob("download-*"))
    repository.spoilt.clear()
    repository.asked.clear()
    class_path(ignore, cache, repository.addresses)
    assert not set(kept) & set(repository.asked)


def test_no_network_names_the_remedy(repository: Repository, tmp_path: Path) -> None:
    """Without a repository the error names its address and what to check."""
    addresses = repository.addresses
    repository.server_close()
    with pytest.raises(BrokerError, match=rf"from {addresses['here']} .*check the network, and HTTPS_PROXY"):
        class_path(ignore, tmp_path / "cache", addresses)


def test_one_process_downloads_at_a_time(repository: Repository, tmp_path: Path) -> None:
    """A second download waits for the first one, says so, and can be stopped."""
    cache = tmp_path / "cache"
    cache.mkdir()
    lock = DirectoryLock(cache)
    assert lock.acquire()

    def stop(words: str) -> None:
        raise RuntimeError(words)

    with pytest.raises(RuntimeError, match="waiting for another process"):
        class_path(stop, cache, repository.addresses)
    lock.release()
    assert not repository.asked
    class_path(ignore, cache, repository.addresses)


def test_a_full_disk_is_told_before_the_download(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little space is named with the remedy, and nothing is fetched."""
    monkeypatch.setattr(broker_files, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(BrokerError, match=r"is full .*make room, or set XDG_CACHE_HOME"):
        class_path(ignore, tmp_path / "cache", repository.addresses)
    assert not repository.asked


def test_a_cache_that_is_a_file_is_named(repository: Repository, tmp_path: Path) -> None:
    """A cache that cannot be written to is named, with the way around it."""
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BrokerError, match=r"cannot write to .*cache.*XDG_CACHE_HOME"):
        class_path(ignore, tmp_path / "cache", repository.addresses)
