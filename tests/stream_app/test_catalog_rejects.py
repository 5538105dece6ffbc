"""Tests of reporting catalogue records that cannot be read."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from stream_app import catalog_rejects
from stream_app.catalog_rejects import CatalogRejects
from stream_app.joined_catalog import BadRecords
from stream_app.records import Reject, decode_reject
from tests.stream_app import harness
from tests.stream_app.harness import Worker

if TYPE_CHECKING:
    import pytest

    from stream_app.settings import Settings

REAL_WORKER = (str(Path(sys.executable).with_name("crossaisle")), "worker")


GOOD = b'{"item_id": "item", "category": ["a"]}'


async def _report(settings: Settings, n_reports: int, *places: dict[int, tuple[int, int]]) -> list[int]:
    """Let a worker meet bad records in these places; return how many it reports each time."""
    met = [BadRecords(found, {"not_json": k + 1}) for k, found in enumerate(places)]
    with ThreadPoolExecutor(1) as executor:
        service = CatalogRejects(settings, lambda: met.pop(0), lambda: True, executor)
        while met:
            await service.collect()
        return [await service.report() for _ in range(n_reports)]


def _rejects(settings: Settings) -> list[Reject]:
    harness.wait_decided(settings, settings.topic_rejects)
    return [decode_reject(record) for record in harness.read_committed(settings, settings.topic_rejects)]


def test_each_record_is_reported_once_whoever_reports(app_settings: Settings) -> None:
    """A second worker, which meets the same records and one more, reports that one only."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_catalog
    first = [(b"item", GOOD), (b"item", b"{"), (b"item", GOOD), (b"item", b"{"), (b"item", GOOD)]
    harness.send(app_settings, first, topic=topic, partition=0)
    harness.send(app_settings, [(b"item", b"["), *[(b"item", GOOD)] * 4, (b"item", b"]")], topic=topic, partition=1)
    assert asyncio.run(_report(app_settings, 3, {0: (1, 3), 1: (0, 0)})) == [2, 1, 0]
    assert asyncio.run(_report(app_settings, 3, {0: (1, 3), 1: (0, 0)}, {1: (5, 5)})) == [0, 1, 0]
    assert asyncio.run(_report(app_settings, 2, {0: (3, 3)})) == [0, 0]
    found = [(reject.partition, reject.offset, reject.code) for reject in _rejects(app_settings)]
    assert sorted(found) == [(0, 1, "not_json"), (0, 3, "not_json"), (1, 0, "wrong_type"), (1, 5, "not_json")]


def test_none_is_dropped_however_many_there_are(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of which no record can be read is reported whole, portion by portion, in its order."""
    harness.make_topics(app_settings)
    monkeypatch.setattr(catalog_rejects, "_MOST_READ_AT_ONCE", 4_000)
    bad = [(b"item-%d" % n, b"{%d" % n) for n in range(12_000)]
    harness.send(app_settings, bad, topic=app_settings.topic_catalog, partition=0)
    n_reported = asyncio.run(_report(app_settings, 8, {0: (0, 0)}, {0: (1, 11_999)}))
    assert sum(n_reported) == 12_000
    assert max(n_reported) < 12_000
    assert [(reject.offset, reject.value) for reject in _rejects(app_settings)] == [
        (n, value) for n, (_, value) in enumerate(bad)
    ]


def test_what_was_compacted_away_is_passed_over(app_settings: Settings) -> None:
    """Where the topic no longer has what was met, nothing is reported and nothing waits."""
    harness.make_topics(app_settings)
    harness.send(app_settings, [(b"item", b"{")] * 3, topic=app_settings.topic_catalog, partition=0)
    harness.delete_records(app_settings, app_settings.topic_catalog, 0, 2)
    assert asyncio.run(_report(app_settings, 2, {0: (0, 2)})) == [1, 0]
    assert [reject.offset for reject in _rejects(app_settings)] == [2]


def test_large_headers_delay_no_report(app_settings: Settings) -> None:
    """Large values and large headers by turns go through a topic of default size, in more than one transaction."""
    harness.make_topics(app_settings)
    harness.alter_topic(app_settings, app_settings.topic_rejects, {"max.message.bytes": "1048588"})
    sent = []
    for offset in range(0, 24, 2):
        large_headers = [("trace", bytes([offset]) * 990_000)]
        for value, headers in ((b"?" * 500_000, []), (b"value", large_headers)):
            harness.send(
                app_settings, [(b"key", value)], topic=app_settings.topic_catalog, partition=0, headers=headers
            )
            sent.append(headers)
    assert asyncio.run(_report(app_settings, 3, {0: (0, 23)})) == [22, 2, 0]
    assert [(reject.offset, reject.headers) for reject in _rejects(app_settings)] == list(enumerate(sent))


def test_a_broker_that_is_away_is_told_once(app_settings: Settings) -> None:
    """Reporting fails every second then; the log gets one line, and one more when it fails again later."""
    service = CatalogRejects(app_settings, lambda: BadRecords({}, {}), lambda: True, ThreadPoolExecutor(1))
    with capture_logs() as lines:
        for _ in range(5):
            service._tell_delay(KafkaConnectionError())
    assert [line["event"] for line in lines] == ["catalog_rejects_delayed"]


def test_real_worker_reports_bad_catalogue_records_once(app_settings: Settings, tmp_path: Path) -> None:
    """Garbage on the catalogue topic ends up in the rejects topic with its code, once, however often workers start."""
    harness.make_topics(app_settings)
    garbage = [(b"item-%d" % n, b"\xff garbage %d" % n) for n in range(20)]
    harness.send(app_settings, garbage, topic=app_settings.topic_catalog)

    def n_rejects() -> int:
        return len(harness.read_committed(app_settings, app_settings.topic_rejects))

    for n in (1, 2):
        with Worker(app_settings, tmp_path / "log", REAL_WORKER) as worker:
            harness.wait_for(
                lambda n=n: worker.log.count("catalog_rejected") >= n, "the worker to meet the records", 180
            )
            harness.wait_for(lambda: n_rejects() >= 20, "the records to be reported")
            worker.wait_ready()
            assert worker.terminate() == 0, worker.log
    records = harness.read_committed(app_settings, app_settings.topic_rejects)
    assert sorted(record.value for record in records) == sorted(value for _, value in garbage)
    assert {decode_reject(record).code for record in records} <= {"not_json", "not_utf8"}
