"""The doctor on this machine: settings, disk, memory and web port, well and broken on purpose."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr, ValidationError

from stream_app.broker.ports import free_port
from stream_app.doctor import local
from stream_app.doctor.cluster import check_versions
from stream_app.doctor.environment import check_environment, check_together, wrong_settings
from stream_app.doctor.local import (
    LOW_BYTES,
    SCARCE_BYTES,
    check_disk,
    check_embedded,
    check_memory,
    check_web,
    judge_space,
    rows_bytes,
)
from stream_app.settings import Settings
from tests.stream_app.test_direct import answering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.doctor import Finding


def severities(findings: Sequence[Finding]) -> list[str]:
    """Return how bad the findings are."""
    return [str(finding.severity) for finding in findings]


def test_misspelt_variables_are_found(tmp_path: Path) -> None:
    """A name that no setting has is found in the environment and in .env, with the name that was meant."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("CROSSAISLE_APPID=shop\nCROSSAISLE_APP_ID=shop\nOTHER=1\n")
    found = check_environment({"CROSSAISLE_WEBPORT": "1", "CROSSAISLE_WEB_PORT": "2", "PATH": "x"}, dotenv)
    assert severities(found) == ["warning", "warning"]
    assert "CROSSAISLE_APP_ID" in found[0].remedy
    assert "CROSSAISLE_WEB_PORT" in found[1].remedy


def test_only_a_name_that_is_near_is_proposed(tmp_path: Path) -> None:
    """The prefix, which all names share, makes none of them alike."""
    near, far = check_environment({"CROSSAISLE_STAT_DIR": "x", "CROSSAISLE_ZZZZ": "x"}, tmp_path / ".env")
    assert near.remedy == "did you mean CROSSAISLE_STATE_DIR? Otherwise unset it"
    assert far.remedy == "unset it"


def test_crash_points_are_named(tmp_path: Path) -> None:
    """A crash point left in the environment is found."""
    (found,) = check_environment({"CROSSAISLE_FAULT": "in_transaction:3"}, tmp_path / ".env")
    assert found.remedy.startswith("unset CROSSAISLE_FAULT")


def test_every_wrong_setting_is_found() -> None:
    """All wrong values are named at once, with what arrived."""
    with pytest.raises(ValidationError) as raised:
        Settings(web_port=0, hot_rows=1)
    found = wrong_settings(raised.value)
    assert severities(found) == ["error", "error"]
    assert {f.found.partition(":")[0] for f in found} == {"CROSSAISLE_WEB_PORT", "CROSSAISLE_HOT_ROWS"}
    assert all("got" in f.found for f in found)


@pytest.mark.parametrize(
    ("changes", "severity", "named"),
    [
        ({}, "ok", "settings"),
        ({"security_protocol": "SSL", "ssl_cafile": Path("no-such.pem")}, "error", "CROSSAISLE_SSL_CAFILE"),
        ({"commit_interval_ms": 6_000}, "error", "CROSSAISLE_COMMIT_INTERVAL_MS"),
        ({"bootstrap_servers": "a:1,b:2"}, "warning", "CROSSAISLE_REPLICATION_FACTOR"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u", "sasl_password": "p"},
            "warning",
            "in the clear",
        ),
    ],
)
def test_settings_that_do_not_fit_together(changes: dict[str, object], severity: str, named: str) -> None:
    """Each bad combination is found; the defaults are well."""
    found = check_together(Settings.model_validate(changes))
    assert any(f.severity == severity and named in f.found for f in found)


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is what this version was made for; what is not, or is missing, is named."""
    (found,) = local.check_versions(Settings())
    assert (found.severity, "aiokafka" in found.found) == ("ok", True)
    wanted = ["numpy>=99", "no-such-library>=1", "pytest>=99; extra == 'dev'", "msgspec>=0.1"]
    monkeypatch.setattr(local, "requires", lambda _name: wanted)
    (found,) = local.check_versions(Settings())
    assert found.severity == "error"
    assert "is not numpy>=99, no-such-library is missing" in found.found
    assert "pytest" not in found.found


def test_disk(tmp_path: Path) -> None:
    """A directory that can be made is well; one below a file is not; little space is found."""
    good = tmp_path / "made" / "on the way"
    (found,) = check_disk(Settings(state_dir=good))
    assert found.severity == "ok"
    assert list(tmp_path.iterdir()) == []  # it changes nothing
    assert str(good) in found.found
    (tmp_path / "file").write_text("")
    (broken,) = check_disk(Settings(state_dir=tmp_path / "file" / "state"))
    assert broken.severity == "error"
    assert "CROSSAISLE_STATE_DIR" in broken.remedy
    for free, severity in ((SCARCE_BYTES, "ok"), (SCARCE_BYTES - 1, "warning"), (LOW_BYTES - 1, "error")):
        assert severities(judge_space(tmp_path, free)) == [severity]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A directory that has no room, or whose user has none left, is writable: the remedy is room."""

    def full(**options: object) -> None:
        raise OSError(number, os.strerror(number), str(options["dir"]))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    (found,) = check_disk(Settings(state_dir=tmp_path))
    assert found.severity == "error"
    assert found.remedy.startswith("make room, or set CROSSAISLE_STATE_DIR")


def test_memory() -> None:
    """The smallest tables fit; a billion rows do not, and the remedy names the setting."""
    assert severities(check_memory(Settings(hot_rows=1_000), 4, 4)) == ["ok"]
    (found,) = check_memory(Settings(hot_rows=1_000_000_000), 4, 4)
    assert found.severity == "warning"
    assert "CROSSAISLE_HOT_ROWS" in found.remedy
    assert rows_bytes(2_000, 4, 3) == 2 * rows_bytes(1_000, 4, 3)
    assert rows_bytes(1_000, 4, 3) == rows_bytes(1_000, 4, 0) + rows_bytes(1_000, 0, 3)


class _Live(BaseHTTPRequestHandler):
    """Answers as a worker's ``/health/live`` does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"live": true}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def live_port() -> Iterator[int]:
    """Return the port of a server that answers like a worker."""
    server = HTTPServer(("127.0.0.1", free_port()), _Live)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_web_port_free_or_taken(live_port: int) -> None:
    """A free port is well; one of another worker is to be looked at; one of another program is broken."""
    assert severities(check_web(Settings(web_port=free_port()))) == ["ok"]
    (worker,) = check_web(Settings(web_port=live_port))
    assert worker.severity == "warning"
    assert "a worker runs" in worker.found
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(0)
        other.settimeout(0)
        (taken,) = check_web(Settings(web_port=other.getsockname()[1]))
    assert taken.severity == "error"
    assert "CROSSAISLE_WEB_PORT" in taken.remedy


def test_a_mail_server_at_the_web_port_is_another_program() -> None:
    """What speaks no HTTP is told like any other program; it is no traceback."""
    with answering(b"220 mail.example ESMTP\r\n") as url:
        (taken,) = check_web(Settings(web_port=int(url.strip("/").rpartition(":")[2])))
    assert taken.severity == "error"
    assert "is taken by another program" in taken.found


def test_web_for_everyone_is_found() -> None:
    """A page that others can reach without a token is found; so is an address that is not of this machine."""
    everywhere = Settings(web_host="0.0.0.0", web_port=free_port())  # noqa: S104 - that is what is tested
    (_, found) = check_web(everywhere)
    assert found.severity == "error"
    assert "CROSSAISLE_WEB_TOKEN" in found.remedy
    assert severities(check_web(everywhere.model_copy(update={"web_token": SecretStr("a secret")}))) == ["ok"]
    assert "error" in severities(check_web(Settings(web_host="192.0.2.1", web_port=free_port())))


def test_embedded_broker_only_where_it_is_meant() -> None:
    """Java and jars are looked at when the broker is to be here, and not otherwise."""
    assert severities(check_embedded(Settings())) == ["ok"]
    assert check_embedded(Settings(bootstrap_servers="kafka-1:9092")) == []


def test_old_brokers_are_found() -> None:
    """A broker without transactions is broken; one without topic ids is to be looked at."""
    assert severities(check_versions({0: 2, 1: 3})) == ["error"]
    modern = {0: 9, 1: 13, 3: 12, 22: 4, 24: 3, 26: 3, 28: 3}
    assert severities(check_versions({**modern, 3: 9})) == ["warning"]
    assert severities(check_versions(modern)) == ["ok"]
