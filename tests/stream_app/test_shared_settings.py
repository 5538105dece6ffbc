"""Workers tell their groups what must be the same in all of them, and warn of those that differ."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from confluent_kafka import Consumer
from structlog.testing import capture_logs

from stream_app.doctor.workers import check_workers, judge_workers
from stream_app.members import Member
from stream_app.settings import CREDENTIALS, Settings
from stream_app.shared_settings import SHARED_SETTINGS, SettingsWatch, SharingAssignor, differing, digests, digests_told
from tests.conftest import free_port
from tests.stream_app import harness
from tests.stream_app.harness import Worker

if TYPE_CHECKING:
    from pathlib import Path

WORKER_SETTINGS = frozenset(
    (
        *("bootstrap_servers", "app_id", "state_dir", "accepted_topics", "partitions", "replication_factor"),
        *("commit_interval_ms", "item_commit_interval_ms", "policy_publish_ms"),
        *("transaction_timeout_ms", "session_timeout_ms", "compute_threads", "max_batch_events", "hot_rows"),
        *("web_host", "web_port", "web_advertise", "web_token", "web_cached_slates", "json_logs"),
        *("security_protocol", "sasl_mechanism", *CREDENTIALS),
    )
)
"""Each worker may have its own of these."""

MINE = Settings(seed=1, holdout_salt="salt")
OTHER = MINE.model_copy(update={"slate_size": 3, "policy": "greedy", "web_port": 7_001})


def member(settings: Settings, address: str) -> Member:
    """Return a member of the user group with settings."""
    return Member("user", address, frozenset(), digests(settings))


def test_each_setting_is_shared_or_a_worker_s_own() -> None:
    """A new setting says whether all workers of an application must have the same; a secret is never compared."""
    assert set(Settings.model_fields) == SHARED_SETTINGS | WORKER_SETTINGS
    assert not SHARED_SETTINGS & WORKER_SETTINGS
    assert not SHARED_SETTINGS & {*CREDENTIALS, "web_token"}


def test_what_a_worker_tells_is_what_others_read() -> None:
    """Every shared setting has a digest, which hides its value; a worker's own settings have none."""
    metadata = SharingAssignor(MINE).metadata(["events"]).encode()
    assert digests_told(metadata) == digests(MINE)
    assert set(digests(MINE)) == SHARED_SETTINGS
    assert b"salt" not in metadata.replace(b"holdout_salt", b"")
    assert differing([digests(MINE), digests(OTHER)]) == ["policy", "slate_size"]


def test_members_that_tell_nothing_are_passed_over() -> None:
    """Workers of older versions, groups that share out partitions, and what is no worker's."""
    for user_data in (b"", b"no JSON", b"{}", b'{"settings": 1}', b"\xff"):
        assert digests_told(ConsumerProtocolMemberMetadata(0, ["events"], user_data).encode()) == {}
    assert digests_told(b"") == digests_told(b"\x00") == {}


def test_a_worker_warns_once_of_others_settings() -> None:
    """The names and the workers are told; again only when they have changed."""
    watch = SettingsWatch(MINE)
    alike, other = member(MINE, "a:1"), member(OTHER, "b:1")
    with capture_logs() as logs:
        watch.look([alike])
        watch.look([])
        assert logs == []
        for _ in range(2):
            watch.look([alike, other])
            watch.look([other._replace(settings={})])
        (line,) = logs
        assert line["event"] == "settings_differ"
        assert line["settings"] == ["CROSSAISLE_POLICY", "CROSSAISLE_SLATE_SIZE"]
        assert line["workers"] == ["b:1"]
        assert "set them alike" in line["remedy"]
        watch.look([alike])
        watch.look([alike, other])
        assert len(logs) == 2


def test_the_doctor_judges_workers() -> None:
    """Workers that differ are to be looked at, as is a shell that differs from them; no worker is well."""
    mine = digests(MINE)
    for members in ([], [member(MINE, "a:1")], [Member("user", "a:1", frozenset())]):
        assert [f.severity for f in judge_workers(members, mine)] == ["ok"]
    (among,) = judge_workers([member(MINE, "a:1"), member(OTHER, "b:1")], mine)
    assert among.severity == "warning"
    assert "a:1, b:1 have different CROSSAISLE_POLICY, CROSSAISLE_SLATE_SIZE" in among.found
    (shell,) = judge_workers([member(OTHER, "b:1")], mine)
    assert (shell.severity, "than this shell" in shell.found) == ("warning", True)


def test_two_workers_with_different_settings_are_told(app_settings: Settings, tmp_path: Path) -> None:
    """Each warns in its log and names the other; the doctor finds it, and all is well when one has ended."""
    harness.make_topics(app_settings)
    settings = harness.with_short_session(app_settings)
    other = settings.model_copy(update={"slate_size": 3, "web_port": free_port(), "commit_interval_ms": 1_000})
    with Worker(settings, tmp_path / "a") as a, Worker(other, tmp_path / "b") as b:
        for worker, peer in ((a, other), (b, settings)):
            harness.wait_for(lambda worker=worker: "settings_differ" in worker.log, "a warning")
            (line,) = (json.loads(text) for text in worker.log.splitlines() if "settings_differ" in text)
            assert line["level"] == "warning"
            assert (line["settings"], line["workers"]) == (["CROSSAISLE_SLATE_SIZE"], [f"127.0.0.1:{peer.web_port}"])
        harness.wait_for(lambda: a.owned() and b.owned() and len(a.owned() + b.owned()) == 4, "both to own some")
        (found,) = asyncio.run(check_workers(settings))
        assert found.severity == "warning"
        assert "have different CROSSAISLE_SLATE_SIZE" in found.found
        assert b.terminate() == 0
        harness.wait_for(lambda: len(a.owned()) == 4, "worker a to own all")
        (found,) = asyncio.run(check_workers(settings))
        assert (found.severity, found.found) == ("ok", "1 worker, with these settings")


def test_a_stranger_in_a_group_is_found(app_settings: Settings) -> None:
    """A consumer that took a worker's group for its own holds partitions that nobody learns from: that is broken."""
    harness.make_topics(app_settings)
    group = f"{app_settings.app_id}.user"
    stranger = Consumer(
        {"bootstrap.servers": app_settings.bootstrap_servers, "group.id": group, "client.id": "dashboard"}
    )
    try:
        stranger.subscribe([app_settings.topic_events])
        harness.wait_for(lambda: stranger.poll(0.1) is None and len(stranger.assignment()) == 4, "it to own all")
        found, workers = asyncio.run(check_workers(app_settings))
    finally:
        stranger.close()
    assert found.severity == "error"
    assert found.found.startswith("dashboard at ")
    assert found.found.endswith(f"in group {group} holds partitions 0, 1, 2, 3")
    assert "a group of its own" in found.remedy
    assert workers.found == "no worker runs"
