"""The Faust application: life cycle, signals and web views around the streaming runtime."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, cast

import faust
import structlog
from aiohttp import web
from aiokafka import TopicPartition
from faust.app.base import BootStrategy

from stream_app.changelog import start_over
from stream_app.handover import Handover
from stream_app.kafka import client_options
from stream_app.logs import configure_logging, hush_clients
from stream_app.metrics import Metrics, WorkerCollector
from stream_app.observer import Observer
from stream_app.processor import Processor, StageSpec
from stream_app.runtime import Plan, Runtime, TailSpec
from stream_app.web.guard import Guard, check_exposure
from stream_app.web.hub import Hub
from stream_app.web.items import Items
from stream_app.web.lookup import Lookup
from stream_app.web.pages import Pages
from stream_app.web.popular import PopularSlates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from state.store import PageStore
    from stream_app.settings import Settings


_SWITCH_S = 0.0005
"""How long a thread may keep the interpreter from another one. Python's 5 ms are the latency of a commit's requests."""


_CATALOG_REMEDY = "send the catalogue again if it is not there, and start the worker: it reads it from its beginning"

_WEB_STOP_S = 1.0
"""How long the end of a worker waits for answers on their way, and again once they are cancelled; aiohttp's own 60 s
would keep its partitions from the next owner for a page that does not read."""

_LEFT_S = 1.0
"""How long what is left at the end of a worker may take to end once it is cancelled."""


class WorkerStoppedError(Exception):
    """A worker ended because of an error that it cannot mend; the message names the remedy."""


class _WebOnly(BootStrategy):
    """Start no Kafka client of this application's own: the policy agent is one for itself, started by the runtime."""

    enable_kafka = False


class Worker(faust.Worker):
    """Faust's worker with this project's logs, and without its pause of a second at the end."""

    def __init__(self, app: faust.App, *services: Any, **options: Any) -> None:  # faust's own
        options["override_logging"] = False
        options["redirect_stdouts"] = False
        super().__init__(app, *services, **options)
        self.spinner = None

    async def start(self) -> None:
        """Start all services; a port that is taken ends the worker with the remedy."""
        try:
            await super().start()
        except OSError as error:
            conf = self.app.conf
            where = f"web server: {conf.web_host}:{conf.web_port}"
            if error.errno == errno.EADDRINUSE:
                self.crash_reason = WorkerStoppedError(
                    f"{where} is taken, perhaps by another worker; set CROSSAISLE_WEB_PORT to a free port"
                )
            elif isinstance(error, socket.gaierror) or "bind on address" in str(error):
                self.crash_reason = WorkerStoppedError(
                    f"{where} is no address that this machine may listen on ({error.strerror}); "
                    "set CROSSAISLE_WEB_HOST to one of its own, or CROSSAISLE_WEB_PORT to a port above 1023"
                )
            raise

    def _on_sigint(self) -> None:
        self._schedule_shutdown(signal.SIGINT)  # Faust's own prints a line that is no log line

    async def _stop_on_signal(self, signal: signal.Signals) -> None:
        structlog.get_logger(__name__).info("worker_stops", signal=signal.name)
        hush_clients()
        await super()._stop_on_signal(signal)

    async def _sentinel_task(self) -> None:
        """Let tasks end that Faust has just cancelled: it closes the loop next, and those left are told as errors."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=_LEFT_S)


class App(faust.App):
    """A Faust application that runs a :class:`~stream_app.runtime.Runtime`."""

    BootStrategy = _WebOnly


def create_app(
    settings: Settings,
    topics: Sequence[str] | None = None,
    make_plan: Callable[[Mapping[str, int]], Plan] | None = None,
) -> App:
    """Return the application of a worker.

    Parameters
    ----------
    settings
        Of the application.
    topics, make_plan
        What to run; both stages and the replica's tails if not given.

    Raises
    ------
    stream_app.web.guard.ExposedError
        Others could reach the HTTP server without a token.
    stream_app.kafka.TlsError
        A certificate or a key cannot be read.
    WorkerStoppedError
        The directory of the local stores cannot be made.
    """
    check_exposure(settings)
    client_options(settings)  # a certificate that cannot be read is told before anything starts
    configure_logging(settings)
    guard = Guard(settings)
    app = App(
        settings.app_id,
        origin="stream_app",
        autodiscover=False,
        broker=[f"aiokafka://{address.strip()}" for address in settings.bootstrap_servers.split(",")],
        store="memory://",
        datadir=_made(settings),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_host=settings.web_host,
        web_bind=settings.web_host,
        web_port=settings.web_port,
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_metrics_enabled=False,
        web_application_options={"middlewares": [guard.middleware()]},
        worker_redirect_stdouts=False,
        Worker=Worker,
    )
    metrics = Metrics(lambda: runtime.status, lambda: observer.latest)
    if make_plan is None:
        runtime = Runtime(settings, [settings.topic_item_updates], default_plan(settings, metrics.collector))
        metrics.collector.set_processors(runtime.processors)
    else:
        runtime = Runtime(settings, topics or [], make_plan)
    app.service(cast("Any", runtime))
    observer = Observer(settings, lambda: runtime.tail_positions(settings.topic_item_state))
    _add_web(app, settings, runtime, metrics, observer, guard)
    return app


def run_worker(app: App) -> None:
    """Run the application until SIGTERM or SIGINT.

    Raises
    ------
    WorkerStoppedError
        The worker stopped because of an error; the message is that error's.
    """
    sys.setswitchinterval(_SWITCH_S)  # after every write to a socket the event loop waits for the interpreter
    worker = Worker(app)
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        if end.code:
            reason = worker.crash_reason or app.crash_reason
            raise WorkerStoppedError(str(reason) if reason else "the worker failed; see its log") from reason


def default_plan(settings: Settings, collector: WorkerCollector) -> Callable[[Mapping[str, int]], Plan]:
    """Return what makes the plan of a real worker: the tails, then both stages, then the policy agent."""

    def make(partitions: Mapping[str, int]) -> Plan:
        from stream_app.item_stage import ItemProcessor  # noqa: PLC0415  # numba: only a worker pays for it
        from stream_app.policy_agent import PolicyAgent  # noqa: PLC0415
        from stream_app.policy_view import PolicyView  # noqa: PLC0415
        from stream_app.replica import Replica  # noqa: PLC0415
        from stream_app.shared_rankers import SharedRankers  # noqa: PLC0415
        from stream_app.stored_items import StoredItems  # noqa: PLC0415
        from stream_app.user_stage import UserProcessor  # noqa: PLC0415
        from stream_app.warmup import warm_up  # noqa: PLC0415

        replica = Replica(settings)
        handover = Handover(replica.apply_pages)
        collector.set_replica(replica)
        policy = PolicyView(settings)
        rankers = SharedRankers()
        collector.set_policy(policy)
        n_shards = partitions[settings.topic_item_updates]

        def open_user(partition: int, n_partitions: int, store: PageStore) -> Processor:
            reader = user.thread_of(partition)
            return UserProcessor(settings, partition, n_partitions, n_shards, store, replica, policy, reader, rankers)

        def open_item(partition: int, n_partitions: int, store: PageStore) -> Processor:
            return ItemProcessor(settings, partition, n_partitions, store)

        def writes_of_user(partition: int) -> list[TopicPartition]:
            own = [
                TopicPartition(topic, partition) for topic in (settings.topic_recommendations, settings.topic_rejects)
            ]
            shards = [TopicPartition(settings.topic_item_updates, shard) for shard in range(n_shards)]
            return [*own, *shards, TopicPartition(settings.topic_policy_updates, 0)]

        user = StageSpec(
            name="user",
            input_topic=settings.topic_events,
            changelog_topic=settings.topic_user_state,
            group_id=f"{settings.app_id}.user",
            commit_interval_ms=settings.commit_interval_ms,
            open_processor=open_user,
            n_threads=settings.compute_threads,
            meters=collector.meters["user"],
            on_closed=rankers.leave,
            writes_to=writes_of_user,
        )
        item = StageSpec(
            name="item",
            input_topic=settings.topic_item_updates,
            changelog_topic=settings.topic_item_state,
            group_id=f"{settings.app_id}.item",
            commit_interval_ms=settings.item_commit_interval_ms,
            open_processor=open_item,
            meters=collector.meters["item"],
            reads_replica=False,
            handover=handover,
        )
        tails = [
            TailSpec(
                settings.topic_item_state,
                replica.apply_items,
                handover,
                StoredItems(settings, replica.apply_stored).restore,
                start_over(settings),
            ),
            TailSpec(settings.topic_catalog, replica.apply_catalog, remedy=_CATALOG_REMEDY),
            TailSpec(settings.topic_policy_state, policy.apply),
        ]
        return Plan(
            tails=tails,
            stages=[item, user],
            make_agent=lambda **mode: PolicyAgent(settings, policy, **mode),
            warm_up=lambda: warm_up(settings),
            load_late=_load_late,
            take_bad_records=replica.take_bad_records,
            embeddings=lambda: replica.embeddings,
        )

    return make


def _load_late() -> None:
    """Load what the first events do not need, but those after them, and the policy agent's intervals."""
    import scipy.special  # noqa: PLC0415

    from stream_app.quality import adwin, statistics  # noqa: PLC0415

    del scipy
    adwin()
    statistics()


def _add_web(
    app: App, settings: Settings, runtime: Runtime, metrics: Metrics, observer: Observer, guard: Guard
) -> None:
    """Add the routes to Faust's server, and the services behind the page to the application."""
    collector = metrics.collector
    lookup = Lookup(settings, runtime, observer)
    items = Items(lambda: collector.replica, lookup)
    hub = Hub(settings, observer, collector, lambda: runtime.status, lookup, items.with_titles)
    for service in (observer, hub):
        app.service(cast("Any", service))
    pages = Pages(
        settings,
        runtime=runtime,
        metrics=metrics,
        lookup=lookup,
        popular=PopularSlates(settings, lambda: collector.replica, runtime.replica_executor),
        items=items,
        hub=hub,
        guard=guard,
    )
    pages.add_to(cast("Any", app.web).web_app)
    _end_soon(cast("Any", app.web))


def _end_soon(driver: Any) -> None:
    """Let Faust's server wait for no answer that is on its way for longer than :data:`_WEB_STOP_S`, twice."""
    driver._runner = web.AppRunner(driver.web_app, access_log=None, shutdown_timeout=_WEB_STOP_S)  # noqa: SLF001 - no option


def _made(settings: Settings) -> str:
    path = settings.state_dir / settings.app_id / "faust"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"{path.parent} cannot be made ({error.strerror or error}); "
            "set CROSSAISLE_STATE_DIR to a directory that this user may write to"
        )
        raise WorkerStoppedError(message) from error
    return str(path)
