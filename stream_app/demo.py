"""The demo from its first to its last moment: broker, data, topics, workers and traffic, opened and closed in order.

What runs when: broker and data are made ready side by side; then topics, workers and catalogue; then a few events, and
when these are learned, the shop is open. Whatever ends it (Ctrl-C, SIGTERM, the duration, an error), the same close
runs: the workers commit and end, the state is counted, the broker stops, and no process is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import platformdirs
from aiokafka.errors import KafkaError

from stream_app.broker import BrokerError, EmbeddedBroker
from stream_app.dataset import DatasetError
from stream_app.demo_data import DemoFiles, cache_dir, prepare_files
from stream_app.demo_floor import ShopFloor, read_products
from stream_app.demo_folder import FolderError, claim
from stream_app.demo_ports import PortError, choose_ports
from stream_app.demo_state import DemoState, Step, WorkerState
from stream_app.demo_traffic import Feed, all_learned, measure, outgoing_events, read_slates, take_lag
from stream_app.demo_words import number
from stream_app.demo_workers import STOP_TIMEOUT_S, WorkerError, WorkerProcess, worker_environment
from stream_app.inspect import inspect_totals
from stream_app.lag import LagError, LagMeter
from stream_app.produce import ProduceError, produce_records
from stream_app.reading import ReadingError, RecordFile, read_records
from stream_app.settings import Settings
from stream_app.topics import TopicError, create_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_RATE: Final = 150.0
KAFKA, DATA, TOPICS, CATALOG, WORKERS, FIRST = (
    "Apache Kafka",
    "real purchases",
    "topics",
    "catalogue",
    "worker",
    "first events learned",
)
FIRST_START: Final = "the first start compiles the kernels, up to a minute"

_DRAIN_S: Final = 3.0
_WATCH_EVERY_S: Final = 0.5

T = TypeVar("T")


class DemoError(Exception):
    """The demo cannot go on. The message ends with the remedy."""


class _StoppedError(Exception):
    """The demo is being stopped: raised in a thread to end its work."""


class View(Protocol):
    """Shows the state to whoever watches."""

    every_s: float

    def show(self, state: DemoState, now_s: float) -> None:
        """Show it; called every ``every_s`` seconds."""


def _data_dir() -> Path:
    return platformdirs.user_data_path("crossaisle") / "demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a demo runs with.

    Attributes
    ----------
    events, catalog
        Own files, both or neither; the real purchases if neither.
    duration_s
        Seconds of open shop after which the demo ends by itself; ``None``: until it is stopped.
    ends_with_events
        Whether it also ends when all events are sent and learned.
    port
        The broker's; the workers' HTTP servers take the ports after it. ``None``: any that are free.
    rate
        Events per second, above 0.
    n_workers
        Worker processes, at least 1.
    opens_browser
        Whether to show the first worker's web page, where it has one.
    data_dir
        Everything that a run writes, wiped at the start; kept after the end, to be looked at.
    cache_dir
        Where the real purchases are kept between runs.
    """

    events: Path | None = None
    catalog: Path | None = None
    duration_s: float | None = None
    ends_with_events: bool = False
    port: int | None = None
    rate: float = DEFAULT_RATE
    n_workers: int = 1
    opens_browser: bool = False
    data_dir: Path = field(default_factory=_data_dir)
    cache_dir: Path = field(default_factory=cache_dir)


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run.

    Attributes
    ----------
    state
        The last state.
    totals
        `inspect totals` of the committed state after the workers had ended; ``None`` if it could not be read.
    port, data_dir, ended_s
        The broker's port, the run's folder, and when it ended.
    """

    state: DemoState
    totals: dict[str, Any] | None
    port: int
    data_dir: Path
    ended_s: float


class Demo:
    """One run of the demo.

    Parameters
    ----------
    options
        What to run.
    view
        Who shows it.

    Raises
    ------
    DemoError
        The asked port is taken.
    """

    def __init__(self, options: DemoOptions, view: View) -> None:
        self._options = options
        self._view = view
        names = (KAFKA, DATA, TOPICS, CATALOG, WORKERS, FIRST)
        numbers = range(1, options.n_workers + 1)
        self.state = DemoState({name: Step(name) for name in names}, [WorkerState(number) for number in numbers])
        self._stopping = False
        self._hurried = False
        self._broker: EmbeddedBroker | None = None
        self._workers: list[WorkerProcess] = []
        self._settings = Settings()
        try:
            self._ports = choose_ports(options.port, options.n_workers)
        except PortError as error:
            raise DemoError(str(error)) from error
        self._floor = ShopFloor(self.state, {})
        self._totals: dict[str, Any] | None = None
        self._playing: asyncio.Task[None] | None = None
        self._ended_s = 0.0

    async def run(self) -> Summary:
        """Run until the duration is over, the events end, or someone stops it.

        Raises
        ------
        DemoError
            A part of it fails: a port is taken, the data is missing, a worker dies. Everything else has been stopped.
        """
        self.state.started_s = time.monotonic()
        try:
            with claim(self._options.data_dir), _signals(self._stop):
                await self._run()
        except FolderError as error:
            raise DemoError(str(error)) from error
        return Summary(
            state=self.state,
            totals=self._totals,
            port=self._ports.broker,
            data_dir=self._options.data_dir,
            ended_s=self._ended_s,
        )

    async def _run(self) -> None:
        self._playing = asyncio.create_task(self._play())
        showing = asyncio.create_task(self._show())
        showing.add_done_callback(lambda _: self._stop())
        try:
            await self._playing
        except asyncio.CancelledError:
            # Stopped by a signal, which is an end like any other.
            self.state.closing = True
        except BaseExceptionGroup as group:
            raise _failure(group) from group
        finally:
            self._stopping = True
            self._ended_s = time.monotonic()
            await self._close()
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing

    def _stop(self) -> None:
        """Stop; asked a second time, without waiting for anyone."""
        if self._stopping:
            self._hurried = True
            for worker in self._workers:
                worker.kill()
        self._stopping = True
        if self._playing is not None:
            self._playing.cancel()

    async def _show(self) -> None:
        while True:
            self._view.show(self.state, time.monotonic())
            await asyncio.sleep(self._view.every_s)

    async def _play(self) -> None:
        async with asyncio.TaskGroup() as group:
            preparing = group.create_task(self._prepare_data())
            await self._start_broker()
            files = await preparing
            await self._create_topics()
            self._start_workers()
            watching = group.create_task(self._watch_workers())
            await self._produce_catalog(files.catalog)
            serving = [
                group.create_task(read_slates(self._settings, self._floor)),
                group.create_task(measure(self._settings, self.state, self._floor, self._options.rate)),
            ]
            await self._shop(files.events)
            for task in (watching, *serving):
                task.cancel()

    async def _prepare_data(self) -> DemoFiles:
        self.state.begin(DATA)
        options = self._options
        if options.events is not None and options.catalog is not None:
            files = DemoFiles(options.events, options.catalog, str(options.events))
        else:
            files = await self._in_thread(lambda: prepare_files(options.cache_dir, self._noting(DATA)))
        for path in (files.events, files.catalog):
            RecordFile(path).close()
        self.state.finish(DATA, files.words)
        return files

    async def _start_broker(self) -> None:
        self.state.begin(KAFKA, "starting; the first time downloads 45 MB")
        data_dir = self._options.data_dir
        broker = EmbeddedBroker(data_dir / "broker", port=self._ports.broker, progress=self._noting(KAFKA))
        self._broker = broker
        await self._in_thread(broker.start)
        self._settings = Settings(
            bootstrap_servers=broker.bootstrap_servers,
            security_protocol="PLAINTEXT",
            state_dir=data_dir / "state",
            web_port=self._ports.web[0],
            replication_factor=1,
        )
        self.state.bootstrap_servers = broker.bootstrap_servers
        self.state.finish(KAFKA, f"listens on {broker.bootstrap_servers}")

    async def _create_topics(self) -> None:
        self.state.begin(TOPICS)
        await create_topics(self._settings, self._settings.partitions, 1)
        self.state.finish(TOPICS, f"{self._settings.partitions} partitions")

    def _start_workers(self) -> None:
        self.state.begin(WORKERS, FIRST_START)
        for shown, web_port in zip(self.state.workers, self._ports.web, strict=True):
            name = f"worker-{shown.number}"
            state_dir = self._options.data_dir / name
            environment = worker_environment(self._settings, os.environ, state_dir=state_dir, web_port=web_port)
            worker = WorkerProcess(shown.number, environment, self._options.data_dir / f"{name}.log")
            self._workers.append(worker)
            worker.start()
            shown.pid = worker.pid

    async def _watch_workers(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            for worker, shown in zip(self._workers, self.state.workers, strict=True):
                what = worker.revive()
                if what is not None:
                    self.state.notices.append(what)
                    shown.pid, shown.ready, shown.n_restarts = worker.pid, False, worker.n_restarts

    async def _produce_catalog(self, path: Path) -> None:
        self.state.begin(CATALOG)
        products = await self._in_thread(lambda: read_products(read_records(path)))
        self._floor = ShopFloor(self.state, products)

        def show(n_confirmed: int) -> None:
            self.state.steps[CATALOG].note = f"{number(n_confirmed)} products"

        n_products = await produce_records(
            self._settings, self._settings.topic_catalog, read_records(path), on_progress=show
        )
        self.state.finish(CATALOG, f"{number(n_products)} products")

    async def _shop(self, events: Path) -> None:
        state, rate = self.state, self._options.rate
        feed = Feed(self._settings, self._floor, outgoing_events(events, rate))
        await feed.start()
        try:
            await feed.send_first()
            state.begin(FIRST, "waiting for the worker")
            await all_learned(state)
            self._open()
            selling = asyncio.create_task(self._sell(feed))
            try:
                await asyncio.wait([selling], timeout=self._options.duration_s)
            finally:
                selling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await selling
        finally:
            await feed.stop()

    async def _sell(self, feed: Feed) -> None:
        await feed.send_all(self._options.rate)
        self.state.all_sent = True
        if self._options.ends_with_events:
            await all_learned(self.state)
        else:
            await asyncio.Event().wait()

    def _open(self) -> None:
        self.state.finish(WORKERS)
        self.state.finish(FIRST)
        for worker in self.state.workers:
            worker.ready = True
        self.state.opened_s = time.monotonic()

    async def _close(self) -> None:
        self.state.closing = True
        if self._workers and not self._hurried:
            await self._drain()
            await asyncio.gather(*(asyncio.to_thread(worker.stop, STOP_TIMEOUT_S) for worker in self._workers))
            await self._count()
        for worker in self._workers:
            worker.kill()
        if self._broker is not None:
            await asyncio.to_thread(self._broker.stop)

    async def _drain(self) -> None:
        """Let the workers finish what was sent, if they are about to."""
        if not self.state.is_open:
            return
        with contextlib.suppress(LagError, KafkaError, TimeoutError):
            async with asyncio.timeout(_DRAIN_S), LagMeter(self._settings) as meter:
                while self.state.n_learned < self.state.n_events and not self._hurried:
                    await take_lag(meter, self.state)

    async def _count(self) -> None:
        if not self.state.is_open:
            return
        with contextlib.suppress(LookupError, KafkaError, TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                self._totals = await inspect_totals(self._settings)

    def _noting(self, step: str) -> Callable[[str], None]:
        """Return a callback for threads: it puts words to a step, and ends the thread's work when the demo stops."""

        def note(words: str) -> None:
            if self._stopping:
                raise _StoppedError
            self.state.steps[step].note = words

        return note

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run work in a thread; when cancelled, wait until the thread has noticed."""
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._stopping = True
            with contextlib.suppress(Exception):
                await running
            raise


_FAILURES: Final = (BrokerError, DatasetError, LagError, ProduceError, ReadingError, TopicError, WorkerError)


def _failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what is to be raised for what failed first: a `DemoError` where a user can do something about it."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, _FAILURES):
        return DemoError(str(first))
    if isinstance(first, (KafkaError, OSError)):
        return DemoError(f"{first or type(first).__name__}; run `crossaisle demo` again, it starts from nothing")
    return first


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at Ctrl-C, SIGTERM and a closed terminal, while this is open."""
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
