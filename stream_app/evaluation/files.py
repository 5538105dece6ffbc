"""An evaluation from files to files: events and catalogue in; metrics, slates and report out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from stream_app.evaluation.beside import Beside, Task, joined
from stream_app.evaluation.models import MODEL_NAMES, PRODUCT, default_models, open_model
from stream_app.evaluation.report import render
from stream_app.evaluation.run import Evaluation, Outcome, Plan
from stream_app.evaluation.source import Catalog, EvaluationError, EventLog, read_catalog, read_events
from stream_app.evaluation.summary import Inputs, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.settings import Settings

METRICS_FILE: Final = "metrics.json"
REPORT_FILE: Final = "report.html"
SLATES_FILE: Final = "slates.jsonl"


LONGEST_LAG = 50
"""Events between two updates of the item replica, if nothing else is said: 5 ms of a stream of 10,000 a second."""
MOST_UPDATES = 20_000
"""A file with fewer events than this per event of lag is updated more often."""
LEAST_BESIDE = 50_000
"""Events from which on the baselines get a process of their own: less is done before that has started."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate.

    Attributes
    ----------
    events, catalog
        Files to read.
    out
        Folder to write to; made if it is not there.
    models
        Names, each once; the first is the one whose lists go to ``slates.jsonl``. If there are none,
        :func:`~stream_app.evaluation.models.default_models`.
    now_ms
        Present time, milliseconds since 1970 UTC; later events are rejected.
    warmup, score_every, limit, replica_lag
        As of the command; a lag of None is 1 to :data:`LONGEST_LAG` events, so that a short file is replayed as a
        slow stream and a long one in bearable time.
    """

    events: Path
    catalog: Path
    out: Path
    models: tuple[str, ...]
    now_ms: int
    warmup: float = 0.2
    score_every: int = 1
    limit: int | None = None
    replica_lag: int | None = None


def slates_name(model: str, *, first: bool) -> str:
    """Return the name of the file with a model's lists.

    Examples
    --------
    >>> slates_name("crossaisle", first=True), slates_name("popularity", first=False)
    ('slates.jsonl', 'slates.popularity.jsonl')
    """
    return SLATES_FILE if first else f"slates.{model}.jsonl"


@contextlib.contextmanager
def _all_or_none(folder: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """Hand out what begins a file; all of them get their names at the end, or none if this is interrupted.

    Lists of models that were evaluated before and are not now go with the metrics that they belong to.
    """
    begun: dict[str, IO[bytes]] = {}
    with contextlib.ExitStack() as stack:

        def unfinished(name: str) -> Path:
            return folder / f".{name}.unfinished"

        def begin(name: str) -> IO[bytes]:
            stack.callback(unfinished(name).unlink, missing_ok=True)
            begun[name] = stack.enter_context(unfinished(name).open("wb"))
            return begun[name]

        yield begin
        for file in begun.values():
            file.close()
        for name in begun:
            unfinished(name).replace(folder / name)
        for name in {slates_name(model, first=False) for model in MODEL_NAMES} - set(begun):
            (folder / name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is evaluated, by whatever model."""

    log: EventLog
    catalog: Catalog
    plan: Plan
    settings: Settings
    replica_lag: int

    def run(self, files: dict[str, IO[bytes]], on_progress: Callable[[int], None]) -> Outcome:
        """Evaluate the models that the files are named after; with long files the baselines :mod:`.beside`."""
        beside = {name: Path(file.name) for name, file in files.items() if name != PRODUCT}
        if PRODUCT not in files or not beside or len(self.log) < LEAST_BESIDE:
            return self._here(files, on_progress)
        task = Task(self.log, self.catalog, self.plan, beside, self.settings, self.replica_lag)
        with Beside(task) as other:

            def note(done: int) -> None:
                other.look()
                on_progress(min(done, other.n_done))

            here = self._here({PRODUCT: files[PRODUCT]}, note)
            return joined(tuple(files), here, other.outcome(on_progress))

    def _here(self, files: dict[str, IO[bytes]], on_progress: Callable[[int], None]) -> Outcome:
        models = [open_model(name, self.catalog, self.settings, replica_lag=self.replica_lag) for name in files]
        return Evaluation(self.log, self.catalog, self.plan, models).run(files, on_progress)


def evaluate_files(
    request: Request, settings: Settings, on_progress: Callable[[str, float], None] | None = None
) -> dict[str, Any]:
    """Evaluate, write all files and return what ``metrics.json`` holds. A run that fails leaves earlier files alone.

    Parameters
    ----------
    on_progress
        Called with what is being done, and the share of it that is done.

    Raises
    ------
    stream_app.reading.ReadingError
        A file cannot be read.
    EvaluationError
        There is nothing to evaluate, a model is not known, or the folder cannot be written to.
    """
    show = on_progress or (lambda _what, _share: None)
    catalog = read_catalog(request.catalog, settings)
    log = read_events(
        request.events,
        settings,
        now_ms=request.now_ms,
        limit=request.limit,
        on_progress=lambda share: show("reading", share),
    )
    plan = Plan(request.warmup, request.score_every)
    n = len(log)
    names = request.models or default_models(log)
    replica_lag = request.replica_lag or min(LONGEST_LAG, max(1, n // MOST_UPDATES))
    work = _Work(log, catalog, plan, settings, replica_lag)
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        with _all_or_none(request.out) as begin:
            files = {name: begin(slates_name(name, first=k == 0)) for k, name in enumerate(names)}
            outcome = work.run(files, lambda done: show(f"{done:,} of {n:,} events", done / n))
            inputs = Inputs(
                request.events.name, request.catalog.name, log, catalog, plan,
                settings.seed, request.limit, replica_lag,
            )  # fmt: skip
            result = summarize(inputs, outcome)
            begin(METRICS_FILE).write(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
            begin(REPORT_FILE).write(render(result).encode())
    except OSError as error:
        message = f"{error.filename or request.out}: {error.strerror or error}; choose another folder with --out"
        raise EvaluationError(message) from error
    return result
