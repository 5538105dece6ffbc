"""The models that can be evaluated, by name: the product and the baselines."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from stream_app.evaluation.history import History, Numbering
from stream_app.evaluation.source import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.evaluation.baselines.base import Ranker
    from stream_app.evaluation.protocol import Model
    from stream_app.evaluation.source import Catalog, EventLog
    from stream_app.settings import Settings

PRODUCT: Final = "crossaisle"
BASELINES: Final = ("popularity", "personal-frequency", "co-occurrence", "biased-mf", "funk-mf")
MODEL_NAMES: Final = (PRODUCT, *BASELINES)
_USUAL: Final = (PRODUCT, "popularity", "personal-frequency")
_OF_STARS: Final = "biased-mf"


def default_models(log: EventLog) -> tuple[str, ...]:
    """Return the models to evaluate where none are named: one that predicts stars is among them for a log of ratings.

    That is one with a rating in two events or more. Elsewhere such a model learns stars beside ones and zeros.
    """
    return (*_USUAL, _OF_STARS) if 2 * log.n_ratings >= len(log) else _USUAL


def open_model(name: str, catalog: Catalog, settings: Settings, *, replica_lag: int) -> Model:
    """Return a model that has learned nothing yet.

    Parameters
    ----------
    name
        One of :data:`MODEL_NAMES`.
    catalog
        All items, known from the start.
    settings
        ``seed`` and the rules of slates are taken from it; by the product everything else, too.
    replica_lag
        Of the product: events by which the item replica lags behind the users.

    Raises
    ------
    EvaluationError
        There is no such model.
    """
    if name == PRODUCT:
        try:
            replay = importlib.import_module("stream_app.evaluation.replay")  # compiles kernels
        except ModuleNotFoundError as error:
            message = f"the model {PRODUCT} is not in this build; use --model with one of {', '.join(BASELINES)}"
            raise EvaluationError(message) from error
        product: Model = replay.ReplayModel(settings, catalog.records, replica_lag=replica_lag)
        return product
    if name not in BASELINES:
        message = f"there is no model {name!r}; use one of {', '.join(MODEL_NAMES)}"
        raise EvaluationError(message)
    from stream_app.evaluation.baselines.base import Baseline, Cut  # noqa: PLC0415 - not before the name is known

    numbering = Numbering(catalog)
    cut = Cut(numbering, catalog, cap=settings.category_cap, discovery_slots=settings.discovery_slots)
    return Baseline(name, _ranker(name)(settings.seed), History(numbering), cut)


def _ranker(name: str) -> Callable[[int], Ranker]:
    """Return what makes the method of a name from a seed."""
    if name == "popularity":
        from stream_app.evaluation.baselines.popularity import Popularity  # noqa: PLC0415 - only what is asked for

        return lambda _: Popularity()
    if name == "personal-frequency":
        from stream_app.evaluation.baselines.personal import PersonalFrequency  # noqa: PLC0415 - as above

        return lambda _: PersonalFrequency()
    if name == "co-occurrence":
        from stream_app.evaluation.baselines.together import CoOccurrence  # noqa: PLC0415 - as above

        return lambda _: CoOccurrence()
    from stream_app.evaluation.baselines.factorized import biased_mf, funk_mf  # noqa: PLC0415 - River is slow to load

    return biased_mf if name == "biased-mf" else funk_mf
