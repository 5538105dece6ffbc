"""What a stage is made of: the processor of one task, what it hands over at a commit, and the stage's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stream_app.meters import StageMeters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import TopicPartition

    from state.pages import Pages
    from state.store import PageStore
    from stream_app.handover import Handover
    from stream_app.records import KafkaRecord


@dataclass(frozen=True, slots=True)
class Output:
    """One record to send in the transaction of a commit."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp_ms: int | None = None
    """Record timestamp, milliseconds since the epoch; None is the time of sending."""


@dataclass(frozen=True, slots=True)
class Flush:
    """All that one commit interval has produced."""

    outputs: list[Output]
    pages: Pages
    """Changed pages; for each key at most one."""
    state: dict[str, Any]
    """Small state of the task that fits JSON; kept in the checkpoint record under ``state``."""


class Processor(Protocol):
    """State and operators of one task. It knows nothing of transactions, and is called by one thread at a time."""

    def restore(self, checkpoint: bytes | None) -> None:
        """Take up the state of the last commit.

        Parameters
        ----------
        checkpoint
            The whole checkpoint record (JSON of :class:`~stream_app.records.Checkpoint`; what the processor gave
            as :attr:`Flush.state` is its field ``state``), or None if there has been no commit. The store already
            holds the pages that belong to it.
        """

    @property
    def stretch(self) -> int:
        """Commit interval at present, as a multiple of the stage's: more than 1 under load."""

    @property
    def is_full(self) -> bool:
        """Whether so much is to be written that the task commits at once, however long its interval is."""

    def process(self, records: Sequence[KafkaRecord], now_ms: int, n_waiting: int = 0) -> None:
        """Learn from records, in offset order; may be called several times per commit interval, and with none.

        Parameters
        ----------
        now_ms
            Present time, in milliseconds since 1970.
        n_waiting
            Records of the partition that wait to be read after these.
        """

    def prompt(self, now_ms: int) -> list[Output]:
        """Return outputs that need not wait for :meth:`flush`; they are sent at once, in the same transaction.

        Called after :meth:`process` when nothing more waits to be read. What it returns is not returned again.
        """

    def flush(self, now_ms: int) -> Flush:
        """Return all that has changed since the last commit."""

    def committed(self) -> None:
        """Take note that what :meth:`flush` returned is committed and in the store."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Names and rhythm of a stage, and how to open the processor of one of its tasks."""

    name: str
    input_topic: str
    changelog_topic: str
    group_id: str
    commit_interval_ms: int
    open_processor: Callable[[int, int, PageStore], Processor]
    """Called with the partition, the number of partitions and the task's store."""
    meters: StageMeters = field(default_factory=StageMeters)
    """What the stage's tasks measure of their own work."""
    reads_replica: bool = True
    """Whether its processors use the worker's replica: the thread that changes that one is their first thread."""
    n_threads: int = 1
    """Threads that its tasks share; each task stays in one."""
    handover: Handover | None = None
    """Gets the pages of every commit of this worker's tasks, for a replica in the same process."""
    writes_to: Callable[[int], Sequence[TopicPartition]] = lambda _partition: ()
    """The partitions, besides its part of the changelog, that the transactions of a task write to."""
    on_closed: Callable[[int], None] | None = None
    """Told the partition whenever its task closes, in the task's thread."""

    def thread_of(self, partition: int) -> int:
        """Return the number of the thread that a partition's task runs in, from 0 on."""
        return partition % self.n_threads
