"""What /metrics says, checked by promtool and by Prometheus' own parser; and the alert rules."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from stream_app.columns import TYPES
from stream_app.metrics import Metrics
from stream_app.observer import Observation
from stream_app.partition_lag import PartitionLag
from stream_app.policy_view import PolicyView
from stream_app.records import REJECT_CODES
from stream_app.records.policy import ArmState, EstimateState, GroupState, PolicyState, StandingState
from stream_app.settings import Settings
from tests.stream_app.test_user_stage import NOW_MS, World, event

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "monitoring" / "rules.yml"
DASHBOARD = ROOT / "docs" / "monitoring" / "dashboard.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here: apt-get install prometheus")


def lag(**fields: Any) -> PartitionLag:
    """Return the lag of a partition."""
    known = {"stage": "user", "group": "g", "topic": "t", "partition": 0, "end": 9, "committed": 5, "lag_events": 4}
    return PartitionLag(**{**known, "lag_s": 1.5, "lag_event_s": 60.0, **fields})


def policy() -> PolicyView:
    """Return a policy of one arm that has filled ten slates."""
    view = PolicyView(Settings())
    arm = ArmState("greedy", 0.0, 0.0, 2, 2, 10.0, 0.2, 0.05, 0.5, held=False, shares=[1.0, 0.5])
    group = GroupState("learned", "greedy", 7, 5, 0.2, 0.01, 3, 0.1)
    estimates = [EstimateState("ips", 0.25), EstimateState("snips", 0.3, 0.2, 0.5, 0.05)]
    standing = StandingState("greedy", 9, 5.5, 1.1, estimates, [], poor_overlap=False)
    view.state = PolicyState(1, 3, NOW_MS, 1, 3.0, 0.1, ["a", "b"], [arm], [group], [standing])
    return view


@pytest.fixture
def metrics() -> Metrics:
    """Return the metrics of a worker that has learned something, rejected something, and restores something."""
    world = World()
    world.catalogue(f"i{k}" for k in range(12))
    world.users.process([event(k, "ann", f"i{k}") for k in range(12)], NOW_MS)
    world.commit()
    restore = {"n_left": 70, "left_s": 3.5, "position": 30, "end": 100}
    task = {"partition": 0, "input_offset": 12, "n_commits": 1, "restore": restore}
    status = {"ready": True, "stages": {"user": {"tasks": [task]}}}
    observed = Observation(NOW_MS, (lag(), lag(stage="item", lag_s=None)), (), (lag(stage="replica", lag_s=0.4),))
    found = Metrics(lambda: status, lambda: observed)
    world.users.tally.rejects_by_code["not_json"] = 2
    world.replica.catalog_rejects["no_key"] = 3
    world.catalogue(["i20", "i21"], embedding=[0.5, 1.0, -1.0])
    world.catalogue(["i22"], embedding=[0.5, 1.0])
    found.collector.set_processors(lambda stage: {0: world.users if stage == "user" else world.items})
    found.collector.set_replica(world.replica)
    found.collector.set_policy(policy())
    found.collector.meters["user"].note_latencies([NOW_MS - 120], NOW_MS)
    return found


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples of a page by name and labels."""
    families = text_string_to_metric_families(page.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_what_was_learned_is_counted(metrics: Metrics) -> None:
    """Events by type, rejects by code, slates, lags, staleness, restores and arms are the task's and the broker's."""
    page, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    found = samples(page)
    assert found["crossaisle_events_total", (("partition", "0"), ("type", "purchase"))] == 12
    assert found["crossaisle_rejects_total", (("code", "not_json"), ("partition", "0"))] == 2
    assert found["crossaisle_catalog_rejects_total", (("code", "no_key"),)] == 3
    assert found["crossaisle_catalog_embeddings", (("components", "3"),)] == 2
    assert found["crossaisle_catalog_embeddings", (("components", "2"),)] == 1
    assert found["crossaisle_lag_events", (("partition", "0"), ("stage", "user"))] == 4
    assert found["crossaisle_lag_event_time_seconds", (("partition", "0"), ("stage", "user"))] == 60
    assert ("crossaisle_lag_seconds", (("partition", "0"), ("stage", "item"))) not in found
    assert found["crossaisle_replica_staleness_seconds", ()] == 0.4
    assert found["crossaisle_restore_records", (("partition", "0"), ("stage", "user"))] == 70
    assert found["crossaisle_arm_reward", (("arm", "greedy"), ("of", "high"))] == pytest.approx(0.298, abs=1e-4)
    assert found["crossaisle_arm_slates_total", (("arm", "greedy"),)] == 10
    assert found["crossaisle_policy_share", (("arm", "greedy"),)] == 0.75
    assert found["crossaisle_latency_seconds_bucket", (("le", "0.15"), ("stage", "user"))] == 1


def test_only_open_tasks_are_reported_and_no_counter_goes_back() -> None:
    """A closed task is gone, though something still holds it; one that was opened again begins where it was."""
    closed, opened = World().users, World().users
    closed.tally.by_type["view"], opened.tally.by_type["view"] = 9, 7
    opened_by_stage = {"user": {0: closed}}
    found = Metrics(lambda: {"ready": True, "stages": {}})
    found.collector.set_processors(lambda stage: opened_by_stage.get(stage, {}))
    views = ("crossaisle_events_total", (("partition", "0"), ("type", "view")))
    assert samples(found.render()[0])[views] == 9
    opened_by_stage["user"] = {}
    assert views not in samples(found.render()[0])
    assert found.collector.quality() == {}
    opened_by_stage["user"] = {0: opened}
    assert samples(found.render()[0])[views] == 9
    assert found.collector.learned()["by_type"]["view"] == 7
    opened.tally.by_type["view"] = 10
    assert samples(found.render()[0])[views] == 10


def test_standing_estimates_are_gauges(metrics: Metrics) -> None:
    """Value and interval by arm and estimator, slates and what they are worth by arm; no interval of a single slate."""
    found = samples(metrics.render()[0])
    snips = (("arm", "greedy"), ("estimator", "snips"))
    ends = [found[f"crossaisle_ope_value{end}", snips] for end in ("", "_lower", "_upper")]
    assert ends == [0.3, 0.2, 0.5]
    assert found["crossaisle_ope_value", (("arm", "greedy"), ("estimator", "ips"))] == 0.25
    assert ("crossaisle_ope_value_lower", (("arm", "greedy"), ("estimator", "ips"))) not in found
    for name, value in (("slates", 9), ("effective_slates", 5.5), ("poor_overlap", 0)):
        assert found[f"crossaisle_ope_{name}", (("arm", "greedy"),)] == value
    (arm,) = metrics.collector.arms()
    assert (arm.standing, arm.standing_low, arm.standing_high) == (0.3, 0.2, 0.5)


def test_no_user_and_no_item_is_named(metrics: Metrics) -> None:
    """Nothing that a user did can be read from the page."""
    page, _ = metrics.render()
    assert b"ann" not in page
    assert b"i11" not in page


def test_openmetrics_is_given_to_who_asks(metrics: Metrics) -> None:
    """Prometheus asks for OpenMetrics, and gets what the strict parser reads."""
    page, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert len(list(openmetrics(page.decode()))) > 20


@needs_promtool
def test_promtool_finds_nothing(metrics: Metrics) -> None:
    """Names, units and types keep Prometheus' conventions."""
    page, _ = metrics.render()
    command = [str(PROMTOOL), "check", "metrics"]
    done = subprocess.run(command, input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@needs_promtool
def test_the_rules_are_valid() -> None:
    """Prometheus would load them."""
    command = [str(PROMTOOL), "check", "rules", "--lint-fatal", str(RULES)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


CAME_AT_ONCE = "_x2 100x20"
"""What Prometheus has of a worker that read all of the catalogue before the first scrape."""
RAISED: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "every event is rejected from the first one on": (
        {
            'crossaisle_rejects_total{partition="0", code="key_mismatch"}': "0+60x40",
            'crossaisle_events_total{partition="0", type="view"}': "0x40",
        },
        "CrossaisleManyRejects",
        {"severity": "warning"},
    ),
    "bad records of the catalogue, all before the first scrape": (
        {'crossaisle_catalog_rejects_total{code="not_json", instance="a"}': CAME_AT_ONCE},
        "CrossaisleCatalogRejects",
        {"severity": "info", "code": "not_json"},
    ),
    "bad records of the catalogue, later": (
        {'crossaisle_catalog_rejects_total{code="not_json", instance="a"}': "0x5 3x20"},
        "CrossaisleCatalogRejects",
        {"severity": "info", "code": "not_json"},
    ),
    "a transaction that is held open": (
        {'crossaisle_held_seconds{stage="user", partition="1", instance="a"}': "0+60x30"},
        "CrossaisleTransactionHeld",
        {"severity": "critical", "stage": "user", "partition": "1"},
    ),
    "a stage that is behind": (
        {'crossaisle_lag_seconds{stage="user", partition="1", instance="a"}': "0+20x30"},
        "CrossaisleBehind",
        {"severity": "critical", "stage": "user", "partition": "1"},
    ),
}
QUIET = {
    'crossaisle_rejects_total{partition="0", code="key_mismatch"}': "0+1x40",
    'crossaisle_events_total{partition="0", type="view"}': "0+60x40",
    'crossaisle_catalog_rejects_total{code="not_json", instance="a"}': "0x40",
    'crossaisle_held_seconds{stage="user", partition="1", instance="a"}': "0x40",
    'crossaisle_lag_seconds{stage="user", partition="1", instance="a"}': "0.2x40",
}


@needs_promtool
@pytest.mark.parametrize("case", [*RAISED, None], ids=[*RAISED, "nothing"])
def test_alerts_are_raised_when_they_should(case: str | None, tmp_path: Path) -> None:
    """Prometheus' own evaluation of series as a worker exposes them, twenty minutes later."""
    series, alert, labels = RAISED[case] if case is not None else (QUIET, "", {})
    names = [alert] if case is not None else sorted({alert for _, alert, _ in RAISED.values()})
    expected = [{"exp_labels": labels}] if case is not None else []
    checks = [{"eval_time": "20m", "alertname": name, "exp_alerts": expected} for name in names]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": checks,
    }
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)  # promtool compares them word by word
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_has_not_happened_yet_is_counted_as_0() -> None:
    """Every type and code is there from the start: Prometheus sees no rise in a series that begins with its first."""
    found = Metrics(lambda: {"ready": True, "stages": {}})
    world = World()
    found.collector.set_processors(lambda stage: {0: world.users} if stage == "user" else {})
    found.collector.set_replica(world.replica)
    page = samples(found.render()[0])
    assert {page["crossaisle_rejects_total", (("code", code), ("partition", "0"))] for code in REJECT_CODES} == {0}
    assert {page["crossaisle_events_total", (("partition", "0"), ("type", kind))] for kind in TYPES} == {0}
    assert {page["crossaisle_catalog_rejects_total", (("code", code),)] for code in REJECT_CODES} == {0}


def test_rules_and_dashboard_use_metrics_that_there_are(metrics: Metrics) -> None:
    """Every series in them is one that a worker exposes, or one that the rules record."""
    names = {name for name, _ in samples(metrics.render()[0])}
    text = RULES.read_text() + "\n".join(
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    )
    used = {word for word in _words(text) if word.startswith(("crossaisle_", "process_"))}
    assert len(used) > 15
    assert used <= names


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
