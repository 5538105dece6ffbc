"""Two real workers of one application on the real broker, for all tests of what they serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.broker.ports import free_port
from stream_app.lag import measure_lag
from tests.conftest import fresh_settings
from tests.stream_app import harness, shop
from tests.stream_app.shop import REAL_WORKER, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.partition_lag import PartitionLag
    from stream_app.settings import Settings

N_EVENTS = 600


@dataclass
class Pair:
    """Two workers, and the shop whose events they learn."""

    settings: tuple[Settings, Settings]
    workers: tuple[harness.Worker, harness.Worker]
    market: Shop

    def url(self, worker: int, path: str = "") -> str:
        """Return an address at one of the workers."""
        return f"http://127.0.0.1:{self.settings[worker].web_port}{path}"

    def get(self, worker: int, path: str) -> tuple[int, Any]:
        """Return status and JSON of an answer; status 0 if there is none."""
        try:
            with urllib.request.urlopen(self.url(worker, path), timeout=10) as response:  # noqa: S310 - our own worker
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def text(self, worker: int, path: str) -> str:
        """Return an answer as text."""
        with urllib.request.urlopen(self.url(worker, path), timeout=10) as response:  # noqa: S310 - our own worker
            return str(response.read().decode())

    def owned(self, worker: int, stage: str = "user") -> list[int]:
        """Return the partitions of a stage that a worker owns."""
        return self.workers[worker].owned(stage)

    def lags(self) -> list[PartitionLag]:
        """Return the lags as the command measures them."""
        return asyncio.run(measure_lag(self.settings[0]))

    def send(self, n: int) -> None:
        """Send more events; from a thread of its own, as Playwright has an event loop in the test's."""
        events = self.market.events(n)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(harness.send, self.settings[0], events).result()

    def learn(self, n: int) -> None:
        """Send more events and wait until both stages have learned all."""
        self.send(n)
        shop.wait_learned(self.settings[0], self.market.n_events, self.workers[0])


def owns_half(pair: Pair) -> bool:
    """Whether the partitions are shared out between the two workers, and both know."""
    parts = [pair.owned(0), pair.owned(1)]
    known = [{lag["owner"] for lag in pair.get(worker, "/state")[1].get("lags", [])} for worker in (0, 1)]
    everybody = {pair.url(worker).removeprefix("http://") for worker in (0, 1)}
    return sorted(parts[0] + parts[1]) == list(range(harness.N_PARTITIONS)) and all(parts) and known == [everybody] * 2


@pytest.fixture(scope="session")
def pair(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Return two workers that have learned some hundred events, and passed over one and rejected two."""
    folder = tmp_path_factory.mktemp("pair")
    # A worker that a test stops for some seconds keeps its partitions.
    # Slates can earn nothing more after some dozen events, a minute each: so there are estimates of them.
    changes = {"session_timeout_ms": 60_000, "attribution_window_ms": 600_000}
    first = fresh_settings(bootstrap_servers, folder / "state-1").model_copy(update=changes)
    second = first.model_copy(update={"web_port": free_port(), "state_dir": folder / "state-2"})
    harness.make_topics(first)
    market = Shop()
    titled = [(k, json.dumps({**json.loads(v), "title": f"Thing {k.decode()}"}).encode()) for k, v in shop.catalogue()]
    harness.send(first, titled, topic=first.topic_catalog)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(harness.Worker(first, folder / "log-1", REAL_WORKER))]
        shop.wait_ready(workers[0])  # it compiles; the second one loads what it has compiled
        workers.append(stack.enter_context(harness.Worker(second, folder / "log-2", REAL_WORKER)))
        shop.wait_ready(workers[1])
        found = Pair((first, second), (workers[0], workers[1]), market)
        harness.wait_for(lambda: owns_half(found), "the workers to share out the partitions", shop.COMPILE_S)
        for _ in range(3):  # what nobody has touched yet cannot be recommended: slates come from round 2 on
            found.learn(N_EVENTS // 3)
        again = market.event("user-1", "item-1")
        refused = (b"user-1", b"this is no JSON")
        harness.send(first, [again, again, refused])
        harness.send(first, [(b"item-1", b"no JSON either")], topic=first.topic_catalog)
        shop.wait_learned(first, market.n_events, workers[0])
        yield found


def wait_until(condition: Any, what: str, timeout_s: float = 60.0) -> float:
    """Wait until a condition holds; return after how many seconds it did."""
    started_s = time.monotonic()
    harness.wait_for(condition, what, timeout_s)
    return time.monotonic() - started_s
