"""The closed loop on a real broker: what an audience does with slates changes the policy, and so later slates."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.rewards import parse_rewards
from operators.standing import N_STANDING, SLATES, WR, W
from tests.stream_app import audience, harness, shop
from tests.stream_app.audience import Audience
from tests.stream_app.harness import Worker, environment
from tests.stream_app.shop import REAL_WORKER, Shop

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.records.policy import PolicyState
    from stream_app.settings import Settings

USERS = [f"viewer-{n}" for n in range(24)]


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own, with topics, a catalogue, and no holdout."""
    harness.make_topics(app_settings)
    harness.send(app_settings, shop.catalogue(), topic=app_settings.topic_catalog)
    return harness.with_short_session(app_settings, policy_publish_ms=50, holdout_share=0.0)


def share_of(state: PolicyState | None, name: str) -> float:
    """Return the mean share of an arm over the cells; 0 before there is a policy."""
    arms = {arm.name: arm for arm in state.arms} if state is not None else {}
    return sum(arms[name].shares) / len(arms[name].shares) if name in arms else 0.0


def check_statistics(settings: Settings, before: dict[str, tuple[float, float, float]]) -> None:
    """Assert that the committed statistics grew by what the committed events and slates say, and no more."""
    wanted = audience.earned(settings, parse_rewards(settings.rewards), USERS)
    found = audience.totals(settings)
    for name, (n, total, square) in wanted.items():
        was = before.get(name, (0.0, 0.0, 0.0))
        assert found[name][0] - was[0] == n
        assert found[name][1] - was[1] == pytest.approx(total, abs=1e-3)
        assert found[name][2] - was[2] == pytest.approx(square, abs=1e-3)


def check_standing_sums(settings: Settings) -> None:
    """Assert that the committed sums hold every committed slate once, with the weight that its record says."""
    slates = shop.slates(settings)
    sums = {arm.name: np.zeros(N_STANDING) for arm in settings.arms}
    for record in audience.statistics(settings).values():
        for name, arm in record.arms.items():
            assert arm.standing is not None
            sums[name] += np.sum([arm.standing.final, *arm.standing.open], axis=0)
    totals = audience.totals(settings)
    for name, found in sums.items():
        assert found[SLATES] == len(slates)
        assert found[W] == pytest.approx(sum(1 / s.policy_propensity for s in slates if s.policy == name), rel=1e-9)
        assert (found[WR] > 0) == (totals[name][1] > 0)


def check_off_policy(settings: Settings) -> None:
    """Assert that ``crossaisle ope --topics`` counts what the partitions counted, and finds the better arm."""
    command = [sys.executable, "-m", "stream_app.cli.main", "ope", "--topics", "--pending", "--estimators", "snips"]
    values = {}
    for arm in ("greedy", "discover"):
        shown = subprocess.run(
            [*command, "--target", arm, "--json"], capture_output=True, text=True, env=environment(settings), check=True
        )
        (found,) = [json.loads(line) for line in shown.stdout.splitlines()]
        values[arm] = found["value"]
        totals = audience.totals(settings)
        assert found["n_slates"] == sum(n for n, _, _ in totals.values())
        wanted = sum(total for _, total, _ in totals.values())
        assert found["logged_value"] * found["n_slates"] == pytest.approx(wanted, abs=1e-3)
    assert values["discover"] > values["greedy"] + 0.1  # users buy from one arm only


def close_slates(settings: Settings, market: Shop, worker: Worker) -> None:
    """Let ten days go by in every partition, so that no slate from before can earn anything more."""
    for partition in range(harness.N_PARTITIONS):
        late = market.event(f"late-{partition}", "item-1", event_time_ms=shop.START_MS + 10 * 86_400_000)
        harness.send(settings, [late], partition=partition)
    shop.wait_learned(settings, market.n_events, worker)


def check_standing(settings: Settings, worker: Worker) -> None:
    """Assert that the standing estimates in policy-state and /metrics are what ``crossaisle ope --topics`` prints."""
    n_closed = sum(n for n, _, _ in audience.totals(settings).values()) - harness.N_PARTITIONS
    newest: list[PolicyState] = []

    def published() -> bool:
        assert worker.process.poll() is None, worker.log
        state = audience.policy(settings)
        newest[:] = [state] if state is not None else []
        return state is not None and all(arm.n == n_closed for arm in state.standing)

    harness.wait_for(published, "standing estimates of all slates")
    standing = {arm.arm: arm for arm in newest[0].standing}
    command = [sys.executable, "-m", "stream_app.cli.main", "ope", "--topics", "--estimators", "ips,snips", "--json"]
    for arm in ("greedy", "discover"):
        shown = subprocess.run(
            [*command, "--target", arm], capture_output=True, text=True, env=environment(settings), check=True
        )
        lines = [json.loads(line) for line in shown.stdout.splitlines()]
        assert [wanted["estimator"] for wanted in lines] == ["ips", "snips"]
        assert [found.estimator for found in standing[arm].estimates] == ["ips", "snips", "dr"]
        for found, wanted in zip(standing[arm].estimates[:2], lines, strict=True):
            assert found.estimator == wanted["estimator"]
            assert standing[arm].n == wanted["n_slates"]
            assert standing[arm].effective_n == pytest.approx(wanted["ess"], rel=1e-9)
            assert found.value == pytest.approx(wanted["value"], rel=1e-9)
            assert (found.lower, found.upper) == pytest.approx((wanted["lower"], wanted["upper"]), rel=1e-9)
    assert {arm for arm in standing if standing[arm].estimates} == {arm.name for arm in settings.arms}
    values = {arm: found.estimates[1].value for arm, found in standing.items()}
    assert values["discover"] > values["greedy"] + 0.1  # users buy from one arm only

    def exposed() -> bool:
        lines = exposition(settings)
        found = [lines.get(f'crossaisle_ope_value{{arm="{arm}",estimator="snips"}}', "nan") for arm in values]
        return [float(text) for text in found] == list(values.values())

    harness.wait_for(exposed, "the estimates in /metrics")


def exposition(settings: Settings) -> dict[str, str]:
    """Return the values of /metrics by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.web_port}/metrics", timeout=10) as page:
        return dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines() if line[:1] != "#")


def wait_followed(settings: Settings, version: int) -> None:
    """Wait until the worker fills slates under a version of the policy, or a later one: it reads it as others do."""
    harness.wait_for(
        lambda: float(exposition(settings)["crossaisle_policy_version"]) >= version, "the worker to follow the policy"
    )


def wait_published(settings: Settings, worker: Worker) -> PolicyState:
    """Wait until the policy is the sum of the newest statistics of all partitions, and return it."""
    newest: list[PolicyState] = []

    def done() -> bool:
        assert worker.process.poll() is None, worker.log
        state = audience.policy(settings)
        if state is None:
            return False
        newest[:] = [state]
        wanted = audience.totals(settings)
        found = dict.fromkeys(wanted, 0)
        for group in state.groups:
            found[group.arm] += group.n + group.n_pending
        return all(found[name] == round(wanted[name][0]) for name in wanted)

    harness.wait_for(done, "the policy to be published")
    return newest[0]


@pytest.mark.slow
def test_an_audience_changes_the_policy_and_later_slates(settings: Settings, tmp_path: Path) -> None:
    """Users who buy from one arm only: its share grows in policy-state, and it fills most of the later slates."""
    market = Shop()
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        for _ in range(3):
            harness.send(settings, market.events(100))
            shop.wait_learned(settings, market.n_events, worker)
        before = audience.totals(settings)
        first = share_of(wait_published(settings, worker), "discover")

        def alive() -> None:
            assert worker.process.poll() is None, worker.log

        viewers = Audience(settings, market, lambda arm: arm == "discover", alive)
        for _ in range(5):
            viewers.round(USERS)
        state = wait_published(settings, worker)
        check_statistics(settings, before)
        assert share_of(state, "discover") > max(0.6, first)
        wait_followed(settings, state.version)
        seen = [slate for _ in range(2) for slate in viewers.round(USERS)]
        assert sum(slate.policy == "discover" for slate in seen) > 0.4 * len(seen)  # the start's share is 0.31
        assert all(slate.policy_version >= state.version for slate in seen)
        command = [sys.executable, "-m", "stream_app.cli.main", "policy", "--json"]
        shown = subprocess.run(command, capture_output=True, text=True, env=environment(settings), check=True)
        rows = [json.loads(line) for line in shown.stdout.splitlines()]
        assert {row["arm"] for row in rows if row["kind"] == "arm"} == {arm.name for arm in settings.arms}
        check_off_policy(settings)
        close_slates(settings, market, worker)
        check_standing(settings, worker)
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log


@pytest.mark.slow
def test_kills_in_the_closed_loop(settings: Settings, tmp_path: Path) -> None:
    """Killed inside a transaction, after one, and while writing locally: every slate and every reward counts once."""
    market = Shop()
    faults: list[str | None] = ["in_transaction:9", "after_commit:9", "in_local_write:7", None]
    running: list[Worker] = []

    def keep_alive() -> None:
        if not running or running[-1].process.poll() is not None:
            if running:
                assert running[-1].process.returncode == -signal.SIGKILL, running[-1].log
            running.append(Worker(settings, tmp_path / "log", REAL_WORKER, fault=faults[len(running)]))

    try:
        with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
            for _ in range(3):
                harness.send(settings, market.events(100))
                shop.wait_learned(settings, market.n_events, worker)
            assert worker.terminate() == 0, worker.log
        before = audience.totals(settings)
        viewers = Audience(settings, market, lambda arm: arm != "explore", keep_alive)
        n_rounds = 0
        while len(running) < len(faults) or n_rounds < 4:
            viewers.round(USERS)
            n_rounds += 1
        shop.wait_learned(settings, market.n_events, running[-1])
        wait_published(settings, running[-1])
        assert running[-1].terminate() == 0, running[-1].log
    finally:
        for last in running:
            last.__exit__()
    check_statistics(settings, before)
    check_standing_sums(settings)
    shop.check_learned_once(settings, market)
