"""B6: events per second of 1, 2 and 4 worker processes on this machine, over the same events, and a model of more.

Every worker follows what all others learn about items, so that with ``n`` workers an event costs the cluster
``own + (n - 1) * other`` microseconds of CPU: ``own`` where its user is, ``other`` at each of the others. The two are
taken from the runs with 1 and with 2 workers; how well they foretell the run with 4 is a figure, too. Machines of ``c``
cores for each worker then take ``n * c / (own + (n - 1) * other)`` events a second, which grows towards ``c / other``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from benchmarks.cluster import PAST_EAGER, Cluster, cluster, say
from benchmarks.machine import Usage
from benchmarks.workers import Process, admin_of, committed, owners

TITLE = "Workers: events per second of several processes on one machine"
_POLL_S = 0.25
_JOIN_TIMEOUT_S = 300.0
_SETTLE_S = 10.0
"""Between the moment when all have joined and the measurement: a worker that has got partitions is behind at first."""
_CORES_EACH = 2
"""Cores of each machine of the modelled cluster."""


async def measure(*, quick: bool) -> dict[str, Any]:
    """Return rate and CPU time per event for each number of workers."""
    n_events, n_warm, watch_s, counts = (100_000, 400, 2.0, (2,)) if quick else (900_000, PAST_EAGER, 12.0, (1, 2, 4))
    async with cluster() as home:
        n = await home.fill(n_events)
        found = {str(count): await _contest(home, count, n, n_warm, watch_s) for count in counts}
    return {"cores": os.cpu_count(), "workers": found, "model": None if quick else model(found)}


def model(workers: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return what an event costs its own worker and every other one, and what follows for more of them.

    Parameters
    ----------
    workers
        By their number, ``"1"``, ``"2"`` and ``"4"`` among them: ``cpu_us_per_event``, of all together.
    """
    spent = {int(count): found["cpu_us_per_event"] for count, found in workers.items()}
    own, other = spent[1], max(spent[2] - spent[1], 0.0)
    sizes = (1, 2, 4, 8, 16, 32)
    return {
        "own_us": own,
        "other_us": other,
        "foretold_us_of_4": own + 3 * other,
        "measured_us_of_4": spent[4],
        "events_per_s_with_2_cores_each": {str(n): n * _CORES_EACH / (own + (n - 1) * other) * 1e6 for n in sizes},
    }


async def _contest(home: Cluster, count: int, n: int, n_warm: int, watch_s: float) -> dict[str, float]:
    settings = await home.app(f"workers{count}")
    processes = []
    try:
        for number in range(count):
            own = settings.model_copy(update={"state_dir": settings.state_dir / str(number)})
            own.state_dir.mkdir()
            processes.append(Process(own, name=f"worker-{number}"))
        async with admin_of(settings) as admin:
            return await _watch(processes, n, n_warm, watch_s, admin, settings)
    finally:
        for process in processes:
            process.kill()


async def _joined(processes: list[Process], n_warm: int, admin: Any, settings: Any) -> None:
    """Wait until the first events are committed and each worker owns partitions of both stages."""
    groups = (
        (f"{settings.app_id}.user", settings.topic_events),
        (f"{settings.app_id}.item", settings.topic_item_updates),
    )
    until_s = time.monotonic() + _JOIN_TIMEOUT_S
    while True:
        for process in processes:
            process.check()
        done = await committed(admin, settings)
        joined = [await owners(admin, group, topic) for group, topic in groups]
        if done >= n_warm and min(joined) == len(processes):
            return
        if time.monotonic() > until_s:
            sys.exit(
                f"B6: after {_JOIN_TIMEOUT_S:.0f} s {done:,} of {n_warm:,} events were committed, and of "
                f"{len(processes)} workers {joined[0]} owned events and {joined[1]} items; see {processes[0].log}"
            )
        await asyncio.sleep(_POLL_S)


async def _watch(
    processes: list[Process], n: int, n_warm: int, watch_s: float, admin: Any, settings: Any
) -> dict[str, float]:
    """Measure once the first events are committed and every worker has owned partitions for a while."""
    await _joined(processes, n_warm, admin, settings)
    if len(processes) > 1 and watch_s > _POLL_S * 10:
        await asyncio.sleep(_SETTLE_S)
    began, before = time.monotonic(), await committed(admin, settings)
    cpu_s = sum(Usage.of(p.pid).cpu_s for p in processes)
    done = before
    while time.monotonic() - began < watch_s and done < n:
        await asyncio.sleep(_POLL_S)
        done = await committed(admin, settings)
    took_s = time.monotonic() - began
    spent_s = sum(Usage.of(p.pid).cpu_s for p in processes) - cpu_s
    learned = max(done - before, 1)
    say(f"  {len(processes)} workers: {learned / took_s:,.0f} events/s")
    return {
        "events_per_s": learned / took_s,
        "cpu_us_per_event": spent_s / learned * 1e6,
        "rss_mb": sum(Usage.of(p.pid).rss_mb for p in processes),
    }
