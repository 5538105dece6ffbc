"""The truth about lag: a worker that hangs, an independent client, and what a real Prometheus gets of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from stream_app.broker.ports import free_port
from stream_app.lag import measure_lag
from tests.stream_app import harness
from tests.stream_app.web.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.settings import Settings
    from tests.stream_app.web.conftest import Pair

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "docs" / "monitoring"
PROMETHEUS = shutil.which("prometheus")


def metric_lag(pair: Pair, worker: int) -> dict[int, float]:
    """Return the lag in events of each partition of the user stage, as a worker's /metrics says it."""
    families = {f.name: f for f in text_string_to_metric_families(pair.text(worker, "/metrics"))}
    samples = families["crossaisle_lag_events"].samples
    return {int(s.labels["partition"]): s.value for s in samples if s.labels["stage"] == "user"}


@contextlib.contextmanager
def running_lag_command(settings: Settings) -> Iterator[Callable[[set[int]], int]]:
    """Run ``crossaisle lag --watch``; give what tells the user stage's newest lag in some partitions, in events."""
    command = [str(Path(sys.executable).with_name("crossaisle")), "lag", "--watch", "--json", "--interval", "0.5"]
    newest: dict[int, int] = {}

    def read(lines: IO[str]) -> None:
        for line in lines:
            lag = json.loads(line)
            if lag["stage"] == "user":
                newest[lag["partition"]] = lag["lag_events"]

    with subprocess.Popen(command, env=harness.environment(settings), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with ThreadPoolExecutor(1) as thread:
            thread.submit(read, process.stdout)
            try:
                wait_until(lambda: len(newest) == harness.N_PARTITIONS, "the command to print its first table")
                yield lambda partitions: sum(newest[p] for p in partitions)
            finally:
                process.terminate()


def test_a_worker_that_hangs_is_seen_by_the_other(pair: Pair, record_property: Callable[[str, object], None]) -> None:
    """Frozen with SIGSTOP, its lag grows in the running command, in the other's metrics and on the other's page."""
    frozen, watching = 0, 1
    theirs = set(pair.owned(frozen))
    with running_lag_command(pair.settings[watching]) as command:
        pair.workers[frozen].signal(signal.SIGSTOP)
        try:
            watch_lag_grow(pair, watching, theirs, command, record_property)
            state = pair.get(watching, "/state")[1]
            assert state["health"]["level"] == "bad"
            address = pair.url(frozen).removeprefix("http://")
            assert f"Worker {address} does not answer" in state["health"]["words"][0]
            assert all(lag["lag_s"] > 0 for lag in state["lags"] if lag["stage"] == "user" and lag["lag_events"])
        finally:
            pair.workers[frozen].signal(signal.SIGCONT)
    wait_until(lambda: sum(lag.lag_events for lag in pair.lags()) == 0, "the worker to catch up")
    wait_until(lambda: pair.get(watching, "/state")[1]["health"]["level"] == "good", "the page to say that all is well")


def watch_lag_grow(
    pair: Pair,
    watching: int,
    theirs: set[int],
    command: Callable[[set[int]], int],
    record: Callable[[str, object], None],
) -> None:
    """Send events twice; each time the lag of the frozen worker's partitions grows wherever it is shown."""
    seen = 0
    for _ in range(2):
        pair.send(120)
        there = sum(lag.lag_events for lag in pair.lags() if lag.stage == "user" and lag.partition in theirs)
        assert there > seen
        seen = there
        took_s = wait_until(lambda n=there: command(theirs) == n, "the command to show the lag grow")  # type: ignore[misc]
        took_s += wait_until(
            lambda n=there: sum(metric_lag(pair, watching)[p] for p in theirs) == n,  # type: ignore[misc]
            "the metric of the other worker to show the lag",
        )
        record("lag_seen_after_s", round(took_s, 1))


def test_a_replica_that_follows_is_not_stale(pair: Pair) -> None:
    """Nothing is called missing that a worker's own item tasks gave its replica in memory."""
    pair.learn(60)
    for worker in (0, 1):
        assert pair.owned(worker, "item")
        wait_until(lambda w=worker: replica_lag(pair, w) == (0.0, 0.0), "the replica to have everything")  # type: ignore[misc]


def replica_lag(pair: Pair, worker: int) -> tuple[float, float]:
    """Return how many item changes a worker's replica lacks, and the age of the oldest, as its /metrics says it."""
    families = {f.name: f for f in text_string_to_metric_families(pair.text(worker, "/metrics"))}
    names = ("crossaisle_replica_lag_events", "crossaisle_replica_staleness_seconds")
    n, age_s = (families[name].samples[0].value for name in names)
    return n, age_s


def test_an_independent_client_agrees(pair: Pair) -> None:
    """Librdkafka's own client for groups says the same committed offsets and ends, partition by partition."""
    wait_until(lambda: sum(lag.lag_events for lag in pair.lags()) == 0, "everything to be learned")
    settings = pair.settings[0]
    for stage, topic in (("user", settings.topic_events), ("item", settings.topic_item_updates)):

        def stood_still(stage: str = stage, topic: str = topic) -> bool:
            before = our_offsets(pair, stage)
            theirs = group_offsets(settings.bootstrap_servers, f"{settings.app_id}.{stage}", topic)
            if before != our_offsets(pair, stage):
                return False  # a task has committed meanwhile that it is past the marker of a transaction
            assert before == theirs
            return True

        wait_until(stood_still, "the groups to commit nothing more")


def our_offsets(pair: Pair, stage: str) -> dict[int, tuple[int | None, int]]:
    """Return committed offset and end of each partition of a stage, as the command measures them."""
    return {lag.partition: (lag.committed, lag.end) for lag in pair.lags() if lag.stage == stage}


def group_offsets(bootstrap_servers: str, group: str, topic: str) -> dict[int, tuple[int, int]]:
    """Return committed offset and end of each partition of a group, as librdkafka tells them."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    try:
        partitions = [TopicPartition(topic, p) for p in consumer.list_topics(topic).topics[topic].partitions]
        committed = {tp.partition: tp.offset for tp in consumer.committed(partitions, timeout=30)}
        ends = {tp.partition: consumer.get_watermark_offsets(tp, timeout=30)[1] for tp in partitions}
    finally:
        consumer.close()
    return {partition: (committed[partition], ends[partition]) for partition in ends}


KCAT = shutil.which("kcat")


@pytest.mark.skipif(KCAT is None, reason="kcat is not here: apt-get install kcat")
def test_kcat_reads_just_what_the_lag_says(app_settings: Settings, tmp_path: Path) -> None:
    """As a member of the group that the workers left, it gets as many records of each partition as are its lag."""
    harness.make_topics(app_settings)
    with harness.Worker(app_settings, tmp_path / "log") as worker:
        harness.send_numbered(app_settings, 300)
        worker.wait_counted(300)
        assert worker.terminate() == 0
    for partition, n in enumerate((3, 0, 20, 1)):
        harness.send(app_settings, [(b"user-1", b"event")] * n, partition=partition)
    lags = {lag.partition: lag for lag in asyncio.run(measure_lag(app_settings)) if lag.stage == "user"}
    assert {partition: lag.lag_events for partition, lag in lags.items()} == {0: 3, 1: 0, 2: 20, 3: 1}
    assert kcat_ends(app_settings.bootstrap_servers, app_settings.topic_events) == {p: lags[p].end for p in lags}
    left = kcat_left(app_settings.bootstrap_servers, f"{app_settings.app_id}.user", app_settings.topic_events)
    assert left == {p: [*range(lag.committed or 0, lag.end)] for p, lag in lags.items() if lag.lag_events}


def kcat_ends(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """Return the end of each partition, as kcat tells it."""
    wanted = [word for p in range(harness.N_PARTITIONS) for word in ("-t", f"{topic}:{p}:-1")]
    told = re.findall(r"\[(\d+)\] offset (\d+)", kcat(bootstrap_servers, "-Q", *wanted))
    return {int(partition): int(offset) for partition, offset in told}


def kcat_left(bootstrap_servers: str, group: str, topic: str) -> dict[int, list[int]]:
    """Return the offsets that a group has still to read, by partition: kcat joins it and reads to the end."""
    options = [
        "-X",
        "enable.auto.commit=false",
        "-X",
        "isolation.level=read_committed",
        "-X",
        "auto.offset.reset=error",
    ]
    left: dict[int, list[int]] = {}
    for line in kcat(bootstrap_servers, "-G", group, "-e", *options, "-f", r"%p %o\n", topic).splitlines():
        partition, offset = line.split()
        left.setdefault(int(partition), []).append(int(offset))
    return left


def kcat(bootstrap_servers: str, *arguments: str) -> str:
    """Run kcat, and return what it prints."""
    command = [str(KCAT), "-q", "-b", bootstrap_servers, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=harness.TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prometheus(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real Prometheus that scrapes both workers and evaluates the rules of docs/monitoring."""
    if PROMETHEUS is None:
        pytest.skip("Prometheus is not here: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    targets = [pair.url(worker).removeprefix("http://") for worker in (0, 1)]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "rules.yml")],
        "scrape_configs": [{"job_name": "crossaisle", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = [PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def asked(prometheus: str, path: str, **parameters: str) -> Any:
    """Return what Prometheus answers, None if it does not."""
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own Prometheus
            return json.load(response)["data"]
    except OSError:
        return None


def values(prometheus: str, query: str) -> list[float]:
    """Return the values of a query's result, without those that are no number."""
    data = asked(prometheus, "query", query=query)
    found = [float(each["value"][1]) for each in data["result"]] if data else []
    return [value for value in found if value == value]  # noqa: PLR0124 - NaN is not itself


def test_a_real_prometheus_gets_every_series_of_the_dashboard(pair: Pair, prometheus: str) -> None:
    """Each query of the dashboard returns data, and each rule was evaluated without an error."""
    wait_until(lambda: len(values(prometheus, 'up{job="crossaisle"} == 1')) == 2, "Prometheus to scrape both workers")
    for _ in range(2):
        pair.learn(200)  # slates of one commit have their estimates when events of a later one have closed them
    learned = pair.market.n_events
    query = "sum(crossaisle_events_total)"
    wait_until(lambda: values(prometheus, query) == [learned], "Prometheus to have counted every event once")
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    queries = [target["expr"].replace("$__rate_interval", "30s") for panel in panels for target in panel["targets"]]
    assert len(queries) > 20
    for each in queries:
        wait_until(lambda e=each: values(prometheus, e) != [], f"data for {each}")  # type: ignore[misc]
    wait_until(lambda: rules_are_good(prometheus), "every rule to be evaluated")
    assert values(prometheus, "max(crossaisle:lag_events:max)") != []
    firing = [
        alert["labels"]["alertname"] for alert in asked(prometheus, "alerts")["alerts"] if alert["state"] == "firing"
    ]
    assert set(firing) - {"CrossaisleDrift"} == {"CrossaisleCatalogRejects"}, "one record of the catalogue is bad"


def rules_are_good(prometheus: str) -> bool:
    """Whether all rules have been evaluated, none with an error."""
    data = asked(prometheus, "rules")
    health = [rule["health"] for group in data["groups"] for rule in group["rules"]] if data else []
    assert "err" not in health
    return bool(health) and set(health) == {"ok"}


def test_metrics_name_no_user(pair: Pair) -> None:
    """Nor do the logs of the workers."""
    for worker in (0, 1):
        page = pair.text(worker, "/metrics")
        assert "crossaisle_events_total" in page
        for text in (page, pair.workers[worker].log):
            assert "user-1" not in text
            assert "item-1" not in text
            assert "odd-1" not in text
