"""What only the workers know of their lag: positions, how old their item replicas are, restores that go on.

Who they are comes from the groups; each is asked over HTTP. How far a replica is behind is counted at the broker, from
the offsets that the worker says it wants next. A worker that hangs does not answer, and that is shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from stream_app.members import fetch_members
from stream_app.worker_report import decode_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.lag import LagMeter
    from stream_app.partition_lag import PartitionLag
    from stream_app.settings import Settings

TIMEOUT_S: Final = 1.0


class WorkerLag(msgspec.Struct, frozen=True, kw_only=True):
    """One worker.

    Attributes
    ----------
    worker
        ``host:port`` of its HTTP server.
    answers, ready
        Whether it answers as a worker does, and whether all its tasks run.
    owns
        Its partitions by stage.
    replica_lag_events, replica_staleness_s
        Item changes that its replica lacks, and the age of the oldest one in seconds; None where it does not answer.
    restores
        Tasks that read their changelog: stage, partition, ``n_left`` records and ``left_s`` seconds, an estimate.
    """

    worker: str
    answers: bool
    ready: bool
    owns: dict[str, list[int]]
    replica_lag_events: int | None = None
    replica_staleness_s: float | None = None
    restores: list[dict[str, Any]] = []


async def ask_workers(settings: Settings, meter: LagMeter) -> tuple[list[WorkerLag], dict[tuple[str, int], int]]:
    """Return all workers of the groups, and the position of every partition whose owner answers.

    Raises
    ------
    LagError, aiokafka.errors.KafkaError
        The broker does not answer.
    """
    members = await fetch_members(meter.admin, settings)
    addresses = sorted({member.address for member in members})
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        reports = await asyncio.gather(*(_report(session, address) for address in addresses))
    workers, positions = [], {}
    for address, report in zip(addresses, reports, strict=True):
        owns = {m.stage: sorted(m.partitions) for m in members if m.address == address}
        workers.append(await _worker(settings, meter, address, owns, report))
        for stage, partition, task in _tasks(report):
            if task.get("read_offset") is not None:
                positions[stage, partition] = int(task["read_offset"])
    return workers, positions


def with_owners(
    lags: Sequence[PartitionLag], workers: Sequence[WorkerLag], positions: dict[tuple[str, int], int]
) -> list[PartitionLag]:
    """Return the lags with owner and position of each partition."""
    owners = {(stage, p): worker.worker for worker in workers for stage, those in worker.owns.items() for p in those}
    return [
        msgspec.structs.replace(
            lag,
            owner=owners.get((lag.stage, lag.partition)),
            position=positions.get((lag.stage, lag.partition)),
        )
        for lag in lags
    ]


async def _report(session: aiohttp.ClientSession, address: str) -> dict[str, Any] | None:
    try:
        async with session.get(f"http://{address}/health/ready", allow_redirects=False) as response:
            return decode_report(await response.read())
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        return None


async def _worker(
    settings: Settings, meter: LagMeter, address: str, owns: dict[str, list[int]], report: dict[str, Any] | None
) -> WorkerLag:
    if report is None:
        return WorkerLag(worker=address, answers=False, ready=False, owns=owns)
    offsets = report["tails"].get(settings.topic_item_state, {}).get("offsets", {})
    replica = await meter.measure_replica(settings.topic_item_state, {int(p): int(o) for p, o in offsets.items()})
    restores = [
        {"stage": stage, "partition": partition, **task["restore"]}
        for stage, partition, task in _tasks(report)
        if task.get("restore")
    ]
    return WorkerLag(
        worker=address,
        answers=True,
        ready=bool(report["ready"]),
        owns=owns,
        replica_lag_events=sum(lag.lag_events for lag in replica),
        replica_staleness_s=max((lag.lag_s or 0.0 for lag in replica), default=0.0),
        restores=restores,
    )


def _tasks(report: dict[str, Any] | None) -> list[tuple[str, int, dict[str, Any]]]:
    stages = report["stages"] if report is not None else {}
    return [(name, int(task["partition"]), task) for name, stage in stages.items() for task in stage["tasks"]]
