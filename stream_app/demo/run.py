"""The demo from its first to its last moment: broker, data, topics, workers and traffic, opened and closed in order.

What runs when: broker and data are made ready side by side; then topics, workers and catalogue; then a few events, and
when these are learned, the shop is open. Whatever ends it (Ctrl-C, SIGTERM, the duration, an error), the same close
runs: the workers commit and end, the state is counted, the broker stops, and no process is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from stream_app.broker import EmbeddedBroker
from stream_app.demo.control import Threads, failure, signals
from stream_app.demo.data import DemoFiles, check_own_files, prepare_files
from stream_app.demo.floor import ShopFloor, read_titles
from stream_app.demo.folder import BROKER, FolderError, claim
from stream_app.demo.options import DemoError, DemoOptions, Summary, View
from stream_app.demo.page import open_page, page_url
from stream_app.demo.ports import PortError, choose_ports
from stream_app.demo.state import DemoState, Notice, Step, WorkerState
from stream_app.demo.traffic import Feed, SlateReader, measure, outgoing_events, take_lag
from stream_app.demo.words import number
from stream_app.demo.workers import STOP_TIMEOUT_S, WorkerProcess, worker_environment
from stream_app.inspect import inspect_totals
from stream_app.lag import LagError, LagMeter
from stream_app.produce import produce_records
from stream_app.reading import RecordFile, read_records
from stream_app.sender import RecordError
from stream_app.settings import CREDENTIALS, Settings
from stream_app.topics import create_topics

if TYPE_CHECKING:
    from pathlib import Path

KAFKA, DATA, TOPICS, CATALOG, WORKERS, FIRST = (
    "Apache Kafka",
    "real purchases",
    "topics",
    "catalogue",
    "worker",
    "first events learned",
)
FIRST_START: Final = "the first start compiles the kernels, two to four minutes"

_DRAIN_S: Final = 3.0
_COUNT_S: Final = 10.0
_DRAIN_POLL_S: Final = 0.1
_WATCH_EVERY_S: Final = 0.5

_PLAIN: Final[dict[str, Any]] = {"security_protocol": "PLAINTEXT", **dict.fromkeys(CREDENTIALS)}
"""Of the demo's own broker, whatever the shell says."""


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
        steps = {name: Step(name) for name in names}
        self.state = DemoState(steps, [WorkerState(number) for number in numbers], command=options.command)
        self._is_stopping = False
        self._is_hurried = False
        self._broker: EmbeddedBroker | None = None
        self._workers: list[WorkerProcess] = []
        self._settings = Settings(**_PLAIN)
        self._threads = Threads(self._put_note)
        try:
            self._ports = choose_ports(options.port, options.n_workers)
        except PortError as error:
            raise DemoError(str(error)) from error
        self._floor = ShopFloor(self.state, {})
        self._reader: SlateReader | None = None
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
            with claim(self._options.data_dir), signals(self._stop):
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
            raise failure(group) from group
        finally:
            self._is_stopping = True
            self._ended_s = time.monotonic()
            await self._close()
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing
            self._view.show(self.state, time.monotonic())

    def _stop(self) -> None:
        """Stop; asked a second time, without waiting for anyone."""
        if self._is_stopping:
            self._is_hurried = True
            for worker in self._workers:
                worker.kill()
        self._is_stopping = True
        if self._playing is not None:
            self._playing.cancel()

    async def _show(self) -> None:
        while True:
            self._view.show(self.state, time.monotonic())
            await asyncio.sleep(self._view.every_s)

    def _put_note(self, step: str, words: str) -> None:
        self.state.steps[step].note = words

    async def _play(self) -> None:
        async with asyncio.TaskGroup() as group:
            preparing = group.create_task(self._prepare_data())
            broker = await self._start_broker()
            files = await preparing
            await self._create_topics()
            self._start_workers()
            watching = group.create_task(self._watch(broker))
            await self._produce_catalog(files.catalog)
            all_learned = asyncio.Event()
            measuring = measure(self._settings, self.state, self._floor, self._options.rate, all_learned)
            self._reader = SlateReader(self._settings, self._floor)
            serving = [group.create_task(measuring), group.create_task(self._reader.follow())]
            await self._shop(files.events, all_learned)
            for task in (watching, *serving):
                task.cancel()

    async def _prepare_data(self) -> DemoFiles:
        self.state.begin(DATA)
        options = self._options
        if options.events is not None and options.catalog is not None:
            files = DemoFiles(options.events, options.catalog, str(options.events))
            note = await self._threads.run(lambda: check_own_files(files))
            if note is not None:
                self.state.notices.append(Notice(note, time.monotonic()))
        else:
            files = await self._threads.run(lambda: prepare_files(options.cache_dir, self._threads.noting(DATA)))
        for path in (files.events, files.catalog):
            RecordFile(path).close()
        self.state.finish(DATA, files.words)
        return files

    async def _start_broker(self) -> EmbeddedBroker:
        self.state.begin(KAFKA)
        data_dir = self._options.data_dir
        broker = EmbeddedBroker(data_dir / BROKER, port=self._ports.broker, progress=self._threads.noting(KAFKA))
        self._broker = broker
        await self._threads.run(broker.start)
        self._settings = Settings(
            bootstrap_servers=broker.bootstrap_servers,
            **_PLAIN,
            state_dir=data_dir / "state",
            web_port=self._ports.web[0],
            replication_factor=1,
        )
        self.state.bootstrap_servers = broker.bootstrap_servers
        self.state.finish(KAFKA, f"listens on {broker.bootstrap_servers}")
        return broker

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
            log_path = self._options.data_dir / f"{name}.log"
            worker = WorkerProcess(shown.number, environment, log_path, self._options.worker_command)
            self._workers.append(worker)
            worker.start()
            shown.pid = worker.pid

    async def _watch(self, broker: EmbeddedBroker) -> None:
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            broker.check()
            for worker, shown in zip(self._workers, self.state.workers, strict=True):
                what = worker.revive()
                if what is not None:
                    self.state.notices.append(Notice(what, time.monotonic()))
                    shown.pid, shown.ready, shown.n_restarts = worker.pid, False, worker.n_restarts

    async def _produce_catalog(self, path: Path) -> None:
        self.state.begin(CATALOG)
        titles = await self._threads.run(lambda: read_titles(read_records(path)))
        self._floor = ShopFloor(self.state, titles)

        def show(n_confirmed: int) -> None:
            self.state.steps[CATALOG].note = f"{number(n_confirmed)} products"

        with RecordFile(path) as products:
            try:
                n_products = await produce_records(
                    self._settings, self._settings.topic_catalog, products, on_progress=show
                )
            except RecordError as error:
                message = f"{products.where}: {error}"
                raise RecordError(message, error.n_confirmed) from error
        self.state.finish(CATALOG, f"{number(n_products)} products")

    async def _shop(self, events: Path, all_learned: asyncio.Event) -> None:
        state, rate = self.state, self._options.rate
        feed = Feed(self._settings, self._floor, outgoing_events(events, rate))
        await feed.start()
        try:
            await feed.send_first()
            state.begin(FIRST, "waiting for the worker")
            all_learned.clear()
            await all_learned.wait()
            self._open()
            if self._options.opens_browser:
                await open_page(self._ports.web[0])
            selling = asyncio.create_task(self._sell(feed, all_learned))
            try:
                await asyncio.wait([selling], timeout=self._options.duration_s)
            finally:
                selling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await selling
        finally:
            await feed.stop()

    async def _sell(self, feed: Feed, all_learned: asyncio.Event) -> None:
        await feed.send_all(self._options.rate)
        self.state.all_sent = True
        if self._options.ends_with_events:
            all_learned.clear()
            await all_learned.wait()
        else:
            await asyncio.Event().wait()

    def _open(self) -> None:
        self.state.page_url = page_url(self._ports.web[0])
        self.state.finish(WORKERS, f"page at {self.state.page_url}")
        self.state.finish(FIRST)
        for worker in self.state.workers:
            worker.ready = True
        self.state.opened_s = time.monotonic()

    async def _close(self) -> None:
        """Stop everything in order; whatever goes wrong in it, no process is left."""
        self.state.closing = True
        try:
            if not self._is_hurried:
                await self._drain()
                await asyncio.gather(*(asyncio.to_thread(worker.stop, STOP_TIMEOUT_S) for worker in self._workers))
                await self._count()
        finally:
            for worker in self._workers:
                worker.kill()
            if self._broker is not None:
                await asyncio.to_thread(self._broker.stop)

    async def _drain(self) -> None:
        """Let the workers finish what was sent, if they are about to, and read their last slates."""
        if not self.state.is_open:
            return
        with contextlib.suppress(LagError, KafkaError, TimeoutError):
            async with asyncio.timeout(_DRAIN_S), LagMeter(self._settings) as meter:
                await take_lag(meter, self.state)
                while self.state.n_learned < self.state.n_events and not self._is_hurried:
                    await asyncio.sleep(_DRAIN_POLL_S)
                    await take_lag(meter, self.state)
                if self._reader is not None:
                    await self._reader.finish()

    async def _count(self) -> None:
        if not self.state.is_open or self._is_hurried:
            return
        with contextlib.suppress(LookupError, KafkaError, TimeoutError):
            async with asyncio.timeout(_COUNT_S):
                self._totals = await inspect_totals(self._settings)
