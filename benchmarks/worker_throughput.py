"""B1: how many real events a second one worker learns and answers, as a share of the bare Kafka limit in the same run.

The limit is an aiokafka loop that reads and decodes each event and writes one ten-item slate for it. The worker then
drains the same events from the same broker, with learning, state, transactions and slates. Its memory is sampled all
the while. Writes ``benchmarks/results/worker_throughput.json`` and prints a table.

Run: ``make bench`` or ``python benchmarks/worker_throughput.py --events 400000``.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.broker import EmbeddedBroker
from stream_app.dataset import write_complete_journey
from stream_app.inspect import inspect_totals
from stream_app.kafka import client_options
from stream_app.lag import LagMeter
from stream_app.produce import produce_records
from stream_app.records import AsOf, Event, Slate, SlateItem
from stream_app.settings import Settings
from stream_app.topics import create_topics

RESULTS = Path(__file__).parent / "results"
SAMPLE_S = 2.0


def _lines(path: Path, limit: int | None) -> Any:
    with path.open("rb") as file:
        yield from (line.rstrip(b"\n") for line in islice(file, limit))


async def raw_limit(settings: Settings, n: int) -> float:
    """Return the events per second of the bare loop over the first ``n`` events."""
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    items = [SlateItem(f"item-{k}", "department / category", 0.01, 1.0, "repeat") for k in range(10)]
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, max_partition_fetch_bytes=4 << 20)
    producer = AIOKafkaProducer(**client_options(settings), max_batch_size=1 << 20, linger_ms=0)
    await consumer.start()
    await producer.start()
    tps = [TopicPartition(settings.topic_events, p) for p in range(settings.partitions)]
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)
    done, started = 0, time.perf_counter()
    while done < n:
        for tp, records in (await consumer.getmany(timeout_ms=100, max_records=4000)).items():
            batch = producer.create_batch()
            for record in records:
                event = decode(record.value)
                slate = Slate(
                    f"{tp.partition}-{record.offset}",
                    event.user_id,
                    AsOf(tp.partition, record.offset),
                    event.event_time_ms,
                    0,
                    "greedy",
                    0,
                    [],
                    items,
                )
                if batch.append(key=record.key, value=encode(slate), timestamp=None) is None:
                    await producer.send_batch(batch, "raw-slates", partition=tp.partition)
                    batch = producer.create_batch()
                    batch.append(key=record.key, value=encode(slate), timestamp=None)
            await producer.send_batch(batch, "raw-slates", partition=tp.partition)
            done += len(records)
    await producer.flush()
    took = time.perf_counter() - started
    await consumer.stop()
    await producer.stop()
    return done / took


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def worker_rate(settings: Settings, n: int) -> dict[str, Any]:
    """Start one worker, let it drain ``n`` events, and return its rate and memory over time."""
    env = {**os.environ}
    for name in ("bootstrap_servers", "app_id", "state_dir", "web_port"):
        env[f"CROSSAISLE_{name.upper()}"] = str(getattr(settings, name))
    launched = time.perf_counter()
    with (settings.state_dir / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "stream_app.cli.main", "worker"]
        worker = subprocess.Popen(command, env=env, stderr=log)  # noqa: ASYNC220, S603 - nothing else runs meanwhile
    samples: list[dict[str, float]] = []
    try:
        async with LagMeter(settings) as meter:
            started, done = 0.0, 0
            while done < n:
                await asyncio.sleep(SAMPLE_S)
                if worker.poll() is not None:
                    sys.exit(f"the worker ended; see {settings.state_dir / 'worker.log'}")
                lags = [lag for lag in await meter.measure() if lag.stage == "user"]
                done = n - sum(lag.lag_events for lag in lags)
                now = time.perf_counter()
                if done > 0 and not samples:
                    started = now
                if done > 0:
                    samples.append({"s": now - started, "events": done, "rss_mb": _rss_mb(worker.pid)})
                    print(f"  {done:>9,} events, {_rss_mb(worker.pid):6.0f} MB", file=sys.stderr)
    finally:
        worker.terminate()
        worker.wait()
    first, last = samples[0], samples[-1]
    return {
        "events_per_s": (last["events"] - first["events"]) / max(last["s"] - first["s"], 1e-9),
        "ready_after_s": started - launched,
        "samples": samples,
    }


async def run(n: int | None) -> dict[str, Any]:
    """Run both sides on one broker and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_complete_journey(home / "cj", seed=0)
        with EmbeddedBroker(home / "broker", progress=lambda text: print(text, file=sys.stderr)) as broker:
            settings = Settings(bootstrap_servers=broker.bootstrap_servers, state_dir=home / "state", web_port=16_066)
            settings.state_dir.mkdir()
            await create_topics(settings, settings.partitions, 1)
            raw = settings.model_copy(update={"topic_recommendations": "raw-slates", "app_id": "raw"})
            await create_topics(raw, settings.partitions, 1)
            await produce_records(settings, settings.topic_catalog, _lines(home / "cj" / "catalog.jsonl", None))
            sent = await produce_records(settings, settings.topic_events, _lines(home / "cj" / "events.jsonl", n))
            limit = await raw_limit(settings, min(sent, 200_000))
            worker = await worker_rate(settings, sent)
            totals = await inspect_totals(settings)
    return {
        "scenario": "B1-worker",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "events": sent,
        "raw_limit_events_per_s": limit,
        "worker_events_per_s": worker["events_per_s"],
        "share_of_limit": worker["events_per_s"] / limit,
        "ready_after_s": worker["ready_after_s"],
        "learned": totals["n_events"],
        "slates": totals["n_slates"],
        "samples": worker["samples"],
    }


def main() -> None:
    """Measure, print a table, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, help="events to replay; the whole year if not given")
    found = asyncio.run(run(parser.parse_args().events))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "worker_throughput.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found.items():
        if name != "samples":
            print(f"{name:24} {value:,.2f}" if isinstance(value, float) else f"{name:24} {value}")
    quarter = len(found["samples"]) // 4
    memory = [sample["rss_mb"] for sample in found["samples"]]
    print(f"memory, MB: first {memory[0]:.0f}, after a quarter {memory[quarter]:.0f}, end {memory[-1]:.0f}")


if __name__ == "__main__":
    main()
