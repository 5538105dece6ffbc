"""An evaluation: every event is first a question to all models, then a lesson; nothing is refitted."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

import msgspec
import numpy as np

from stream_app.evaluation.history import Before, History, Numbering
from stream_app.evaluation.protocol import Answers, Bools, Model, is_positive
from stream_app.evaluation.ratings import RatingMeasures
from stream_app.evaluation.source import EvaluationError
from stream_app.evaluation.tally import ModelTally, TruthColumns, Truths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream_app.evaluation.source import Catalog, EventLog
    from stream_app.records import Event

BATCH_EVENTS: Final = 1_000
"""Events handed to the models at once. What they answer must not hang on it."""
POSITIVES: Final = "purchase, cart, favorite or rating of 4 and more"
NEW_ITEM_EVENTS: Final = 10
"""Events during which an item is new."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which events are scored.

    Attributes
    ----------
    warmup
        Share of the events that is learned only, at the start.
    score_every
        After that one event in so many is scored if it is a positive.
    """

    warmup: float = 0.2
    score_every: int = 1

    def first(self, n_events: int) -> int:
        """Return the position of the first event that may be scored."""
        return int(n_events * self.warmup)


@dataclass(slots=True)
class Outcome:
    """Everything that was counted.

    Attributes
    ----------
    truths
        Of the scored events.
    tallies, ratings
        Per model, in the order of the models.
    weights
        Per model, what its features weigh at the end.
    numbering
        Numbers of items and categories.
    first_events
        Of items first seen after the warm-up, that the catalogue knows: positions of their first ten events.
    item_events
        Events of each item, by its number, in the order of their first ones.
    n_users
        Users at the end.
    n_positives
        Positives after the warm-up, scored or not.
    """

    truths: Truths
    tallies: dict[str, ModelTally]
    ratings: dict[str, RatingMeasures]
    weights: dict[str, dict[str, dict[str, float]]]
    numbering: Numbering
    first_events: dict[int, list[int]] = field(default_factory=dict)
    item_events: dict[int, int] = field(default_factory=dict)
    n_users: int = 0
    n_positives: int = 0


@dataclass(frozen=True, slots=True)
class _Answered:
    """A batch that the models are at work on, or have answered."""

    events: Sequence[Event]
    first_index: int
    asked: list[tuple[int, str, Before]]
    answers: Future[list[Answers]]


class Evaluation:
    """Runs models over an event log.

    The models work in a thread of their own, batch after batch; their kernels hold no lock, so that the next batch is
    read and the last one counted at the same time. What they answer does not hang on it.

    Parameters
    ----------
    log, catalog
        What is read.
    plan
        Which events are scored.
    models
        Fresh models with different names.

    Raises
    ------
    EvaluationError
        No event would be scored.
    """

    def __init__(self, log: EventLog, catalog: Catalog, plan: Plan, models: Sequence[Model]) -> None:
        self._log, self._plan, self._models = log, plan, models
        self._first = plan.first(len(log))
        self._numbering = Numbering(catalog)
        self._history = History(self._numbering)
        self._columns = TruthColumns()
        self._tallies = {model.name: ModelTally(self._numbering) for model in models}
        self._ratings = {model.name: RatingMeasures() for model in models}
        self._first_events: dict[int, list[int]] = {}
        self._n_positives = 0

    def run(self, slate_files: dict[str, IO[bytes]], on_progress: Callable[[int], None] | None = None) -> Outcome:
        """Ask and teach the models event by event.

        Parameters
        ----------
        slate_files
            Per name of a model, where its lists go as JSON Lines; a model without a file writes none.
        on_progress
            Called with how many events are done.

        Raises
        ------
        EvaluationError
            No event was scored, or a model did not answer what it was asked.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="models") as thread:
            index = 0
            answered: _Answered | None = None
            for events in self._log.batches(BATCH_EVENTS):
                asked = self._look(events, index)
                scored = np.zeros(len(events), np.bool_)
                scored[[at - index for at, _, _ in asked]] = True
                answers = thread.submit(self._ask, events, index, scored)
                if answered is not None:
                    self._close(answered, slate_files, on_progress)
                answered = _Answered(events, index, asked, answers)
                index += len(events)
            if answered is not None:
                self._close(answered, slate_files, on_progress)
        truths = self._columns.truths()
        if truths.index.size == 0:
            raise EvaluationError(self._nothing_scored())
        return Outcome(
            truths=truths,
            tallies=self._tallies,
            ratings=self._ratings,
            weights={model.name: model.weights() for model in self._models},
            numbering=self._numbering,
            first_events=self._first_events,
            item_events=self._history.item_events,
            n_users=self._history.n_users,
            n_positives=self._n_positives,
        )

    def _nothing_scored(self) -> str:
        """Return why no event was scored, and what to do."""
        all_of_them = f"none of {len(self._log):,} events was scored"
        if self._n_positives:
            return (
                f"{all_of_them}: --score-every {self._plan.score_every} leaves out all that could be, each "
                f"{POSITIVES} after the warm-up ({self._n_positives:,}); use a smaller number"
            )
        types: Counter[str] = Counter()
        n_early = 0
        for events in self._log.batches(BATCH_EVENTS):
            types.update(event.type for event in events)
            n_early += sum(map(is_positive, events))
        after = f"after the warm-up ({self._plan.warmup:g}) there was no {POSITIVES}"
        if n_early:
            return f"{all_of_them}: {after}; use a smaller --warmup, or more events"
        found = ", ".join(f"{name} {n:,}" for name, n in sorted(types.items()))
        return (
            f"{all_of_them}: {after}, nor before it ({found}), and only those are asked for; "
            "add such events: another --warmup does not help"
        )

    def _ask(self, events: Sequence[Event], first_index: int, scored: Bools) -> list[Answers]:
        return [model.score_and_learn(events, first_index, scored) for model in self._models]

    def _close(
        self, batch: _Answered, slate_files: dict[str, IO[bytes]], on_progress: Callable[[int], None] | None
    ) -> None:
        """Wait for the answers to a batch, and count and write them."""
        for model, answers in zip(self._models, batch.answers.result(), strict=True):
            self._take(model.name, answers, batch.asked, batch.events, batch.first_index)
            if model.name in slate_files:
                slate_files[model.name].write(_lines(answers, batch.events, batch.first_index))
        if on_progress is not None:
            on_progress(batch.first_index + len(batch.events))

    def _look(self, events: Sequence[Event], first_index: int) -> list[tuple[int, str, Before]]:
        """Note what is true before each event that is to be scored, and learn all of them."""
        asked: list[tuple[int, str, Before]] = []
        rows = []
        history = self._history
        for index, event in enumerate(events, first_index):
            if index >= self._first and is_positive(event):
                self._n_positives += 1
                if (index - self._first) % self._plan.score_every == 0:
                    before = history.before(event)
                    asked.append((index, event.event_id, before))
                    rows.append((index, event.event_time_ms, event.user_id, before))
            item = history.learn(event)
            if item is not None:
                self._note_new(item, index)
        self._columns.add(rows)
        return asked

    def _note_new(self, item: int, index: int) -> None:
        """Keep the first events of an item that the catalogue knows and that was first seen after the warm-up."""
        if item >= self._numbering.n_catalog:
            return
        n = self._history.item_events[item]
        if n == 1 and index >= self._first:
            self._first_events[item] = [index]
        elif n <= NEW_ITEM_EVENTS and item in self._first_events:
            self._first_events[item].append(index)

    def _take(
        self, name: str, answers: Answers, asked: list[tuple[int, str, Before]], events: Sequence[Event], first: int
    ) -> None:
        if [answer.index for answer in answers.scored] != [index for index, _, _ in asked]:
            message = (
                f"the model {name} was asked about {len(asked)} events from position {first} on and answered "
                f"{len(answers.scored)}, or others; this is a defect of the model"
            )
            raise EvaluationError(message)
        self._tallies[name].add(answers.scored, [before for _, _, before in asked])
        for rated in answers.rated:
            event = events[rated.index - first]
            if rated.index >= self._first and event.value is not None:
                self._ratings[name].add(event.user_id, event.value, rated.stars)


def _lines(answers: Answers, events: Sequence[Event], first_index: int) -> bytes:
    """Return the lists of a batch as JSON Lines."""
    return msgspec.json.Encoder().encode_lines(
        [
            {
                "event_id": events[answer.index - first_index].event_id,
                **answer.lists,
                **({"drawn": answer.drawn} if answer.drawn is not None else {}),
            }
            for answer in answers.scored
        ]
    )
