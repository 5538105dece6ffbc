"""The streaming half of a worker: waits for Kafka, checks the topics, runs the tails and then the stages."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError
from mode import Service

from stream_app.catalog_rejects import CatalogRejects
from stream_app.embedding_lengths import EmbeddingLengths
from stream_app.garbage import collect_seldom, keep_what_is_there
from stream_app.probe import wait_for_broker
from stream_app.rights import check_worker_rights, final_error
from stream_app.stage import StageService
from stream_app.tail import START_AGAIN, TailService
from stream_app.topic_facts import fetch_topic_facts
from stream_app.topics import TopicError, check_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from stream_app.handover import Handover
    from stream_app.joined_catalog import BadRecords
    from stream_app.processor import Processor, StageSpec
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings


@dataclass(frozen=True, slots=True)
class TailSpec:
    """A topic that every worker follows whole, and what is done with its records."""

    topic: str
    apply: Callable[[Sequence[KafkaRecord]], object]
    handover: Handover | None = None
    """Tells which partitions reach the replica without Kafka."""
    restore: Callable[[int, int, int, str | None], int | None] | None = None
    remedy: str = START_AGAIN
    """Of both: see :class:`~stream_app.tail.TailService`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker runs. All tails catch up before the first stage joins its group."""

    tails: Sequence[TailSpec]
    stages: Sequence[StageSpec]
    take_bad_records: Callable[[], BadRecords] | None = None
    """Called about once a second; the owner of partition 0 of the stage ``user`` reports those records."""
    embeddings: Callable[[], Mapping[int, int]] | None = None
    """Returns how many items have content vectors of which length; several lengths are warned of."""
    make_agent: Callable[..., Service] | None = None
    """Called with mode's keywords when all stages are started: what runs beside them."""
    warm_up: Callable[[], object] | None = None
    """Called before anything else, in a thread of its own: compiles what would hold up the first records."""
    load_late: Callable[[], object] | None = None
    """Called in a thread of its own once all tasks run: loads what is wanted later and would hold up the start."""


_TOPICS_WITHIN_S = 3.0
_ASK_AGAIN_S = 0.3
_LOOK_AGAIN_S = 0.5


async def _in_daemon_thread(function: Callable[[], object]) -> None:
    """Run a function that may take a minute in a thread that the end of the process does not wait for.

    A compilation cannot be interrupted; in the executor it would hold up a SIGTERM until it is done.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:  # noqa: BLE001 - handed on to the one who waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    await done


class Runtime(Service):
    """Run a plan.

    Parameters
    ----------
    settings
        Of the application.
    topics
        The topics whose partition counts the plan wants to know.
    make_plan
        Called with the partition count of each of ``topics`` when the broker has answered.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        make_plan: Callable[[Mapping[str, int]], Plan],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._topics = topics
        self._make_plan = make_plan
        self._log = structlog.get_logger(__name__)
        self._threads: list[ThreadPoolExecutor] = []
        self._replica_executor = self._thread("compute")
        self._phase = "waiting for broker"
        self._tails: list[TailService] = []
        self._stages: dict[str, StageService] = {}
        self._agent: Service | None = None

    @property
    def status(self) -> dict[str, Any]:
        """Readiness, with stages, tasks and positions: the body of ``/health/ready``."""
        stages = {name: stage.status for name, stage in self._stages.items()}
        tails = {tail.topic: tail.status for tail in self._tails}
        ready = self._phase == "running" and all(part["ready"] for part in (*stages.values(), *tails.values()))
        return {"ready": ready, "phase": self._phase, "stages": stages, "tails": tails}

    @property
    def replica_executor(self) -> Executor:
        """The thread that applies pages and catalogue records to the replica; tasks that read it are there, too."""
        return self._replica_executor

    def processors(self, stage: str) -> dict[int, Processor]:
        """Return the open processors of a stage by partition; each belongs to the thread of :meth:`executor`."""
        service = self._stages.get(stage)
        return service.processors() if service is not None else {}

    def executor(self, stage: str, partition: int) -> Executor:
        """Return the one thread that may touch the processor of a partition."""
        return self._stages[stage].executor(partition)

    def tail_positions(self, topic: str) -> dict[int, int]:
        """Return the next offset that a tail wants, by partition; empty before it has begun."""
        return next((dict(tail.positions) for tail in self._tails if tail.topic == topic), {})

    async def on_stop(self) -> None:
        """Commit and close all stages and the agent at the same time; the tails follow."""
        self._phase = "stopping"
        agent = [self._agent] if self._agent is not None else []
        await asyncio.gather(*(service.stop() for service in (*self._stages.values(), *agent)))

    async def on_shutdown(self) -> None:
        """Let the threads end."""
        for executor in self._threads:
            executor.shutdown(wait=False, cancel_futures=True)

    def _thread(self, name: str) -> Executor:
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._threads.append(executor)
        return executor

    def _threads_of(self, spec: StageSpec) -> list[Executor]:
        first = self._replica_executor if spec.reads_replica else self._thread(spec.name)
        return [first, *(self._thread(f"{spec.name}-{k}") for k in range(1, spec.n_threads))]

    def _owns_first_partition(self) -> bool:
        user = self._stages.get("user")
        return user is not None and user.is_running(0)

    async def _partitions(self) -> dict[str, int]:
        """Wait for the broker, check rights and topics, and return the partition counts that the plan wants.

        What is wrong with the topics counts when it is still so a little later: a broker that has just come up, or was
        just asked to make them, may not know all of them yet.
        """
        give_up_s = math.inf
        while True:
            self._phase = "waiting for broker"
            await wait_for_broker(self._settings, self._log)
            self._phase = "checking rights and topics"
            await check_worker_rights(self._settings)
            try:
                findings = await check_topics(self._settings)
                facts = await fetch_topic_facts(self._settings, self._topics)
            except KafkaError as error:
                if not error.retriable:
                    raise (await final_error(self._settings, error) or error) from error
                self._log.warning("broker_lost", error=repr(error), remedy="none needed: waiting for it")
                continue
            if findings and give_up_s == math.inf:
                problems = [f"{finding.topic}: {finding.problem}" for finding in findings]
                self._log.warning("topics_wrong", problems=problems, remedy="none yet: looking again for some seconds")
            if findings and time.monotonic() < give_up_s:
                give_up_s = min(give_up_s, time.monotonic() + _TOPICS_WITHIN_S)
                await self.sleep(_ASK_AGAIN_S)
                continue
            if findings:
                raise TopicError("; ".join(f"topic {f.topic}: {f.problem}; {f.remedy}" for f in findings))
            return {topic: fact.n_partitions for topic, fact in facts.items()}

    @Service.task
    async def _boot(self) -> None:
        collect_seldom()
        plan = self._make_plan(await self._partitions())
        if plan.warm_up is not None:
            self._phase = "compiling kernels"
            await _in_daemon_thread(plan.warm_up)
        self._phase = "catching up"
        for spec in plan.tails:
            tail = TailService(
                self._settings,
                spec.topic,
                spec.apply,
                self._replica_executor,
                spec.handover,
                spec.restore,
                spec.remedy,
                beacon=self.beacon,
                loop=self.loop,
            )
            self._tails.append(tail)
            await self.add_runtime_dependency(tail)
        for tail in self._tails:
            await tail.caught_up.wait()
        keep_what_is_there()
        for stage_spec in plan.stages:
            stage = StageService(
                self._settings,
                stage_spec,
                self._threads_of(stage_spec),
                self._replica_executor,
                beacon=self.beacon,
                loop=self.loop,
            )
            self._stages[stage_spec.name] = stage
            await self.add_runtime_dependency(stage)
        if plan.take_bad_records is not None:
            rejects = CatalogRejects(
                self._settings,
                plan.take_bad_records,
                self._owns_first_partition,
                self._replica_executor,
                beacon=self.beacon,
                loop=self.loop,
            )
            await self.add_runtime_dependency(rejects)
        if plan.embeddings is not None:
            lengths = EmbeddingLengths(plan.embeddings, beacon=self.beacon, loop=self.loop)
            await self.add_runtime_dependency(lengths)
        if plan.make_agent is not None:
            self._agent = plan.make_agent(beacon=self.beacon, loop=self.loop)
            await self.add_runtime_dependency(self._agent)
        self._phase = "running"
        self._log.info("worker_running", stages=list(self._stages))
        if plan.load_late is not None:
            while not (self.should_stop or all(stage.is_ready for stage in self._stages.values())):
                await self.sleep(_LOOK_AGAIN_S)
            await _in_daemon_thread(plan.load_late)
