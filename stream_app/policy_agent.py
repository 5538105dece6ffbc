"""The policy agent: a Faust agent with a Faust table that adds up all partitions and publishes the policy.

The table holds the newest statistics of every partition. They are cumulative, so the sum over the table is the same
however often a record is read again: after a crash, after a rebalance, after the changelog was replayed. The agent
reads committed records only. All statistics are in one partition of policy-updates, so one worker has the agent's table
whole, and the others stand by.

It is a Faust application of its own, started by the runtime when the topics are known to be good, so that a worker
whose broker is away waits as it does without an agent.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver
from mode import Service
from mode.threads import ServiceThread, WorkerThread

from stream_app.kafka import client_options, forget
from stream_app.policy_publish import PolicyRejectedError, checked_statistics, encode_state
from stream_app.policy_view import POLICY_STATE_KEY
from stream_app.rights import final_error, refusal

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from stream_app.policy_view import PolicyView
    from stream_app.settings import Settings

_STOP_TIMEOUT_S = 1.5
_RESTART_S = 5.0
_WATCH_S = 0.5
_REQUEST_TIMEOUT_S = 90.0
"""Faust's default; it refuses a session that is longer than a request may take."""
_NEVER_S = 10_000_000.0
"""Faust warns of streams that stand still; the markers of transactions look to it as if this one did."""

log = structlog.get_logger(__name__)


class AgentConfigurationError(Exception):
    """Faust refuses the policy agent's configuration: starting it anew would change nothing."""


class _DaemonThread(WorkerThread):
    """A thread that neither the event loop nor the end of the process waits for.

    mode's own one is joined by both, without a limit: a broker that does not answer while the consumer leaves its
    group would hold up a SIGTERM until the request times out, 40 s later.
    """

    def __init__(self, service: ServiceThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        """Leave it alone: it has been told to stop, and ends when its consumer has."""


class _CommittedThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer, reading committed records: Faust itself does so with its exactly_once only, which is broken."""

    Worker = _DaemonThread

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        self.consumer.in_transaction = True
        try:
            return super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = False

    async def on_thread_stop(self) -> None:
        """Stop the consumer; one that waits for a broken connection raises what aiokafka cancels it with."""
        with contextlib.suppress(asyncio.CancelledError, KafkaError):
            await super().on_thread_stop()


class _CommittedConsumer(driver.Consumer):
    def _new_consumer_thread(self) -> _CommittedThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


class _CommittedTransport(driver.Transport):
    Consumer = _CommittedConsumer


class PolicyApp(faust.App):
    """A Faust application that reads committed records."""

    refused: KafkaError | None = None
    """What the broker answered where it took no policy for want of a right."""

    def _new_transport(self) -> _CommittedTransport:
        return _CommittedTransport(self.conf.broker_consumer, self)


def credentials(settings: Settings) -> Any:
    """Return Faust's form of the settings' TLS and SASL; None for a plain connection."""
    options = client_options(settings)
    context = options.get("ssl_context")
    if settings.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context is not None else None


def policy_app(settings: Settings, view: PolicyView) -> PolicyApp:
    """Return the application with the policy agent.

    Parameters
    ----------
    settings
        Broker, names of topics, arms and guardrails.
    view
        Knows the newest version that was published.

    Raises
    ------
    OSError
        Its folder in the state directory cannot be made.
    """
    datadir = settings.state_dir / settings.app_id / "faust-policy"
    datadir.mkdir(parents=True, exist_ok=True)
    app = PolicyApp(
        f"{settings.app_id}.policy",
        autodiscover=False,
        broker=[f"aiokafka://{address.strip()}" for address in settings.bootstrap_servers.split(",")],
        broker_credentials=credentials(settings),
        broker_request_timeout=max(_REQUEST_TIMEOUT_S, settings.session_timeout_ms / 1000),
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 3000,
        broker_commit_interval=1.0,
        store="memory://",
        datadir=str(datadir),
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        worker_redirect_stdouts=False,
        stream_wait_empty=False,
        stream_processing_timeout=_NEVER_S,
        broker_commit_livelock_soft_timeout=_NEVER_S,
        key_serializer="raw",
        value_serializer="raw",
    )
    updates = app.topic(settings.topic_policy_updates, key_serializer="raw", value_serializer="raw")
    state = app.topic(settings.topic_policy_state, key_serializer="raw", value_serializer="raw")
    changelog = app.topic(settings.topic_policy_table, key_serializer="raw", value_serializer="raw", compacting=True)
    table = app.Table("policy-table", partitions=1, changelog_topic=changelog, key_type=bytes, value_type=bytes)
    changed = asyncio.Event()
    left_out: set[str] = set()

    def leave_out(error: PolicyRejectedError) -> None:
        """Log what the table holds and the policy cannot use, once: it may stand there for long."""
        if str(error) not in left_out:
            left_out.add(str(error))
            log.warning(
                "policy_statistics_left_out",
                error=str(error),
                remedy="none needed: the partition counts again when it writes next",
            )

    @app.agent(updates, name="policy")
    async def add_up(stream: Any) -> None:
        """Keep the newest statistics of each partition."""
        async for partition, raw in stream.items():
            try:
                checked_statistics(raw)
            except PolicyRejectedError as error:
                log.warning("policy_update_unreadable", error=str(error), remedy="none needed: it is passed over")
                continue
            table[partition] = raw
            changed.set()

    @app.task  # type: ignore[untyped-decorator] # Faust's is untyped
    async def publish() -> None:
        """Publish the policy soon after the statistics changed."""
        version = 0
        while not app.should_stop:
            await changed.wait()
            changed.clear()
            version = max(version, view.version_seen) + 1
            raws = [value for _, value in table.items()]
            raw = await asyncio.to_thread(encode_state, settings, version, raws, leave_out)
            sent = await state.send(key=POLICY_STATE_KEY, value=raw)
            try:
                await sent
            except KafkaError as error:
                if refusal(error) is not None:
                    app.refused = error
                    return
                log.warning("policy_delayed", error=repr(error), remedy="none needed: published anew")
                changed.set()
            await asyncio.sleep(settings.policy_publish_ms / 1000)

    del add_up, publish
    return app


class PolicyAgent(Service):
    """Run the policy agent's application, and run it anew should it fail: slates go on under the policy that holds.

    A configuration that Faust refuses and a missing right crash the service, and with it the worker: a policy that
    never learns must not look well.

    Parameters
    ----------
    settings, view
        See :func:`policy_app`.
    """

    def __init__(self, settings: Settings, view: PolicyView, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._view = view

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            app: PolicyApp | None = None
            reason: BaseException | None = None
            try:
                app = policy_app(self._settings, self._view)
                app.finalize()
                await app.start()
                while not (self.should_stop or app.should_stop or app.crashed or app.refused):
                    await self.sleep(_WATCH_S)
                reason = app.refused or app.crash_reason
            except Exception as error:  # noqa: BLE001 - whatever it was: the recommendations do not depend on it
                reason = error
            finally:
                if app is not None:
                    await self._stop_app(app)
            if isinstance(reason, ImproperlyConfigured):
                message = f"the policy agent cannot be started: {reason}; correct the setting that this names"
                raise AgentConfigurationError(message) from reason
            final = await final_error(self._settings, reason) if reason is not None else None
            if final is not None:
                raise final from reason
            if not self.should_stop:
                log.error("policy_agent_failed", error=repr(reason), remedy="none needed: it starts anew")
                await self.sleep(_RESTART_S)

    async def _stop_app(self, app: PolicyApp) -> None:
        stopping = asyncio.ensure_future(app.stop())
        stopping.add_done_callback(forget)
        await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)
        if not stopping.done():
            stopping.cancel()
