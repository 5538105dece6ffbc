"""What exploration costs on recorded events: the hit rate of slates drawn by each arm, against greedy, in one pass.

    python -m benchmarks.policy_cost EVENTS --catalog CATALOG [--limit N] [--score-every K] [--out FILE]

The protocol is that of ``crossaisle evaluate``; every arm of the settings is a model of its own that learns the same
events, so that the slates differ by the draws alone. Each scored event has random numbers of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from operators.draw import make_choices
from operators.numeric import splitmix
from stream_app.evaluation.files import LONGEST_LAG, MOST_UPDATES
from stream_app.evaluation.replay import ReplayModel
from stream_app.evaluation.run import Evaluation, Plan
from stream_app.evaluation.source import read_catalog, read_events
from stream_app.evaluation.summary import Inputs, summarize
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from operators.arms import Arm
    from stream_app.evaluation.protocol import Answers, Bools
    from stream_app.records import Event, KafkaRecord


class ArmModel(ReplayModel):
    """The product with slates drawn by one arm."""

    def __init__(self, settings: Settings, catalog: Iterable[KafkaRecord], *, replica_lag: int, arm: Arm) -> None:
        super().__init__(settings, catalog, replica_lag=replica_lag)
        self.name = arm.name
        self._choice = make_choices((arm,), np.zeros(1, np.int32), np.zeros(1, np.uint64))

    def _learn(self, events: Sequence[Event], first_index: int, scored: Bools, answers: Answers) -> None:
        """Learn events, each scored one by itself, with a key of its own."""
        cuts = sorted({0, len(events), *(k + d for k in np.flatnonzero(scored).tolist() for d in (0, 1))})
        for start, end in pairwise(cuts):
            self._choice["key"] = splitmix(np.uint64(first_index + start))
            self._users._greedy = self._choice[0]  # noqa: SLF001 - the choice that an evaluation draws slates with
            super()._learn(events[start:end], first_index + start, scored[start:end], answers)


def main() -> None:
    """Run all arms and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--catalog", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--score-every", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the numbers")
    options = parser.parse_args()
    settings = Settings()
    catalog = read_catalog(options.catalog, settings)
    log = read_events(options.events, settings, now_ms=time.time_ns() // 1_000_000, limit=options.limit)
    lag = min(LONGEST_LAG, max(1, len(log) // MOST_UPDATES))
    models = [ArmModel(settings, catalog.records, replica_lag=lag, arm=arm) for arm in settings.arms]
    plan = Plan(0.2, options.score_every)
    outcome = Evaluation(log, catalog, plan, models).run({})
    inputs = Inputs(options.events.name, options.catalog.name, log, catalog, plan, settings.seed, options.limit, lag)
    result = summarize(inputs, outcome)
    numbers = {
        "scored": result["scored"],
        "slate": {name: model["lists"]["slate"] for name, model in result["models"].items()},
        "comparisons": {name: both["slate"] for name, both in result["comparisons"].items()},
    }
    print(json.dumps(numbers, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(numbers))


if __name__ == "__main__":
    main()
