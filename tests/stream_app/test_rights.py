"""Users who may do what docs/how-to/cluster.md grants, and nothing else: the worker and the other commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclOperation,
    ResourceType,
)

from stream_app.doctor.rights import check_rights
from stream_app.inspect import UnknownIdError, inspect_totals, inspect_user
from stream_app.kafka import client_options
from stream_app.lag import LagError, LagMeter, measure_lag
from stream_app.members import fetch_members
from stream_app.policy_report import NoPolicyError, read_policy
from stream_app.probe import AccessError
from stream_app.processor import StageSpec
from stream_app.produce import produce_records
from stream_app.records import decode_reject
from stream_app.sender import ProduceError
from stream_app.settings import Settings
from stream_app.stage import StageService
from stream_app.topics import check_topics
from stream_app.watch import SlateWatcher, WatchError
from tests.stream_app import harness, shop
from tests.stream_app.secured import Secured, denied, documented_rights, documented_users, grant, signed_in
from tests.stream_app.shop import REAL_WORKER, Shop


def streamed(settings: Settings) -> dict[str, Any]:
    """Return what the page is sent: the newest of each kind, once slates, rejects and the state have come."""
    found: dict[str, Any] = {}
    url = f"http://127.0.0.1:{settings.web_port}/events/stream"
    with urllib.request.urlopen(url, timeout=60) as stream:
        kind = ""
        for line in stream:
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: ") and (value := json.loads(line[6:])):
                found[kind] = value
                if {"slates", "rejects", "state"} <= found.keys():
                    break
    return found


def test_without_rights_each_command_names_those_that_it_needs(secured: Secured, tmp_path: Path) -> None:
    """Nothing is said to be away or missing that only may not be seen; a worker ends with all that it lacks."""
    settings = secured.worker

    async def watch() -> None:
        async with SlateWatcher(settings):
            pass

    with pytest.raises(WatchError, match="grant Read on topic recommendations"):
        asyncio.run(watch())
    with pytest.raises(ProduceError, match="grant Write on topic events"):
        asyncio.run(produce_records(settings, "events", [{"user_id": "u"}]))
    with pytest.raises(LagError, match=r"grant Read on topic events.*Describe on group crossaisle\.user"):
        asyncio.run(measure_lag(settings))
    with pytest.raises(AccessError, match=r"grant Read on topic crossaisle\.user-state"):
        asyncio.run(inspect_totals(settings))
    assert {finding.problem for finding in asyncio.run(check_topics(settings))} == {"may not be seen, if it exists"}
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert "Read on topic catalog" in last
        assert "Read on group crossaisle.user" in last
        assert "Traceback" not in worker.log


def test_the_documented_rights_are_what_a_worker_needs(secured: Secured, tmp_path: Path) -> None:
    """Without rights nothing is let in; with the table's it learns, publishes, rejects and serves its page."""
    everything, settings, _ = secured
    assert client_options(settings)["sasl_mechanism"] == "SCRAM-SHA-512"
    assert "error" in {finding.severity for finding in asyncio.run(check_rights(settings))}
    grant(everything, documented_rights())
    _until_all_is_granted(settings)
    market = Shop()
    harness.send(everything, [*shop.catalogue(), (b"item-1", b"no JSON")], topic=everything.topic_catalog)
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        for _ in range(3):
            harness.send(everything, market.events(60))
            shop.wait_learned(everything, market.n_events, worker)
        harness.send(everything, [(b"user-1", b"no JSON either"), *market.events(20)])
        shown = streamed(settings)
        assert {reject["code"] for reject in shown["rejects"]} == {"not_json"}
        harness.wait_for(
            lambda: {r.topic for r in rejected(everything)} == {everything.topic_events, everything.topic_catalog},
            "the event and the catalogue record to be rejected",
        )
        harness.wait_for(
            lambda: bool(harness.read_committed(everything, everything.topic_policy_state)),
            "the policy to be published",
        )
        shop.wait_learned(everything, market.n_events, worker)
        harness.wait_for(
            lambda: {lag.lag_events for lag in asyncio.run(measure_lag(settings))} == {0}, "the groups to be at the end"
        )
        assert worker.terminate() == 0
        log = worker.log
    shop.check_learned_once(everything, market)
    assert "uthoriz" not in log


def rejected(settings: Settings) -> list[Any]:
    """Return all rejects."""
    return [decode_reject(record) for record in harness.read_committed(settings, settings.topic_rejects)]


@pytest.mark.parametrize(
    ("kind", "name", "operation", "remedy"),
    [
        (ResourceType.TOPIC, "crossaisle.user-state", AclOperation.WRITE, "Write on topic crossaisle.user-state"),
        (ResourceType.GROUP, "crossaisle.user", AclOperation.READ, "Read on group crossaisle.user"),
        (ResourceType.TRANSACTIONAL_ID, "crossaisle.", AclOperation.WRITE, "on transactional ids crossaisle.*"),
        (ResourceType.TOPIC, "catalog", AclOperation.READ, "Read on topic catalog"),
        (ResourceType.TOPIC, "crossaisle.policy-state", AclOperation.WRITE, "Write on topic crossaisle.policy-state"),
    ],
)
def test_a_right_that_is_taken_away_ends_the_worker(
    secured: Secured, tmp_path: Path, kind: ResourceType, name: str, operation: AclOperation, remedy: str
) -> None:
    """A task, the group, a tail or the policy that misses it: it is named with its remedy, and no traceback buries it.

    Without its right a policy that is never published, and a catalogue that is never read, would look well.
    """
    everything, settings, _ = secured
    grant(everything, documented_rights())
    _until_all_is_granted(settings)
    market = Shop()
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:

        def has_ended() -> bool:
            harness.send(everything, market.events(20))
            return worker.process.poll() is not None

        shop.wait_ready(worker)
        with denied(everything, kind, name, operation):
            harness.wait_for(has_ended, "the worker to end", 120)
            assert worker.wait() == 1
    assert remedy in next(line for line in worker.log.splitlines() if line.startswith("error: "))
    assert "Traceback" not in worker.log


async def test_a_group_that_may_not_be_joined_ends_the_stage(secured: Secured) -> None:
    """Where nobody could ask for the rights before, the group's refusal is heard though no task is there to hear it."""
    everything, settings, _ = secured
    grant(everything, documented_rights())
    await asyncio.to_thread(_until_all_is_granted, settings)
    spec = StageSpec(
        name="user",
        input_topic=settings.topic_events,
        changelog_topic=settings.topic_user_state,
        group_id=f"{settings.app_id}.user",
        commit_interval_ms=100,
        open_processor=lambda *_: pytest.fail("no partition is assigned"),
    )
    with ThreadPoolExecutor() as executor, denied(everything, ResourceType.GROUP, spec.group_id, AclOperation.READ):
        stage = StageService(settings, spec, [executor], executor)
        await stage.start()
        await harness.until(lambda: stage.crashed, "the stage to end", 30)
        assert f"Read on group {spec.group_id}" in str(stage.crash_reason)
        await stage.stop()


def _until_all_is_granted(settings: Settings) -> None:
    harness.wait_for(
        lambda: [f.severity for f in asyncio.run(check_rights(settings))] == ["ok"], "the rights to be known"
    )


def test_the_documented_rights_of_others_are_enough(secured: Secured) -> None:
    """Each command of the second table works for a user who has what it lists there, and nothing else."""
    everything = secured.everything
    users = documented_users()
    assert users, "the table has rows"
    for user, bindings in users.items():
        settings = signed_in(everything, secured.worker.bootstrap_servers, user)
        assert not _may_run(user, settings), "without rights it does not work"
        grant(everything, bindings)
        harness.wait_for(partial(_may_run, user, settings), f"{user} to be allowed", 30)


def _may_run(command: str, settings: Settings) -> bool:
    """Return whether a command works; rights take a moment to reach the broker."""

    async def run() -> None:
        match command:
            case "produce":
                await produce_records(settings, settings.topic_events, [{"user_id": "u"}])
                await produce_records(settings, settings.topic_catalog, [{"item_id": "i"}])
            case "watch":
                async with SlateWatcher(settings, from_beginning=True):
                    pass
            case "lag":
                async with LagMeter(settings) as meter:
                    await meter.measure()
                    await fetch_members(meter.admin, settings)
            case "inspect":
                await inspect_totals(settings)
                with pytest.raises(UnknownIdError, match="u"):
                    await inspect_user(settings, "u")
            case "policy":
                with contextlib.suppress(NoPolicyError):
                    await read_policy(settings)
            case _:
                pytest.fail(f"the table has a row for {command}: try it here")

    try:
        asyncio.run(run())
    except (AccessError, LagError, ProduceError, WatchError):
        return False
    return True
