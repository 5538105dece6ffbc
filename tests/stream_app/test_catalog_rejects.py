"""Tests of reporting catalogue records that cannot be read."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from stream_app.catalog_rejects import CatalogRejects
from stream_app.records import Rejection, decode_reject
from tests.stream_app import harness
from tests.stream_app.harness import Worker

if TYPE_CHECKING:
    from stream_app.catalog_rejects import Rejected
    from stream_app.settings import Settings

REAL_WORKER = (str(Path(sys.executable).with_name("crossaisle")), "worker")


class FakeRecord(NamedTuple):
    """A catalogue record as a consumer gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 1
    key: bytes | None = b"key"
    value: bytes | None = b"value"
    headers: tuple[tuple[str, bytes], ...] = ()


def _rejected(settings: Settings, *places: tuple[int, int]) -> list[Rejected]:
    return [
        (FakeRecord(settings.topic_catalog, partition, offset), Rejection(0, "not_json", "it is not JSON"))
        for partition, offset in places
    ]


def test_each_record_is_reported_once_whoever_reports(app_settings: Settings) -> None:
    """A second worker, which meets the same records and one more, reports that one only."""
    harness.make_topics(app_settings)

    async def report(*places: tuple[int, int]) -> int:
        with ThreadPoolExecutor(1) as executor:
            rejected = [_rejected(app_settings, *places)]
            service = CatalogRejects(app_settings, rejected.pop, lambda: True, executor)
            await service.collect()
            assert service.n_rejected == {"not_json": len(places)}
            n = await service.report()
            assert await service.report() == 0
            return n

    assert asyncio.run(report((0, 3), (1, 0))) == 2
    assert asyncio.run(report((0, 3), (1, 0), (1, 5))) == 1
    assert asyncio.run(report((0, 3))) == 0
    rejects = [decode_reject(record) for record in harness.read_committed(app_settings, app_settings.topic_rejects)]
    assert [(reject.partition, reject.offset) for reject in rejects] == [(0, 3), (1, 0), (1, 5)]


def test_large_headers_delay_no_report(app_settings: Settings) -> None:
    """Large values and large headers by turns go through a topic of default size, in more than one transaction."""
    harness.make_topics(app_settings)
    harness.alter_topic(app_settings, app_settings.topic_rejects, {"max.message.bytes": "1048588"})
    topic, rejected = app_settings.topic_catalog, []
    for offset in range(0, 24, 2):
        large_headers = (("trace", bytes([offset]) * 990_000),)
        records = (
            FakeRecord(topic, 0, offset, value=b"?" * 500_000),
            FakeRecord(topic, 0, offset + 1, headers=large_headers),
        )
        rejected += [(record, Rejection(0, "not_json", "it is not JSON")) for record in records]

    async def report() -> list[int]:
        with ThreadPoolExecutor(1) as executor:
            service = CatalogRejects(app_settings, [rejected].pop, lambda: True, executor)
            await service.collect()
            return [await service.report() for _ in range(3)]

    assert asyncio.run(report()) == [22, 2, 0]
    harness.wait_decided(app_settings, app_settings.topic_rejects)
    rejects = [decode_reject(record) for record in harness.read_committed(app_settings, app_settings.topic_rejects)]
    assert [(reject.offset, tuple(reject.headers)) for reject in rejects] == [
        (r.offset, r.headers) for r, _ in rejected
    ]


def test_a_broker_that_is_away_is_told_once(app_settings: Settings) -> None:
    """Reporting fails every second then; the log gets one line, and one more when it fails again later."""
    service = CatalogRejects(app_settings, list, lambda: True, ThreadPoolExecutor(1))
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
