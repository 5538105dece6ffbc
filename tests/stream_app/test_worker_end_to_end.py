"""The real worker on a real broker: what goes in, what comes out."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import sys
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families

from stream_app.broker import EmbeddedBroker
from stream_app.inspect import UnknownIdError, inspect_item, inspect_user
from stream_app.lag import measure_lag
from stream_app.records import REJECT_CODES, EventLimits, Reject, decode_catalog, decode_reject
from tests.conftest import fresh_settings
from tests.stream_app import harness, odd_headers, shop
from tests.stream_app.harness import Worker
from tests.stream_app.shop import REAL_WORKER, Shop

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.settings import Settings


@pytest.fixture
def settings(app_settings: Settings) -> Settings:
    """Return settings of an application of its own whose topics exist."""
    harness.make_topics(app_settings)
    return harness.with_short_session(app_settings)


def check_metrics(settings: Settings, market: Shop) -> None:
    """Assert that /metrics is what Prometheus reads, counts what was learned, and names no user."""
    url = f"http://127.0.0.1:{settings.web_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        page = response.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    learned = families["crossaisle_events"].samples
    assert sum(sample.value for sample in learned) == market.n_events
    assert families["crossaisle_ready"].samples[0].value == 1.0
    assert families["crossaisle_committed_offset"].samples
    assert "user-1" not in page


def test_slates_come_out(settings: Settings, tmp_path: Path) -> None:
    """Every event is learned by both stages, and every slate keeps its promises."""
    market = Shop()
    harness.send(settings, shop.catalogue(), topic=settings.topic_catalog)
    harness.send(settings, shop.catalogue(range(6), available=False), topic=settings.topic_catalog)
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        sent = market.events(3000)
        for at in range(0, 3000, 500):  # what nobody has touched yet cannot be recommended: slates come from round 2 on
            harness.send(settings, sent[at : at + 500])
            shop.wait_learned(settings, at + 500, worker)
        check_metrics(settings, market)
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log
    shop.check_learned_once(settings, market)
    users = {(r.partition, r.offset): r.key.decode() for r in harness.read_committed(settings, settings.topic_events)}
    found = shop.slates(settings)
    assert {slate.user_id for slate in found} == market.users
    for slate in found:
        assert users[slate.as_of.partition, slate.as_of.offset] == slate.user_id
        assert slate.policy in {arm.name for arm in settings.arms}
        assert 0 < slate.policy_propensity <= 1
        ids = [item.item_id for item in slate.items]
        assert 0 < len(ids) == len(set(ids)) <= settings.slate_size
        assert not {item.category for item in slate.items} & set(slate.context_categories)
        per_category = Counter(item.category for item in slate.items)
        even = math.ceil(2 * settings.slate_size / len(per_category))  # more than the cap where categories are few
        assert max(per_category.values()) <= max(settings.category_cap, even)
        assert not {int(i.removeprefix("item-")) for i in ids} & set(range(6))
        assert all(0.0 < item.propensity <= 1.0 and 0.0 <= item.score <= 1.0 for item in slate.items)
        assert all(item.category == " / ".join(shop.category_of(int(item.item_id[5:]))) for item in slate.items)
    reasons = {item.reason.split(":")[0] for slate in found for item in slate.items}
    assert reasons <= {"repeat", "together", "taste", "category", "popular"}
    assert len(reasons) > 1


def test_inspect_tells_what_was_learned(settings: Settings, tmp_path: Path) -> None:
    """A user's items with counts, an item's neighbours, and a user who was forgotten."""
    market = Shop()
    harness.send(settings, shop.catalogue(), topic=settings.topic_catalog)
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        events = [market.event("ann", "item-1", session_id=f"s{k}") for k in range(3)]
        events += [market.event("ann", "item-2", session_id="s2"), market.event("bob", "item-3")]
        harness.send(settings, events)
        shop.wait_learned(settings, 5, worker)
        user = asyncio.run(inspect_user(settings, "ann"))
        assert {i["item_id"]: i["count"] for i in user["items"]} == {"item-1": 3, "item-2": 1}
        assert user["n_events"] == 4
        item = asyncio.run(inspect_item(settings, "item-2"))
        assert item["n_events"] == 1
        assert [n["item_id"] for n in item["neighbours"]] == ["item-1"]
        with pytest.raises(UnknownIdError, match="nobody"):
            asyncio.run(inspect_user(settings, "nobody"))
        forget = {"event_id": "f", "type": "forget", "user_id": "ann", "event_time_ms": shop.START_MS}
        harness.send(settings, [(b"ann", json.dumps(forget).encode())])
        harness.wait_for(lambda: shop.totals(settings)["n_forgotten"] == 1, "the user to be forgotten")
    with pytest.raises(UnknownIdError, match="ann"):
        asyncio.run(inspect_user(settings, "ann"))
    assert shop.totals(settings)["n_users"] == 1
    keys = [r.key for r in harness.read_committed(settings, settings.topic_user_state) if r.value is None]
    assert keys, "no tombstone in the changelog"


def test_item_without_category_is_learned_but_not_shown(settings: Settings, tmp_path: Path) -> None:
    """An event about an item that the catalogue lacks is learned; the item is shown once its category is known."""
    market = Shop()
    harness.send(settings, shop.catalogue(range(1, 5)), topic=settings.topic_catalog)
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        for k in range(12):
            harness.send(settings, [market.event(f"u{k}", i, session_id=f"{k}") for i in ("item-0", "item-1")])
        shop.wait_learned(settings, 24, worker)
        assert all(item.item_id != "item-0" for slate in shop.slates(settings) for item in slate.items)
        harness.send(settings, shop.catalogue(range(1)), topic=settings.topic_catalog)

        def shown() -> bool:
            harness.send(settings, [market.event("u-new", "item-2", session_id="n")])
            return any(item.item_id == "item-0" for slate in shop.slates(settings) for item in slate.items)

        harness.wait_for(shown, "the item to be recommended")


def test_the_faust_command_runs_the_same_worker(settings: Settings, tmp_path: Path) -> None:
    """``faust -A stream_app worker`` learns the same events."""
    market = Shop()
    harness.send(settings, shop.catalogue(), topic=settings.topic_catalog)
    harness.send(settings, market.events(200))
    command = (sys.executable, "-m", "faust", "-A", "stream_app", "worker", "--without-web")
    with Worker(settings, tmp_path / "log", command) as worker:
        shop.wait_learned(settings, 200, worker)
        worker.signal(signal.SIGTERM)
        assert worker.wait(2 * harness.stop_limit_s()) == 0, worker.log
    shop.check_learned_once(settings, market)


def test_ctrl_c_ends_a_worker_and_its_log_stays_json(settings: Settings, tmp_path: Path) -> None:
    """It exits with 0 as on SIGTERM, and every line of its log can be read by a machine, to the last."""
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        worker.wait_ready()
        worker.signal(signal.SIGINT)
        assert worker.wait(2 * harness.stop_limit_s()) == 0, worker.log
    lines = [json.loads(line) for line in worker.log.splitlines()]
    said = [line for line in lines if line["event"] == "worker_stops"]  # not always last: what runs may still report
    assert [line["signal"] for line in said] == ["SIGINT"], worker.log
    assert not [line for line in lines if line["level"] == "error"], worker.log


def has_policy(settings: Settings) -> bool:
    """Return whether a policy has been published."""
    return bool(harness.read_committed(settings, settings.topic_policy_state))


def test_a_broker_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A worker whose broker is frozen ends on SIGTERM as soon as others; what it could not commit is learned later."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        settings = fresh_settings(broker.bootstrap_servers, tmp_path / "state")
        harness.make_topics(settings)
        market = Shop()
        harness.send(settings, shop.catalogue(), topic=settings.topic_catalog)
        with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
            for _ in range(2):  # the first ones get no slates: nothing was touched before
                harness.send(settings, market.events(50))
                shop.wait_learned(settings, market.n_events, worker)
            harness.wait_for(lambda: has_policy(settings), "the policy agent to publish")
            harness.send(settings, market.events(50))
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                worker.signal(signal.SIGTERM)
                assert worker.wait(2 * harness.stop_limit_s()) == 0, worker.log
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
            shop.wait_learned(settings, market.n_events, worker)
            assert worker.terminate() == 0
        shop.check_learned_once(settings, market)


def _mutated(market: Shop, n: int) -> list[tuple[bytes | None, bytes | None]]:
    """Return valid events, random bytes, and valid events with bytes or fields changed."""
    rng = market._rng
    out: list[tuple[bytes | None, bytes | None]] = []
    for k in range(n):
        key, value = market.event(f"user-{k % 30}", shop.item_name(k % shop.N_ITEMS))
        match rng.randrange(6):
            case 0:
                out.append((key, value))
            case 1:
                out.append((key, rng.randbytes(rng.randrange(0, 200))))
            case 2:
                at = rng.randrange(len(value))
                out.append((key, value[:at] + rng.randbytes(1) + value[at + 1 :]))
            case 3:
                fields = json.loads(value)
                name = rng.choice(list(fields))
                odd = [None, 5, "x" * 400, [], {}, -1, 1e308, True, "", 10**30, float("nan")]
                fields[name] = rng.choice(odd)
                out.append((key, json.dumps(fields).encode()))
            case 4:
                out.append((rng.choice([None, b"", b"\xff", b"another"]), value))
            case _:
                out.append((key, rng.choice([None, value[: rng.randrange(len(value))], value + b"}", b"[" * 3000])))
    return out


def _mutated_catalogue(rng: random.Random, n: int) -> list[tuple[bytes, bytes | None]]:
    """Return valid entries, tombstones, random bytes, and valid entries with bytes, fields or keys changed."""
    out: list[tuple[bytes, bytes | None]] = []
    odd = [None, 5, "x" * 400, [], {}, -1, 1e308, True, "", ["a", ""], ["a"] * 40, float("nan"), [1e39]]
    for k in range(n):
        item = f"odd-{k % 500}"
        fields = {"item_id": item, "category": ["odd", f"c{k % 7}"], "price": 1.5, "rating": 3, "embedding": [0.5]}
        key, value = item.encode(), json.dumps(fields).encode()
        match rng.randrange(6):
            case 0:
                out.append((key, value))
            case 1:
                out.append((key, rng.randbytes(rng.randrange(0, 200))))
            case 2:
                at = rng.randrange(len(value))
                out.append((key, value[:at] + rng.randbytes(1) + value[at + 1 :]))
            case 3:
                fields[rng.choice([*fields, "brand", "title", "tags", "available", "n_sold"])] = rng.choice(odd)
                out.append((key, json.dumps(fields).encode()))
            case 4:
                out.append((rng.choice([b"", b"\xff", b"another", b"k" * 300]), rng.choice([value, None])))
            case _:
                out.append((key, rng.choice([None, value[: rng.randrange(len(value))], value + b"}", b"[" * 3000])))
    return out


def _rejects_of(settings: Settings, topic: str) -> list[Reject]:
    rejects = [decode_reject(r) for r in harness.read_committed(settings, settings.topic_rejects)]
    return [reject for reject in rejects if reject.topic == topic]


def check_rejects(settings: Settings, topic: str, n_wanted: int, n_codes: int) -> None:
    """Assert that each of a topic's bad records was rejected once, with a code, its bytes and its position."""
    rejects = _rejects_of(settings, topic)
    assert len(rejects) == len({(r.partition, r.offset) for r in rejects}) == n_wanted
    assert {r.code for r in rejects} <= set(REJECT_CODES)
    assert len({r.code for r in rejects}) >= n_codes
    originals = {(r.partition, r.offset): r for r in harness.read_committed(settings, topic)}
    for reject in rejects:
        original = originals[reject.partition, reject.offset]
        assert (reject.key, reject.value, reject.n_cut_bytes) == (original.key, original.value, 0)
        assert reject.timestamp_ms == original.timestamp
        assert reject.reason


def test_a_reject_is_the_original(settings: Settings, tmp_path: Path) -> None:
    """Bytes, headers, time and position of a bad record survive, and its neighbours in the batch are learned."""
    market = Shop()
    _, good = market.event("ann", "item-1")
    bad: list[tuple[str, bytes | None, bytes | None]] = [
        ("oversized", b"ann", b" " * settings.max_record_bytes + b"{}"),
        ("not_json", b"ann", b"\x00 nothing"),
        ("not_utf8", b"ann", b'{"event_id": "\xff"}'),
        ("empty", b"ann", None),
        ("key_mismatch", b"bob", good),
        ("key_mismatch", None, good),
        ("bad_time", b"ann", good.replace(b"160000", b"960000", 1)),
        ("bad_value", b"ann", good.replace(b'"purchase"', b'"rating"')[:-1] + b', "value": 6}'),
        ("unknown_type", b"ann", good.replace(b"purchase", b"glance")),
        ("empty_id", b"ann", good.replace(b'"item-1"', b'""')),
        ("id_too_long", b"ann", good.replace(b"item-1", b"i" * 300)),
        ("missing_field", b"ann", good.replace(b'"item_id"', b'"thing"')),
        ("wrong_type", b"ann", b"[]"),
    ]
    headers = [("trace", b"\x00\xff"), ("trace", b"again"), ("", b"")]
    records = [(key, value) for _, key, value in bad]
    mixed = [record for pair in zip(records, market.events(len(records)), strict=True) for record in pair]
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        harness.send(settings, mixed, partition=2, headers=headers)
        shop.wait_learned(settings, len(records), worker)
        harness.wait_for(lambda: shop.totals(settings)["n_rejected"] == len(bad), "all bad records to be rejected")
        assert worker.terminate() == 0, worker.log
    rejects = _rejects_of(settings, settings.topic_events)
    originals = {r.offset: r for r in harness.read_committed(settings, settings.topic_events) if r.partition == 2}
    assert [reject.code for reject in rejects] == [code for code, _, _ in bad]
    for reject in rejects:
        original = originals[reject.offset]
        assert (reject.partition, reject.timestamp_ms, reject.n_cut_bytes) == (2, original.timestamp, 0)
        assert (reject.key, reject.value, reject.headers) == (original.key, original.value, headers)


@pytest.mark.slow
def test_wrong_input_ends_in_rejects(settings: Settings, tmp_path: Path) -> None:
    """Of 10,000 random and mutated records on either topic each is used or rejected with a code; the worker lives."""
    market, rng = Shop(5), random.Random(6)  # noqa: S311 - noise, not secrets
    harness.send(settings, shop.catalogue(), topic=settings.topic_catalog)
    records, entries = _mutated(market, 10_000), _mutated_catalogue(rng, 10_000)
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        harness.send(settings, entries, topic=settings.topic_catalog)
        harness.send(settings, records)
        in_catalogue = harness.read_committed(settings, settings.topic_catalog)
        bad_entries = decode_catalog(in_catalogue, limits=EventLimits.of(settings)).rejections
        assert 5_000 < len(bad_entries) < len(entries) < len(in_catalogue)

        def done() -> bool:
            assert worker.process.poll() is None, worker.log
            found = shop.totals(settings)
            used = found["n_events"] + found["n_duplicates"] + found["n_rejected"] + found["n_forgotten"]
            reported = len(_rejects_of(settings, settings.topic_catalog))
            return used >= len(records) and reported >= len(bad_entries)

        harness.wait_for(done, "all records to be used", shop.COMPILE_S)
        before = shop.totals(settings)
        harness.send(settings, [market.event("valid", "item-1")])
        shop.wait_learned(settings, before["n_events"] + 1, worker)
    used = before["n_events"] + before["n_duplicates"] + before["n_rejected"] + before["n_forgotten"]
    assert used == len(records)
    assert before["n_rejected"] > 5_000
    check_rejects(settings, settings.topic_events, before["n_rejected"], 8)
    check_rejects(settings, settings.topic_catalog, len(bad_entries), 8)


def _send_compressed(settings: Settings, records: list[tuple[bytes, bytes]], codec: str, topic: str) -> None:
    """Send records as librdkafka does, which has encoders of its own."""
    options: dict[str, Any] = {"bootstrap.servers": settings.bootstrap_servers, "compression.type": codec}
    producer = Producer({**options, "linger.ms": 50})
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(30) == 0


def test_what_producers_may_do(settings: Settings, tmp_path: Path) -> None:
    """Batches of all codecs are read on either topic, and those with headers whose names are no UTF-8."""
    market, codecs, catalogue = Shop(), ("none", "gzip", "snappy", "lz4", "zstd"), shop.catalogue()
    for k, codec in enumerate(codecs):
        _send_compressed(settings, catalogue[k :: len(codecs)], codec, settings.topic_catalog)
    odd_headers.send(settings, settings.topic_catalog, [(b"item-1", catalogue[1][1]), (b"odd", b"{")])
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        for k, codec in enumerate(codecs):
            _send_compressed(settings, market.events(300), codec, settings.topic_events)
            shop.wait_learned(settings, 300 * (k + 1), worker)
        odd_headers.send(settings, settings.topic_events, [market.event("ann", "item-1"), (b"ann", b"{")])
        shop.wait_learned(settings, market.n_events, worker)
        harness.wait_for(lambda: len(harness.read_committed(settings, settings.topic_rejects)) == 2, "both rejects")
        assert worker.terminate() == 0, worker.log
    shop.check_learned_once(settings, market)
    for topic in (settings.topic_catalog, settings.topic_events):
        assert [(r.code, r.headers) for r in _rejects_of(settings, topic)] == [("not_json", [("trac\ufffd", b"\xff")])]


def test_offsets_that_the_group_has_lost_are_told_again(settings: Settings, tmp_path: Path) -> None:
    """Where the groups' offsets have expired, lag is right again once a worker runs, without any new event."""
    market = Shop()
    harness.send(settings, shop.catalogue(), topic=settings.topic_catalog)
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        harness.send(settings, market.events(300))
        shop.wait_learned(settings, 300, worker)
        assert worker.terminate() == 0, worker.log
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    for future in admin.delete_consumer_groups([f"{settings.app_id}.{stage}" for stage in ("user", "item")]).values():
        future.result(30)

    def lag() -> int:
        return sum(part.lag_events for part in asyncio.run(measure_lag(settings)))

    assert lag() > 300
    with Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        harness.wait_for(lambda: lag() == 0, "lag to be told")
        assert worker.terminate() == 0, worker.log
    shop.check_learned_once(settings, market)


def test_termination_while_kernels_compile(settings: Settings, tmp_path: Path) -> None:
    """A first start that is still compiling ends within 5 seconds of SIGTERM, with exit code 0."""
    empty = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    with Worker(settings, tmp_path / "log", REAL_WORKER, extra=empty) as worker:
        harness.wait_for(lambda: "kernels_compiling" in worker.log, "the worker to compile", shop.COMPILE_S)
        worker.signal(signal.SIGTERM)
        assert worker.wait(harness.stop_limit_s()) == 0, worker.log
        assert "kernels_ready" not in worker.log
