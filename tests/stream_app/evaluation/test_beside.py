"""Baselines in a process of their own: the same bytes as in one process, and no end of it goes unheard."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stream_app.evaluation import files
from stream_app.evaluation.beside import Beside, Task, joined
from stream_app.evaluation.files import Request, evaluate_files
from stream_app.evaluation.run import Outcome, Plan
from stream_app.evaluation.source import EvaluationError, read_catalog, read_events
from stream_app.settings import Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, with_sizes
from tests.stream_app.evaluation.files_of import NOW_MS

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ("popularity", "crossaisle", "biased-mf", "personal-frequency")
INTERRUPTED = """
import os
import signal
from stream_app.cli.main import main
from stream_app.evaluation import files
from stream_app.evaluation.beside import Beside

class Interrupted(Beside):
    def __enter__(self):
        entered = super().__enter__()
        print(self._process.pid, flush=True)
        try:
            if WHEN == "it works":
                self._take()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            os.killpg(0, signal.SIGINT)
            self._take()  # it goes on, or this is an error
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        except BaseException:
            self.__exit__()
            raise
        return entered

if __name__ == "__main__":
    files.LEAST_BESIDE = 0
    files.Beside = Interrupted
    main()
"""
"""The command, which sends itself the signal of Ctrl-C as a terminal does: to all processes of its group."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small synthetic shop."""
    folder = tmp_path_factory.mktemp("shop")
    write_synthetic(folder, with_sizes(KINDS["courses"], n_users=60, n_items=300, n_categories=20, days=60))
    return folder


def task_of(shop: Path, out: Path, *models: str) -> Task:
    """Return what a second process would do with a shop's files."""
    out.mkdir(exist_ok=True)
    settings = Settings()
    log = read_events(shop / "events.jsonl", settings, now_ms=NOW_MS)
    catalog = read_catalog(shop / "catalog.jsonl", settings)
    return Task(log, catalog, Plan(), {name: out / f"{name}.jsonl" for name in models}, settings, 10)


def done(task: Task) -> Outcome:
    """Return what a second process counts."""
    with Beside(task) as beside:
        return beside.outcome(lambda _: None)


def test_the_same_bytes_as_in_one_process(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order of the models, ratings or not; progress never goes back, and ends at the end."""
    shown: list[float] = []
    for name, least in (("one", 1 << 40), ("two", 0)):
        monkeypatch.setattr(files, "LEAST_BESIDE", least)
        shown.clear()
        request = Request(shop / "events.jsonl", shop / "catalog.jsonl", tmp_path / name, MODELS, NOW_MS)
        evaluate_files(request, Settings(), lambda what, share: shown.append(share) if "events" in what else None)
        assert shown == sorted(shown)
        assert shown[-1] == 1.0
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert len(names) == len(MODELS) + 2
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_an_error_of_the_process_is_raised_here(shop: Path, tmp_path: Path) -> None:
    """A file that cannot be written, and events of which none is scored: the same errors as in one process."""
    task = task_of(shop, tmp_path / "out", "popularity")
    with pytest.raises(IsADirectoryError) as caught:
        done(replace(task, slate_files={"popularity": tmp_path}))
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(EvaluationError, match="smaller --warmup"):
        done(replace(task, plan=Plan(warmup=1.0)))


def test_a_process_that_is_killed_is_told_with_the_remedy(shop: Path, tmp_path: Path) -> None:
    """As by a lack of memory: the evaluation does not wait for it."""
    task = task_of(shop, tmp_path / "out", "funk-mf")
    with Beside(task) as beside:
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EvaluationError, match=r"funk-mf ended early \(exit code -9.*fewer models with --model"):
            beside.outcome(lambda _: None)
    assert not multiprocessing.active_children()


def test_ctrl_c_is_for_the_first_process(shop: Path, tmp_path: Path) -> None:
    """The second one does not hear it from its first moment on; who has started it ends it."""
    with Beside(task_of(shop, tmp_path / "out", "popularity")) as beside:
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        assert beside.outcome(lambda _: os.kill(process.pid or 0, signal.SIGINT)).tallies.keys() == {"popularity"}


@pytest.mark.parametrize("when", ["it begins", "it works"])
def test_ctrl_c_at_the_command(shop: Path, tmp_path: Path, when: str) -> None:
    """No traceback of either process, none of them stays, and the files of an earlier run are as they were."""
    out = tmp_path / "out"
    out.mkdir()
    earlier = {name: name.encode() for name in ("metrics.json", "slates.jsonl", "slates.popularity.jsonl")}
    for name, content in earlier.items():
        (out / name).write_bytes(content)
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED.replace("WHEN", repr(when)))
    command = ["evaluate", str(shop / "events.jsonl"), "--catalog", str(shop / "catalog.jsonl"), "--out", str(out)]
    run = subprocess.run(
        [sys.executable, script, *command], capture_output=True, text=True, start_new_session=True, check=False
    )
    assert run.returncode == 130, run.stderr
    assert "Traceback" not in run.stderr
    assert "models-beside" not in run.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(run.stdout), 0)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == earlier


def test_no_process_stays_behind(shop: Path, tmp_path: Path) -> None:
    """Whatever ends the block, Ctrl-C as well, ends the process."""

    def interrupted() -> None:
        with Beside(task_of(shop, tmp_path / "out", "funk-mf")):
            assert multiprocessing.active_children()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not multiprocessing.active_children()


def test_outcomes_with_different_numbers_are_not_joined(shop: Path, tmp_path: Path) -> None:
    """The counts by item of one of them would stand for other items of the other."""
    one = done(task_of(shop, tmp_path / "out", "popularity"))
    other = done(task_of(shop, tmp_path / "out", "personal-frequency"))
    names = ("popularity", "personal-frequency")
    assert tuple(joined(names, one, other).tallies) == names
    other.numbering.item("no such item")
    with pytest.raises(EvaluationError, match="defect of the model"):
        joined(names, one, other)
