"""The command as other people's scripts call it: help, JSON, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from stream_app.cli import CommandError
from stream_app.cli.main import app
from tests.conftest import free_port
from tests.stream_app.harness import environment

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.settings import Settings

COMMANDS = (
    "demo",
    "broker",
    "topics",
    "worker",
    "produce",
    "watch",
    "lag",
    "inspect",
    "ope",
    "dataset",
    "doctor",
    "schema",
)


def _run(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream_app.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=120, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, app_settings: Settings, tmp_path: Path) -> None:
    """``--help`` exits 0 and says something."""
    done = _run(command, "--help", env=environment(app_settings), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def test_version(app_settings: Settings, tmp_path: Path) -> None:
    """``--version`` prints name and version."""
    done = _run("--version", env=environment(app_settings), cwd=tmp_path)
    assert done.stdout.split()[0] == "crossaisle"
    assert done.returncode == 0


def test_topics_as_json(app_settings: Settings, tmp_path: Path) -> None:
    """``--json`` prints JSON Lines and nothing else; a check that finds something exits 1."""
    env = environment(app_settings)
    missing = _run("topics", "check", "--json", env=env, cwd=tmp_path)
    assert missing.returncode == 1
    assert {json.loads(line)["problem"] for line in missing.stdout.splitlines()} == {"does not exist"}
    assert missing.stderr.startswith("error: ")
    made = _run("topics", "create", "--json", "--partitions", "2", env=env, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert app_settings.topic_events in {json.loads(line)["topic"] for line in made.stdout.splitlines()}
    checked = _run("topics", "check", "--json", env=env, cwd=tmp_path)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_inspect_on_an_empty_app(app_settings: Settings, tmp_path: Path) -> None:
    """Totals of nothing are zero; a user nobody knows is an error on stderr."""
    env = environment(app_settings)
    assert _run("topics", "create", env=env, cwd=tmp_path).returncode == 0
    totals = _run("inspect", "totals", "--json", env=env, cwd=tmp_path)
    assert totals.returncode == 0, totals.stderr
    found = json.loads(totals.stdout)
    assert {found[name] for name in ("n_events", "n_users", "n_items", "item_events")} == {0}
    assert found["by_type"] == {}
    for arguments in (("user", "nobody"), ("item", "nothing"), ("user",)):
        done = _run("inspect", *arguments, env=env, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "arguments", [("topics", "check"), ("topics", "create"), ("inspect", "totals"), ("lag",), ("watch",), ("produce",)]
)
def test_broker_away_is_one_line_with_the_remedy(
    arguments: tuple[str, ...], app_settings: Settings, tmp_path: Path
) -> None:
    """Without a broker a command ends with one error line that says what to do."""
    away = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    if arguments == ("produce",):
        (tmp_path / "events.jsonl").write_text('{"event_id": "1", "user_id": "ann"}\n')
        arguments = ("produce", "events.jsonl")
    done = _run(*arguments, env=environment(away), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: no broker answers at {away.bootstrap_servers}: start one")
    assert "CROSSAISLE_BOOTSTRAP_SERVERS" in line


def test_wrong_setting_is_named(app_settings: Settings, tmp_path: Path) -> None:
    """A wrong variable is named, with what arrived."""
    env = environment(app_settings, CROSSAISLE_WEB_PORT="a lot")
    env["CROSSAISLE_WEB_PORT"] = "a lot"
    done = _run("topics", "check", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert "CROSSAISLE_WEB_PORT" in done.stderr
    assert "a lot" in done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"STATE_DIR": "file"}, "set CROSSAISLE_STATE_DIR to a directory that this user may write to"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CAFILE": "none.pem"}, "CROSSAISLE_SSL_CAFILE none.pem cannot be used"),
        ({"WEB_HOST": "192.0.2.1", "WEB_TOKEN": "t"}, "set CROSSAISLE_WEB_HOST to one of its own"),
    ],
)
def test_a_worker_that_cannot_start_ends_with_the_remedy(
    variables: dict[str, str], words: str, app_settings: Settings, tmp_path: Path
) -> None:
    """A directory that is a file, a certificate that is not there, an address of another machine."""
    (tmp_path / "file").write_text("not a directory")
    env = environment(app_settings) | {f"CROSSAISLE_{name}": value for name, value in variables.items()}
    done = _run("worker", env=env, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last


def test_a_dotenv_that_cannot_be_read_is_named(app_settings: Settings, tmp_path: Path) -> None:
    """Every command reads it: one line says what is wrong with it."""
    (tmp_path / ".env").write_bytes(b"\xff")
    for command in (("topics", "check"), ("doctor",)):
        done = _run(*command, env=environment(app_settings), cwd=tmp_path)
        assert done.returncode == 1
        assert ".env: not UTF-8 at byte 0" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect", "user", "\udcff"), "ID \\udcff: not UTF-8"),
        (("watch", "--user", "\udcff"), "--user \\udcff: not UTF-8"),
        (("inspect", "totals", "extra"), "takes no ID, got 'extra'; say"),
        (("inspect", "totals", "-5", "--json"), "takes no ID, got '-5'; say"),
        (("inspect", "--json", "totals", "--", "-5"), "takes no ID, got '-5'; say"),
        (("inspect", "totals", "--", "--json"), "takes no ID, got '--json'; say"),
        (("demo", "--rate", "inf"), "--rate must be a finite number, got inf"),
        (("demo", "--duration", "inf"), "--duration must be a finite number, got inf; leave it out"),
    ],
)
def test_arguments_without_a_meaning_are_refused(arguments: tuple[str, ...], words: str) -> None:
    """One sentence says what is wrong with an argument, before anything is asked or started."""
    with pytest.raises(CommandError) as raised:
        app(arguments, standalone_mode=False)
    assert words in str(raised.value)


def test_a_misspelt_option_is_no_id() -> None:
    """Ids may begin with a dash, options with two are options."""
    done = CliRunner().invoke(app, ["inspect", "user", "--jsn"])
    assert done.exit_code == 2
    assert "No such option: --jsn" in done.output


@pytest.mark.parametrize(
    "arguments", [("evaluate", "events.jsonl", "--catalog", "catalog.jsonl"), ("dataset", "synthetic")]
)
def test_an_empty_name_is_no_folder(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of a script that is not set does not write into the working directory."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*arguments, "--out", ""], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "'--out': an empty name is no folder; give a folder, or . for this one" in done.output
    assert not list(tmp_path.iterdir())


def test_missing_file_is_named(app_settings: Settings, tmp_path: Path) -> None:
    """A missing file is an error that names it."""
    done = _run("produce", "no-such-file.jsonl", env=environment(app_settings), cwd=tmp_path)
    assert done.returncode != 0
    assert "no-such-file.jsonl" in done.stderr
