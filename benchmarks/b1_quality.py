"""B1's other half: what the lists of a worker under B1's load are worth, beside those that ``evaluate`` measures.

Under a backlog what users teach about items comes back a commit interval later, which is thousands of events, and each
of the partitions has rankers of its own, which take the mean of all after their commits. Both models see the same
events; one is ``evaluate``'s own (one partition, the replica at most 50 events behind), the other one has B1's
partitions. Those commit one after the other, each once in an interval; its pages come back when the next one commits,
and until then the replica has what each batch added to it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cluster import purchases, say
from benchmarks.defaults import DefaultSettings
from state.ids import hash_id
from state.memory_store import MemoryPageStore
from state.pages import Pages
from stream_app.evaluation.comparison import compare
from stream_app.evaluation.files import LONGEST_LAG
from stream_app.evaluation.measures import quality
from stream_app.evaluation.protocol import Answers
from stream_app.evaluation.replay import ReplayModel
from stream_app.evaluation.run import Evaluation, Plan
from stream_app.evaluation.source import read_catalog, read_events
from stream_app.records import LocalRecord
from stream_app.settings import Settings
from stream_app.shared_rankers import SharedRankers
from stream_app.user_stage import UserProcessor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.evaluation.protocol import Bools
    from stream_app.records import Event, KafkaRecord


class PartitionedModel(ReplayModel):
    """The product as a worker under load runs it, with several partitions.

    Parameters
    ----------
    settings
        As of a worker.
    catalog
        All records of the catalogue.
    partitions
        Of the events.
    interval
        Events of all partitions together between two commits of a partition.
    """

    name = "B1"

    def __init__(self, settings: Settings, catalog: Iterable[KafkaRecord], *, partitions: int, interval: int) -> None:
        super().__init__(settings, catalog, replica_lag=max(1, interval // partitions))
        rankers = SharedRankers()
        self._tasks = [
            UserProcessor(settings, k, partitions, 1, MemoryPageStore(), self._replica, rankers=rankers)
            for k in range(partitions)
        ]
        self._batch = settings.max_batch_events
        self._n_learned = [0] * partitions
        self._turn = 0
        self._coming_pages = Pages()
        for task in self._tasks:
            task.restore(None)

    def _learn(self, events: Sequence[Event], first_index: int, scored: Bools, answers: Answers) -> None:
        of_event = np.array([hash_id(event.user_id) % len(self._tasks) for event in events])
        found: dict[int, Any] = {}
        for number, task in enumerate(self._tasks):
            mine = np.flatnonzero(of_event == number).tolist()
            wanted = scored[mine].astype(np.uint8)
            lists = task.learn([(events[k], first_index + k) for k in mine], wanted)
            found |= {mine[k]: lists[k] for k in np.flatnonzero(wanted).tolist()}
            self._n_learned[number] += len(mine)
            if self._n_learned[number] >= self._batch:
                self._fold(number)
        answers.scored += [self._answer(first_index + k, found[k]) for k in sorted(found)]

    def _fold(self, number: int) -> None:
        self._tasks[number].fold()
        self._n_learned[number] = 0

    def _publish(self) -> None:
        """Let the pages of the partition that committed before come back, and the next one commit."""
        self._replica.apply_pages(self._coming_pages)
        number, self._turn = self._turn, (self._turn + 1) % len(self._tasks)
        self._fold(number)
        updates = [LocalRecord(output.key, output.value) for output in self._tasks[number].take_updates()]
        self._coming_pages = self._taught(updates)
        self._tasks[number].share()


def measure_quality(n_events: int, *, partitions: int, interval: int, score_every: int = 3) -> dict[str, Any]:
    """Return the hit rates of X and O of both over the same events, and their ratios."""
    events, catalog = purchases(n_events)
    settings = DefaultSettings(hot_rows=10**9)
    entries = read_catalog(catalog, settings)
    log = read_events(events, settings, now_ms=time.time_ns() // 1_000_000, limit=n_events)
    models = [
        ReplayModel(settings, entries.records, replica_lag=LONGEST_LAG),
        PartitionedModel(settings, entries.records, partitions=partitions, interval=interval),
    ]
    say(f"  quality: {n_events:,} events, an update every {interval:,}")
    outcome = Evaluation(log, entries, Plan(0.2, score_every), models).run({})
    evaluated, loaded = (quality(outcome.tallies[model.name], outcome.truths) for model in models)
    paired = compare(outcome.tallies[models[1].name], outcome.tallies[models[0].name], outcome.truths)
    found: dict[str, Any] = {"events": n_events, "interval_events": interval, "partitions": partitions}
    for name in ("x", "o"):
        before, after = (one[name]["all"]["hr"]["mean"] for one in (evaluated, loaded))
        found[name] = {
            "evaluate": before,
            "b1": after,
            "ratio": after / before if before else None,
            "difference_se": paired[name]["hr"]["se"],
        }
    return found
