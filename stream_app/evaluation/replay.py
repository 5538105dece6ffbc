"""The product under evaluation: the worker's own processors and kernels, fed from a file instead of from Kafka.

One user task and one item task share a read replica, as in a worker with one partition. Users learn at every event;
what they teach about items reaches the replica after every ``replica_lag`` events, through the bytes of item updates
and pages, as it does through the topics.

Stars of ratings are predicted by :mod:`.stars`, which is no part of a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from operators.features import FEATURES
from operators.lists import LISTS
from state.memory_store import MemoryPageStore
from stream_app.evaluation.protocol import LISTS as LIST_NAMES
from stream_app.evaluation.protocol import Answers, Bools, Rated, Scored
from stream_app.evaluation.stars import StarsHead
from stream_app.item_stage import ItemProcessor
from stream_app.records import LocalRecord
from stream_app.replica import Replica
from stream_app.user_stage import UserProcessor

if TYPE_CHECKING:
    from state.arrays import Row
    from state.pages import Pages
    from stream_app.records import Event, KafkaRecord
    from stream_app.settings import Settings

EVERYTHING: Final = 1 << 40
"""Rows in memory: an evaluation evicts nothing, for it has no disk to load from."""


class ReplayModel:
    """The product, as ``crossaisle evaluate`` runs it.

    Parameters
    ----------
    settings
        As of a worker. Exploration is switched off in all lists, and on in the drawn slates beside them.
    catalog
        All records of the catalogue. Those without a timestamp are applied before the first event, the others
        before the first event that is not earlier.
    replica_lag
        Events between two updates of the item replica, at least 1.
    """

    name = "crossaisle"

    def __init__(self, settings: Settings, catalog: Iterable[KafkaRecord], *, replica_lag: int) -> None:
        settings = settings.model_copy(update={"hot_rows": EVERYTHING})
        self._lag = max(1, replica_lag)
        self._replica = Replica(settings)
        records = sorted(catalog, key=lambda record: record.timestamp)
        self._coming = deque(record for record in records if record.timestamp > 0)
        self._replica.apply_catalog(records[: len(records) - len(self._coming)])
        self._users = UserProcessor(settings, 0, 1, 1, MemoryPageStore(), self._replica)
        self._items = ItemProcessor(settings, 0, 1, MemoryPageStore())
        self._stars = StarsHead(self._replica)
        self._users.restore(None)
        self._items.restore(None)

    def score_and_learn(self, events: Sequence[Event], first_index: int, scored: Bools) -> Answers:
        """Answer for the events that are to be scored, and learn all of them; see :class:`.protocol.Model`.

        The replica is brought up to date wherever the position in the file is a multiple of the lag, so that the
        answers do not hang on how the file is cut into batches.
        """
        answers = Answers()
        start = 0
        while start < len(events):
            end = min(len(events), start + self._lag - (first_index + start) % self._lag)
            self._list(events[start].event_time_ms)
            self._rate(events[start:end], first_index + start, answers)
            self._learn(events[start:end], first_index + start, scored[start:end], answers)
            if (first_index + end) % self._lag == 0:
                self._publish()
            start = end
        return answers

    def _list(self, now_ms: int) -> None:
        """Take over the catalogue records that have come by now."""
        coming: list[KafkaRecord] = []
        while self._coming and self._coming[0].timestamp <= now_ms:
            coming.append(self._coming.popleft())
        if coming:
            self._replica.apply_catalog(coming)

    def _rate(self, events: Sequence[Event], first_index: int, answers: Answers) -> None:
        """Predict the ratings among events, each from what the replica and earlier ratings tell."""
        for index, event in enumerate(events, first_index):
            if event.type == "rating":
                answers.rated.append(Rated(index, self._stars.predict_and_learn(event)))
            elif event.type == "forget":
                self._stars.forget(event.user_id)

    def _learn(self, events: Sequence[Event], first_index: int, scored: Bools, answers: Answers) -> None:
        start = 0
        for end in [*(k for k, event in enumerate(events) if event.type == "forget"), len(events)]:
            run = [(event, first_index + k) for k, event in enumerate(events[start:end], start)]
            wanted = scored[start:end].astype(np.uint8) if scored[start:end].any() else np.zeros(0, np.uint8)
            lists = self._users.learn(run, wanted)
            for k in np.flatnonzero(wanted).tolist():
                answers.scored.append(self._answer(first_index + start + k, lists[k]))
            if end < len(events):
                self._users.forget(events[end])
            start = end + 1

    def _publish(self) -> None:
        """Hand over what users taught about items, and let the replica follow."""
        updates = [LocalRecord(output.key, output.value) for output in self._users.take_updates()]
        self._replica.apply_pages(self._taught(updates))

    def _taught(self, updates: Sequence[LocalRecord]) -> Pages:
        """Take updates through the item stage; return the pages that are for the replica."""
        self._items.process(updates, 0)
        pages = self._items.flush(0).pages
        self._items.committed()
        return pages

    def _answer(self, index: int, lists: Row) -> Scored:
        names = {
            name: [self._name(row) for row in lists["rows"][k][: int(lists["n"][k])].tolist()]
            for k, name in enumerate(LIST_NAMES)
        }
        n, true = int(lists["n_candidates"]), int(lists["true_at"])
        logits = lists["scores"][:n].astype(np.float64)
        log_p = logits - float(lists["log_total"])
        is_candidate = 0 <= true < n  # there is none where the worker passed the event over
        return Scored(
            index=index,
            lists=names,
            loss=float(-log_p[true]) if is_candidate else None,
            scores=np.exp(log_p).astype(np.float32),
            true_at=true if is_candidate else None,
            drawn=[self._name(row) for row in lists["drawn"][: int(lists["n_drawn"])].tolist()],
        )

    def _name(self, row: int) -> str:
        return self._replica.listed[int(self._replica.table.headers.records["id"][row])].item_id

    def weights(self) -> dict[str, dict[str, float]]:
        """Return the blend's weights by head and feature."""
        blend = self._users.globals[0]["blend"]
        return {
            head: {name: round(float(weight), 4) for name, weight in zip(FEATURES, weights, strict=True)}
            for head, weights in zip(("had", "new"), blend, strict=True)
        }


assert LISTS["rows"].shape[0] == len(LIST_NAMES), "kernels and protocol must agree on the lists"  # noqa: S101
