"""The doctor looks at committed state on a real broker: it says beforehand, in its words, what a worker refuses."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from operators.weights import new_globals
from state.codec import KIND_HEADER, KIND_POLICY, LayoutError, page_key
from state.layout import ENTITY_HEADER, USER_HEADER, disk_bytes
from stream_app.changelog import CHECKPOINT_KEY
from stream_app.doctor import ends
from stream_app.doctor.state import check_pages, check_state
from stream_app.learned_pages import GLOBALS_KEY, first_page
from stream_app.recovery import CHECKPOINT_FORMAT_VERSION
from tests.stream_app import harness
from tests.stream_app.harness import Worker

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.doctor import Finding
    from stream_app.settings import Settings


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own whose topics exist."""
    harness.make_topics(app_settings)
    return harness.with_short_session(app_settings)


def learn(settings: Settings, log: Path) -> None:
    """Let a counting worker commit state in every partition."""
    sent = harness.send_numbered(settings, 400)
    with Worker(settings, log) as worker:
        worker.wait_counted(sent.total())
        assert worker.terminate() == 0, worker.log
    harness.wait_decided(settings, settings.topic_user_state)


def look(settings: Settings) -> Finding:
    """Return what the doctor finds: one thing in each of these tests."""
    (found,) = asyncio.run(check_state(settings))
    return found


def without_numbers(text: str) -> str:
    """Return a text without what is another one in each partition: number and offset."""
    return re.sub(r"(partition|offset) \d+", r"\1", text)


def checkpoint(partition: int, **fields: Any) -> bytes:
    """Return the checkpoint record of a task that has read nothing yet."""
    plain = {
        "format_version": CHECKPOINT_FORMAT_VERSION,
        "stage": "user",
        "partition": partition,
        "n_partitions": harness.N_PARTITIONS,
        "input_topic_id": None,
        "input_offset": 0,
        "state": {},
    }
    return json.dumps({**plain, **fields}).encode()


def test_state_that_fits(settings: Settings, tmp_path: Path) -> None:
    """Before there is state and when a worker goes on from it all is well; missing topics are told elsewhere."""
    assert (look(settings).severity, look(settings).found) == ("ok", "no state yet")
    learn(settings, tmp_path / "log")
    found = look(settings)
    assert (found.severity, found.found) == ("ok", "4 checkpoints and the pages beside them")
    elsewhere = settings.model_copy(update={"topic_events": "nowhere"})
    assert look(elsewhere).severity == "skipped"


@pytest.mark.parametrize("topic", ["events", "user_state"])
def test_a_topic_made_anew_is_told_before_the_worker_refuses_it(settings: Settings, tmp_path: Path, topic: str) -> None:
    """Of the events or of the state: the command ends with an error, in the words of the worker that stops."""
    learn(settings, tmp_path / "log")
    harness.recreate_topic(settings, str(getattr(settings, f"topic_{topic}")))
    command = [sys.executable, "-m", "stream_app.cli.main", "doctor", "--json"]
    env = harness.environment(settings)
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False)
    (found,) = [f for f in map(json.loads, done.stdout.splitlines()) if f["check"] == "state"]
    assert (done.returncode, found["severity"]) == (1, "error")
    assert "made anew" in found["found"]
    what, _, others = found["found"].partition("; so or otherwise ")
    assert others == "4 of 4 partitions"
    elsewhere = settings.model_copy(update={"state_dir": tmp_path / "elsewhere"})  # no local store tells it before
    with Worker(elsewhere, tmp_path / "log-2") as worker:
        assert worker.wait() == 1
        (told,) = [line for line in worker.log.splitlines() if line.startswith("error: ")]
    assert without_numbers(told).endswith(without_numbers(f"{what}. To go on, {found['remedy']}"))


@pytest.mark.parametrize(
    ("stage", "layout", "key"),
    [
        ("user", USER_HEADER, page_key(7, KIND_HEADER)),
        ("item", ENTITY_HEADER, page_key(7, KIND_HEADER)),
        ("user", None, GLOBALS_KEY),
    ],
)
def test_state_of_another_format_is_told(settings: Settings, stage: str, layout: np.dtype | None, key: bytes) -> None:
    """A page of another width is named with its topic, and the remedy is the worker's."""
    topic = str(getattr(settings, f"topic_{stage}_state"))
    inputs = {"user": settings.topic_events, "item": settings.topic_item_updates}
    n_bytes = disk_bytes(layout) if layout is not None else 1_000
    own = checkpoint(1, stage=stage, input_topic=inputs[stage])
    harness.send(settings, [(key, bytes(n_bytes + 8)), (CHECKPOINT_KEY, own)], topic=topic, partition=1)
    found = look(settings)
    assert found.severity == "error"
    assert found.found.startswith(f"topic {topic}, partition 1: page with fields")
    assert found.found.endswith(f"got {n_bytes + 8}; another version wrote it")
    assert found.remedy == "run that version, or start over with a new CROSSAISLE_APP_ID"
    harness.send(settings, [(CHECKPOINT_KEY, b"{}")], topic=topic, partition=1)
    found = look(settings)
    assert "cannot be read" in found.found
    assert "CROSSAISLE_APP_ID" in found.remedy


def test_it_looks_as_far_back_as_it_must(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest checkpoint and a page are found, however far before the end; removed pages are none."""
    monkeypatch.setattr(ends, "FIRST_SPAN", 3)
    topic = settings.topic_user_state
    kept, gone = page_key(1, KIND_HEADER), page_key(2, KIND_HEADER)
    far: list[tuple[bytes | None, bytes | None]] = [(kept, b"old"), (kept, b"new"), (gone, b"x"), (gone, None)]
    harness.send(settings, [*far, *[(b"k" * 20, b"v")] * 200], topic=topic, partition=0)
    marks = [(CHECKPOINT_KEY, b"%d" % n) for n in range(3)]
    harness.send(settings, [*far, *marks, *[(b"k" * 20, b"v")] * 50], topic=topic, partition=1)
    harness.send(settings, [(gone, b"page"), marks[2]], topic=topic, partition=2)
    found = asyncio.run(ends.read_ends(settings, topic, range(harness.N_PARTITIONS)))
    assert [(found[p].checkpoint, found[p].pages) for p in sorted(found)] == [
        (None, {kept: b"new"}),
        (b"2", {kept: b"new"}),
        (b"2", {gone: b"page"}),
        (None, {}),
    ]


def test_pages_of_this_version_pass() -> None:
    """Those of every layout do, and those of kinds that are none of its business; what learned pages hold is known."""
    check_pages("user", {GLOBALS_KEY: first_page(new_globals()), page_key(0, KIND_POLICY): b"{}"})
    check_pages("user", {page_key(9, KIND_HEADER): bytes(disk_bytes(USER_HEADER))})
    check_pages("item", {page_key(9, KIND_HEADER): bytes(disk_bytes(ENTITY_HEADER))})
    with pytest.raises(LayoutError, match="another version wrote it"):
        check_pages("item", {page_key(9, KIND_HEADER): bytes(disk_bytes(USER_HEADER))})
