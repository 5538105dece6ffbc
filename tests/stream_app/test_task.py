"""Tests of tasks in real worker processes on a real broker: whatever kills a worker, every event counts once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from stream_app.doctor.changelogs import check_changelogs
from stream_app.faults import POINTS
from tests.stream_app import harness
from tests.stream_app.counting import FULL_VARIABLE
from tests.stream_app.harness import Flow, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.settings import Settings


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own whose topics exist."""
    harness.make_topics(app_settings)
    return harness.with_short_session(app_settings)


def _stores(settings: Settings) -> list[Path]:
    return sorted((settings.state_dir / settings.app_id).glob("user-*"))


def test_counts_every_event_once(settings: Settings, tmp_path: Path) -> None:
    """Without any trouble every event is counted, answered and totalled once."""
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 3000)
        worker.wait_counted(3000)
    harness.check_exactly_once(settings, sent)


@pytest.mark.parametrize(("point", "nth"), list(zip(POINTS, (2, 1, 3, 2, 3), strict=True)))
def test_kill_at_each_point_of_a_commit(settings: Settings, tmp_path: Path, point: str, nth: int) -> None:
    """A worker killed at any point of a commit leaves nothing lost and nothing repeated."""
    sent: Counter[bytes] = Counter()
    n = 40 if point == "in_interval" else 400  # a task sends ahead what comes of few records only
    with Worker(settings, tmp_path / "log", fault=f"{point}:{nth}") as worker:
        while worker.process.poll() is None:
            sent += harness.send_numbered(settings, n)
        assert worker.wait() == -signal.SIGKILL, worker.log
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_counted(sent.total())
    harness.check_exactly_once(settings, sent)


def test_random_kills_while_events_flow(settings: Settings, tmp_path: Path) -> None:
    """Killed three times at random moments, the worker still counts every event once."""
    rng = random.Random(7)  # noqa: S311  # moments to kill at, not secrets
    sent: Counter[bytes] = Counter()
    for _ in range(3):
        with Worker(settings, tmp_path / "log") as worker:
            worker.wait_ready()
            for _ in range(rng.randrange(1, 6)):
                sent += harness.send_numbered(settings, 300)
            worker.process.kill()
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_counted(sent.total())
    harness.check_exactly_once(settings, sent)


def test_terminated_worker_leaves_nothing_to_replay(settings: Settings, tmp_path: Path) -> None:
    """SIGTERM commits what was read and exits 0 within 5 seconds; the next worker replays no record."""
    slow = settings.model_copy(update={"commit_interval_ms": 60_000, "transaction_timeout_ms": 120_000})
    with Worker(slow, tmp_path / "first") as worker:
        worker.wait_ready()
        sent = harness.send_numbered(settings, 500)
        harness.wait_for(lambda: _n_read(worker) == 500, "the worker to read 500 events")
        assert harness.counts(settings) == Counter()
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log
    harness.check_exactly_once(settings, sent)
    with Worker(settings, tmp_path / "second") as worker:
        body = worker.wait_ready()
        assert worker.log.count("task_opened") == harness.N_PARTITIONS
        assert _replayed(worker) == [0] * harness.N_PARTITIONS
    assert sum(task["input_offset"] for task in body["stages"]["user"]["tasks"]) == 500


def test_a_full_processor_commits_before_its_interval_is_over(settings: Settings, tmp_path: Path) -> None:
    """With an interval of a minute a task commits as soon as it has as much as it may have, and goes on."""
    slow = settings.model_copy(update={"commit_interval_ms": 60_000})
    with Worker(slow, tmp_path / "log", extra={FULL_VARIABLE: "1"}) as worker:
        worker.wait_ready()
        sent = harness.send_numbered(settings, 400)
        worker.wait_counted(400)
        sent += harness.send_numbered(settings, 400)
        harness.wait_for(lambda: harness.counts(settings).total() == 800, "the rest to be committed", 30)
    harness.check_exactly_once(settings, sent)


def _n_read(worker: Worker) -> int:
    _, body = worker.get("/health/ready")
    return sum(task["read_offset"] or 0 for task in body.get("stages", {}).get("user", {}).get("tasks", []))


def _replayed(worker: Worker) -> list[int]:
    lines = [json.loads(line) for line in worker.log.splitlines() if '"task_opened"' in line]
    return [line["n_replayed"] for line in lines]


def test_deleted_store_is_rebuilt(settings: Settings, tmp_path: Path) -> None:
    """With the local stores gone, the state comes back from the changelog and counting goes on from it."""
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 1000)
        worker.wait_counted(1000)
        assert worker.terminate() == 0
    assert len(_stores(settings)) == harness.N_PARTITIONS
    for store in _stores(settings):
        shutil.rmtree(store)
    with Worker(settings, tmp_path / "again") as worker:
        worker.wait_ready()
        assert min(_replayed(worker)) > 0
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(2000)
    harness.check_exactly_once(settings, sent)


def test_damaged_store_is_rebuilt(settings: Settings, tmp_path: Path) -> None:
    """A local store that cannot be opened is destroyed, with a warning, and rebuilt from the changelog."""
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 1000)
        worker.wait_counted(1000)
        assert worker.terminate() == 0
    for store in _stores(settings):
        for file in store.glob("MANIFEST-*"):
            file.write_bytes(b"damaged")
    with Worker(settings, tmp_path / "again") as worker:
        worker.wait_ready()
        assert worker.log.count("store_damaged") == harness.N_PARTITIONS
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(2000)
    harness.check_exactly_once(settings, sent)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory on a disk of 2 MB of its own; skip where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small disk needs root: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["/bin/umount", "--lazy", disk], check=True)


def fill_disk(filler: Path) -> None:
    """Write to a file until its disk is full, and stays so: a store may remove what it no longer needs meanwhile."""

    def is_full() -> bool:
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        return shutil.disk_usage(filler.parent).free < 4096

    harness.wait_for(is_full, "the disk to be full")


def test_full_disk_stops_the_worker_and_loses_nothing(settings: Settings, small_disk: Path, tmp_path: Path) -> None:
    """A local store that cannot be written ends the worker with exit 1 and the remedy; with room it goes on."""
    settings = settings.model_copy(update={"state_dir": small_disk})
    filler = small_disk / "filler"
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 500)
        worker.wait_counted(500)
        fill_disk(filler)
        while worker.process.poll() is None:  # a store writes when some MB of pages have come together
            sent += harness.send_numbered(settings, 20_000, n_keys=20_000)
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert "its disk is full" in last
        assert "CROSSAISLE_STATE_DIR" in last
    filler.unlink()
    with Worker(settings, tmp_path / "again") as worker:
        worker.wait_counted(sent.total())
    harness.check_exactly_once(settings, sent)


def test_store_held_by_another_process_gets_a_spare(settings: Settings, tmp_path: Path) -> None:
    """While another process holds a store open, the task works from a spare directory."""
    from state.store import PageStore  # noqa: PLC0415

    held = PageStore(settings.state_dir / settings.app_id / "user-0")
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        sent = harness.send_numbered(settings, 500)
        worker.wait_counted(500)
        assert "store_locked" in worker.log
    held.close()
    harness.check_exactly_once(settings, sent)


def test_idle_worker_commits_nothing(settings: Settings, tmp_path: Path) -> None:
    """With nothing to read there are no transactions, whatever the commit interval."""
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        harness.send(settings, [(b"user", b"event")])
        worker.wait_counted(1)
        harness.wait_for(lambda: max(_n_commits(worker)) > 0, "the worker to end the commit that others see already")
        idle = [partition for partition, n in enumerate(_n_commits(worker)) if n == 0]
        for n in range(2, 12):  # one interval apart
            harness.send(settings, [(b"other", b"event")], partition=idle[0])
            worker.wait_counted(n)
        commits = _n_commits(worker)
        assert commits.pop(idle[0]) >= 10 - 1  # of the last one the worker may not have noted the end
        assert sorted(commits) == [0, 0, 1]


def _n_commits(worker: Worker) -> list[int]:
    """Return how many commits the task of each partition has made."""
    tasks = worker.get("/health/ready")[1]["stages"]["user"]["tasks"]
    return [task["n_commits"] for task in sorted(tasks, key=lambda task: int(task["partition"]))]


def test_processor_that_always_fails_stops_the_worker(settings: Settings, tmp_path: Path) -> None:
    """An event that the processor can never take ends the worker with exit 1, after some tries, and nothing counted."""
    harness.send(settings, [(b"user", b"fine"), (b"user", b"poison")], partition=2)
    with Worker(settings, tmp_path / "log") as worker:
        assert worker.wait() == 1
        assert "error: stage user, partition 2: failed 8 times in a row after offset 0" in worker.log
        assert "poison at offset 1" in worker.log
    assert harness.outputs(settings) == []


def test_recreated_input_topic_stops_the_worker(settings: Settings, tmp_path: Path) -> None:
    """When the events topic was made anew, its old offsets mean nothing: exit 1, and the remedy is named."""
    with Worker(settings, tmp_path / "log") as worker:
        harness.send_numbered(settings, 200)
        worker.wait_counted(200)
        assert worker.terminate() == 0
    harness.recreate_topic(settings, settings.topic_events)
    harness.send_numbered(settings, 2000)
    with Worker(settings, tmp_path / "again") as worker:
        assert worker.wait() == 1
        assert f"topic {settings.topic_events} was deleted and made anew" in worker.log
        assert "CROSSAISLE_APP_ID" in worker.log.splitlines()[-1]
    assert harness.counts(settings).total() == 200


def test_truncated_input_topic_stops_the_worker(settings: Settings, tmp_path: Path) -> None:
    """A topic that ends before the checkpoint stops the worker even where ids are not told."""
    with Worker(settings, tmp_path / "log") as worker:
        harness.send_numbered(settings, 200)
        worker.wait_counted(200)
        assert worker.terminate() == 0
    harness.recreate_topic(settings, settings.topic_events)
    with Worker(settings, tmp_path / "again") as worker:
        assert worker.wait() == 1
        assert "made anew" in worker.log.splitlines()[-1]


@pytest.mark.parametrize("keep_stores", [True, False])
def test_recreated_changelog_stops_the_worker(settings: Settings, tmp_path: Path, *, keep_stores: bool) -> None:
    """When the changelog was made anew, with or without local stores left, the worker does not begin from nothing."""
    with Worker(settings, tmp_path / "log") as worker:
        harness.send_numbered(settings, 200)
        worker.wait_counted(200)
        assert worker.terminate() == 0
    if not keep_stores:
        shutil.rmtree(settings.state_dir / settings.app_id)
    harness.recreate_topic(settings, settings.topic_user_state)
    with Worker(settings, tmp_path / "again") as worker:
        assert worker.wait() == 1
        assert settings.topic_user_state in worker.log.splitlines()[-1]
        assert "CROSSAISLE_APP_ID" in worker.log.splitlines()[-1]
    assert len(harness.outputs(settings)) == 200


def test_topic_recreated_under_a_running_worker_stops_it(settings: Settings, tmp_path: Path) -> None:
    """A running worker notices that its input topic was made anew, and ends with exit 1."""
    with Worker(settings, tmp_path / "log") as worker:
        harness.send_numbered(settings, 200)
        worker.wait_counted(200)
        harness.recreate_topic(settings, settings.topic_events)
        assert worker.wait() == 1
        assert settings.topic_events in worker.log.splitlines()[-1]


def test_changelog_recreated_under_a_running_worker_is_refused_for_good(settings: Settings, tmp_path: Path) -> None:
    """What the worker commits to the new topic before it notices is not taken for the state, however it is started.

    The doctor says so, too; an operator who accepts the loss names the id of the topic.
    """
    with Worker(settings, tmp_path / "log") as worker, Flow(settings, n_per_s=200) as flow:
        worker.wait_counted(200)
        harness.recreate_topic(settings, settings.topic_user_state)
        assert worker.wait() == 1
        assert settings.topic_user_state in worker.log.splitlines()[-1]
    harness.wait_decided(settings, settings.topic_user_state)
    partial = harness.counts(settings)
    assert 0 < partial.total() < flow.sent.total(), "the worker committed nothing to the new topic"
    for name in ("with stores", "without"):
        with Worker(settings, tmp_path / name) as again:
            assert again.wait() == 1
            last = again.log.splitlines()[-1]
            assert f"topic {settings.topic_user_state} was deleted and made anew" in last
            assert "CROSSAISLE_APP_ID" in last
        shutil.rmtree(settings.state_dir / settings.app_id, ignore_errors=True)
    assert harness.counts(settings) == partial
    (finding, *_) = [f for f in asyncio.run(check_changelogs(settings)) if f.severity == "error"]
    assert "deleted and made anew" in finding.found
    accepted = settings.model_copy(update={"accepted_topics": _named_id(finding.remedy)})
    assert [f.severity for f in asyncio.run(check_changelogs(accepted))] == ["ok"]
    with Worker(accepted, tmp_path / "accepted") as worker:
        worker.wait_ready()
        harness.send_numbered(settings, 400)
        worker.wait_counted(partial.total() + 400)
        assert worker.terminate() == 0
    assert [f.severity for f in asyncio.run(check_changelogs(settings))] == ["ok"], "each partition has committed"
    with Worker(settings, tmp_path / "after") as worker:
        worker.wait_ready()


def test_changelog_put_back_from_a_backup_goes_on_when_its_id_is_named(settings: Settings, tmp_path: Path) -> None:
    """A topic with the same records under another id is refused until the operator says that it is whole."""
    topic = settings.topic_user_state
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 1000)
        worker.wait_counted(1000)
        assert worker.terminate() == 0
    harness.wait_decided(settings, topic)
    backup = harness.read_committed(settings, topic)
    harness.recreate_topic(settings, topic)
    for partition in range(harness.N_PARTITIONS):
        records = [(record.key, record.value) for record in backup if record.partition == partition]
        harness.send(settings, records, topic=topic, partition=partition)
    with Worker(settings, tmp_path / "refused") as worker:
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert f"topic {topic} was deleted and made anew" in last
    accepted = settings.model_copy(update={"accepted_topics": _named_id(last)})
    with Worker(accepted, tmp_path / "accepted") as worker:
        worker.wait_ready()
        assert worker.log.count("it was filled from an earlier topic") == harness.N_PARTITIONS
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(2000)
        assert worker.terminate() == 0
    with Worker(settings, tmp_path / "after") as worker:
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(3000)
    harness.check_exactly_once(settings, sent)


def _named_id(remedy: str) -> str:
    return remedy.partition("CROSSAISLE_ACCEPTED_TOPICS to ")[2].split()[0]


def test_changelog_that_was_cut_off_is_refused_without_a_store(settings: Settings, tmp_path: Path) -> None:
    """State that was deleted from the changelog is not taken for state that never was; a store that has it goes on."""
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 1000)
        worker.wait_counted(1000)
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(2000)
        assert worker.terminate() == 0
    harness.wait_decided(settings, settings.topic_user_state)
    where = {r.key: r.offset for r in harness.read_committed(settings, settings.topic_user_state) if r.partition == 0}
    harness.delete_records(settings, settings.topic_user_state, 0, min(where.values()) + 1)
    assert [f.severity for f in asyncio.run(check_changelogs(settings))] == ["error"]
    with Worker(settings, tmp_path / "with stores") as worker:
        worker.wait_ready()
        assert worker.terminate() == 0
    shutil.rmtree(settings.state_dir / settings.app_id)
    with Worker(settings, tmp_path / "without") as worker:
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert f"changelog {settings.topic_user_state}, partition 0: the records before offset" in last
        assert "CROSSAISLE_APP_ID" in last
    (finding,) = asyncio.run(check_changelogs(settings))
    assert "partition 0: the records before offset" in finding.found
    accepted = settings.model_copy(update={"accepted_topics": _named_id(finding.remedy)})
    assert [f.severity for f in asyncio.run(check_changelogs(accepted))] == ["ok"]
    with Worker(accepted, tmp_path / "accepted") as worker:
        worker.wait_ready()


def test_store_from_long_ago_is_rebuilt(settings: Settings, tmp_path: Path) -> None:
    """A store put back after the changelog went on is rebuilt where the topic no longer tells all removals since."""
    home = settings.state_dir / settings.app_id
    with Worker(settings, tmp_path / "log") as worker:
        sent = harness.send_numbered(settings, 1000)
        worker.wait_counted(1000)
        assert worker.terminate() == 0
    shutil.copytree(home, tmp_path / "old")
    with Worker(settings, tmp_path / "later") as worker:
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(2000)
        assert worker.terminate() == 0
    harness.alter_topic(settings, settings.topic_user_state, {"cleanup.policy": "compact", "delete.retention.ms": "1"})
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "old", home)
    with Worker(settings, tmp_path / "back") as worker:
        worker.wait_ready()
        assert worker.log.count("store_stale") == harness.N_PARTITIONS
        assert "delete.retention.ms" in worker.log
        sent += harness.send_numbered(settings, 1000)
        worker.wait_counted(3000)
        assert worker.terminate() == 0
    with Worker(settings, tmp_path / "again") as worker:
        worker.wait_ready()
        assert "store_stale" not in worker.log, "a store that has missed nothing is good at any age"
    harness.check_exactly_once(settings, sent)
