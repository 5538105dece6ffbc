"""Puts an outcome into ``metrics.json``: the same events, settings and seed give the same bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_app.evaluation import comparison, measures
from stream_app.evaluation.notes import about_listing
from stream_app.evaluation.run import NEW_ITEM_EVENTS
from stream_app.evaluation.tally import N_BINS, ModelTally, bin_edges

if TYPE_CHECKING:
    from stream_app.evaluation.run import Outcome, Plan
    from stream_app.evaluation.source import Catalog, EventLog, Rejects

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was evaluated, for the record.

    Attributes
    ----------
    events_name, catalog_name
        Names of the files, without folders.
    log, catalog
        What was in them.
    plan
        Which events were scored.
    seed, limit, replica_lag
        As of the command.
    """

    events_name: str
    catalog_name: str
    log: EventLog
    catalog: Catalog
    plan: Plan
    seed: int = 0
    limit: int | None = None
    replica_lag: int = 0


def summarize(inputs: Inputs, outcome: Outcome) -> Json:
    """Return all numbers of an evaluation, ready for JSON; None stands where there was nothing to measure.

    The first model is the one that the others are compared with.
    """
    truths = outcome.truths
    names = list(outcome.tallies)
    return {
        "crossaisle": version("crossaisle"),
        "input": _about_input(inputs, outcome),
        "scored": {
            "n": int(truths.index.size),
            "n_positives_after_warmup": outcome.n_positives,
            "n_crossing": int(truths.crosses.sum()),
            "n_repeat": int(truths.had.sum()),
            "n_explore": int((~truths.had).sum()),
            "n_newcat": int((~truths.had_category).sum()),
            "n_without_category": int((truths.category < 0).sum()),
        },
        "models": {name: _about_model(name, outcome) for name in names},
        "comparisons": {
            f"{names[0]} - {other}": {
                **comparison.compare(outcome.tallies[names[0]], outcome.tallies[other], truths),
                "ratings": comparison.compare_ratings(outcome.ratings[names[0]], outcome.ratings[other]),
            }
            for other in names[1:]
        },
    }


def _about_input(inputs: Inputs, outcome: Outcome) -> Json:
    return {
        "events": inputs.events_name,
        "catalog": inputs.catalog_name,
        "n_events": len(inputs.log),
        "n_ratings": inputs.log.n_ratings,
        "n_users": outcome.n_users,
        "n_items_with_events": len(outcome.item_events),
        **about_listing(outcome),
        "n_catalog": len(inputs.catalog.entries),
        "n_categories": len(outcome.numbering.categories),
        "embeddings": _embeddings(inputs.catalog),
        "rejected_events": _rejects(inputs.log.rejects),
        "rejected_catalog": _rejects(inputs.catalog.rejects),
        "n_duplicates": inputs.log.n_duplicates,
        "n_out_of_order": inputs.log.n_out_of_order,
        "seed": inputs.seed,
        "warmup": inputs.plan.warmup,
        "score_every": inputs.plan.score_every,
        "limit": inputs.limit,
        "replica_lag": inputs.replica_lag,
    }


def _embeddings(catalog: Catalog) -> Json:
    """Return the number of items with a content vector, by its number of components."""
    lengths = Counter(len(entry.embedding) for entry in catalog.entries.values() if entry.embedding)
    return {str(length): lengths[length] for length in sorted(lengths)}


def _rejects(rejects: Rejects) -> Json:
    return {"n": rejects.n, "by_code": dict(sorted(rejects.by_code.items())), "first": rejects.first or None}


def _about_model(name: str, outcome: Outcome) -> Json:
    tally, truths, numbering = outcome.tallies[name], outcome.truths, outcome.numbering
    n_listable = sum(category >= 0 for category in numbering.category_of[: numbering.n_catalog])
    ratings = outcome.ratings[name].summary()
    return {
        "lists": measures.quality(tally, truths),
        "exploration": comparison.exploration(tally, truths),
        "spread": measures.spread(tally, truths, n_listable),
        "probabilities": measures.probabilities(tally, truths),
        "calibration": _calibration(tally),
        "ratings": ratings,
        "cold_start": {
            "first_slate_after_one_event": measures.by_group(tally, truths, {"1": truths.n_before == 1})["1"],
            "new_items": measures.cold_items(tally, outcome.first_events, NEW_ITEM_EVENTS),
        },
        "by_time": measures.by_group(tally, truths, measures.by_time(truths)),
        "by_user_events": measures.by_group(tally, truths, measures.by_activity(truths)),
        "by_item_events": measures.by_group(tally, truths, measures.by_item_age(truths)),
        "by_category": measures.by_group(tally, truths, measures.by_category(truths, numbering.categories)),
        "misplaced": tally.n_wrong,
        "weights": outcome.weights[name],
    }


def _calibration(tally: ModelTally) -> list[Json]:
    """Return, per octave of predicted probability, how many candidates there were and how many were true."""
    width = N_BINS // 30
    n_all, n_true = tally.bins_all.reshape(-1, width).sum(axis=1), tally.bins_true.reshape(-1, width).sum(axis=1)
    edges = bin_edges()[::width]
    centres = np.sqrt(bin_edges()[:-1] * bin_edges()[1:])
    expected = (tally.bins_all * centres).reshape(-1, width).sum(axis=1)
    return [
        {
            "from": float(f"{edges[k]:.6g}"),
            "to": float(f"{edges[k + 1]:.6g}"),
            "n": int(n_all[k]),
            "predicted": float(f"{expected[k] / n_all[k]:.6g}"),
            "observed": float(f"{n_true[k] / n_all[k]:.6g}"),
        }
        for k in range(n_all.size)
        if n_all[k]
    ]
