"""The real worker, killed, frozen, joined and left: both stages learn every event once, every slate stands once."""

from __future__ import annotations

import random
import shutil
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from stream_app.faults import POINTS
from tests.conftest import free_port
from tests.stream_app import harness, shop
from tests.stream_app.harness import Worker
from tests.stream_app.shop import REAL_WORKER, Shop

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.settings import Settings


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own, with topics and a catalogue."""
    harness.make_topics(app_settings)
    harness.send(app_settings, shop.catalogue(), topic=app_settings.topic_catalog)
    return harness.with_short_session(app_settings)


def _finish(settings: Settings, market: Shop, log: Path) -> None:
    with Worker(settings, log, REAL_WORKER) as worker:
        shop.wait_learned(settings, market.n_events, worker)
        assert worker.terminate() == 0, worker.log
    shop.check_learned_once(settings, market)


@pytest.mark.parametrize(("point", "nth"), list(zip(POINTS, (3, 2, 5, 4, 7), strict=True)))
def test_kill_at_each_point_of_a_commit(settings: Settings, tmp_path: Path, point: str, nth: int) -> None:
    """Killed at any point of a commit, of either stage, nothing is lost or learned twice."""
    market = Shop()
    with Worker(settings, tmp_path / "log", REAL_WORKER, fault=f"{point}:{nth}") as worker:
        while worker.process.poll() is None:
            harness.send(settings, market.events(100))
        assert worker.wait() == -signal.SIGKILL, worker.log
    _finish(settings, market, tmp_path / "log")


@pytest.mark.slow
def test_twenty_random_kills_while_events_flow(settings: Settings, tmp_path: Path) -> None:
    """Twenty kills at random moments while events flow leave both stages with every event once."""
    market, rng = Shop(), random.Random(3)  # noqa: S311 - moments, not secrets
    with ExitStack() as flow:
        for _ in range(20):
            worker = flow.enter_context(Worker(settings, tmp_path / "log", REAL_WORKER))
            shop.wait_ready(worker)
            for _ in range(rng.randrange(1, 5)):
                harness.send(settings, market.events(rng.randrange(20, 150)))
            worker.process.kill()
            assert worker.wait() == -signal.SIGKILL, worker.log
    _finish(settings, market, tmp_path / "log")


def test_frozen_worker_is_fenced(settings: Settings, tmp_path: Path) -> None:
    """A worker frozen past its session while another takes over harms nothing when it wakes."""
    market = Shop()
    other = settings.model_copy(update={"state_dir": tmp_path / "other", "web_port": free_port()})
    with Worker(settings, tmp_path / "first", REAL_WORKER) as first:
        shop.wait_ready(first)
        harness.send(settings, market.events(300))
        shop.wait_learned(settings, 300, first)
        harness.send(settings, market.events(300))
        first.signal(signal.SIGSTOP)
        with Worker(other, tmp_path / "second", REAL_WORKER) as second:
            harness.send(settings, market.events(300))
            shop.wait_learned(settings, 900, second)
            first.signal(signal.SIGCONT)
            harness.send(settings, market.events(300))
            shop.wait_learned(settings, 1200, second)
            assert first.process.poll() is None, first.log
            assert first.terminate() == 0, first.log
            assert second.terminate() == 0, second.log
    shop.check_learned_once(settings, market)


@pytest.mark.slow
def test_two_workers_join_and_leave_five_times(settings: Settings, tmp_path: Path) -> None:
    """A second worker that comes and goes five times while events flow costs no event."""
    market = Shop()
    other = settings.model_copy(update={"state_dir": tmp_path / "other", "web_port": free_port()})
    with Worker(settings, tmp_path / "first", REAL_WORKER) as first:
        shop.wait_ready(first)
        for _ in range(5):
            with Worker(other, tmp_path / "second", REAL_WORKER) as second:
                harness.send(settings, market.events(150))
                shop.wait_ready(second)
                harness.wait_for(lambda: bool(second.owned("user")), "the second worker to own partitions")
                harness.send(settings, market.events(150))
                assert second.terminate() == 0, second.log
            harness.send(settings, market.events(150))
        shop.wait_learned(settings, market.n_events, first)
        assert first.terminate() == 0, first.log
    shop.check_learned_once(settings, market)


@pytest.mark.parametrize("damage", ["deleted", "damaged"])
def test_lost_stores_are_rebuilt(settings: Settings, tmp_path: Path, damage: str) -> None:
    """Local stores that are gone or broken are rebuilt from the changelogs, with the same totals."""
    market = Shop()
    harness.send(settings, market.events(600))
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_learned(settings, 600, worker)
        assert worker.terminate() == 0, worker.log
    stores = [p for p in (settings.state_dir / settings.app_id).iterdir() if p.name.startswith(("user-", "item-"))]
    assert len(stores) == 2 * harness.N_PARTITIONS
    for store in stores:
        if damage == "deleted":
            shutil.rmtree(store)
        else:
            for file in store.glob("CURRENT"):
                file.write_bytes(b"garbage")
    harness.send(settings, market.events(600))
    _finish(settings, market, tmp_path / "log")


@pytest.mark.parametrize("stores", ["kept", "stale", "lost", "damaged"])
def test_a_killed_worker_knows_its_items(settings: Settings, tmp_path: Path, stores: str) -> None:
    """Whatever is left of its local stores, a worker that was killed has the same items when it is ready again."""
    market, folder = Shop(), settings.state_dir / settings.app_id
    harness.send(settings, market.events(300))
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_learned(settings, 300, worker)
        assert worker.terminate() == 0, worker.log
    shutil.copytree(folder, tmp_path / "earlier")
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        harness.send(settings, market.events(300))
        shop.wait_learned(settings, 600, worker)
        before = shop.wait_replica(worker, 600)
        worker.process.kill()
        worker.wait()
    for store in folder.glob("item-*"):
        if stores == "damaged":
            (store / "CURRENT").write_bytes(b"garbage")
        elif stores != "kept":
            shutil.rmtree(store)
        if stores == "stale":
            shutil.copytree(tmp_path / "earlier" / store.name, store)
    with Worker(settings, tmp_path / "again", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        assert shop.wait_replica(worker, 600) == before
        assert worker.log.count("stored_items_read") == (harness.N_PARTITIONS if stores in {"kept", "stale"} else 0)
        assert worker.terminate() == 0, worker.log
    shop.check_learned_once(settings, market)


def test_a_restarted_worker_knows_its_users(settings: Settings, tmp_path: Path) -> None:
    """After a restart a user's history is used: slates hold repeats, and a replayed event is a duplicate."""
    market = Shop()
    events = [market.event("ann", f"item-{k}", session_id=f"s{k}") for k in range(8)]
    harness.send(settings, events)
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_learned(settings, 8, worker)
        assert worker.terminate() == 0, worker.log
    harness.send(settings, [events[3], market.event("ann", "item-20", session_id="new")])
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_learned(settings, 9, worker)
        assert worker.terminate() == 0, worker.log
    assert shop.totals(settings)["n_duplicates"] == 1
    newest = max(shop.slates(settings), key=lambda slate: slate.as_of.offset)
    assert "repeat" in {item.reason for item in newest.items}
    shop.check_learned_once(settings, market)
