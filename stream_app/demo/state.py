"""What the demo knows at a moment: plain data that its loops write and its views only read.

All times are seconds of one monotonic clock, unless the name ends with ``_ms`` (Unix milliseconds).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

SPARK_POINTS = 60
"""How many points of a curve are kept: one a second, so the last minute."""

SLATES_KEPT = 12
HITS_KEPT = 30
NOTICES_KEPT = 5


class StepStatus(Enum):
    """Where a step of the start-up stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(slots=True)
class Step:
    """One step of the start-up; ``note`` says in a few words what it is doing or what came of it."""

    name: str
    status: StepStatus = StepStatus.WAITING
    note: str = ""


@dataclass(slots=True)
class WorkerState:
    """One worker process; ``pid`` is ``None`` while none runs, ``ready`` is true once it has learned something."""

    number: int
    pid: int | None = None
    ready: bool = False
    n_restarts: int = 0


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One item of a slate in words; ``is_new`` when the household has never bought it."""

    title: str
    reason: str
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class ShownSlate:
    """One slate in words; ``basket`` is what the household had bought when it was made, newest last."""

    user_id: str
    basket: tuple[str, ...]
    items: tuple[ShownItem, ...]
    at_s: float
    age_s: float | None


@dataclass(frozen=True, slots=True)
class ShownHit:
    """One hit in words; ``slot`` is 0-based."""

    user_id: str
    title: str
    slot: int
    reason: str
    at_s: float
    waited_s: float


def _curve() -> deque[float]:
    return deque(maxlen=SPARK_POINTS)


@dataclass(slots=True)
class Gauge:
    """A number and how it moved during the last minute."""

    now: float = 0.0
    curve: deque[float] = field(default_factory=_curve)

    def set(self, value: float) -> None:
        """Take ``value`` as the current one and draw it onto the curve."""
        self.now = value
        self.curve.append(value)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something out of the ordinary, in a sentence."""

    words: str
    at_s: float


@dataclass(slots=True)
class DemoState:
    """Everything that the views show; ``household`` is the busiest one so far, ``command`` calls ``crossaisle``.

    ``page_url`` is the first worker's web page, empty before it is open.
    """

    steps: dict[str, Step]
    workers: list[WorkerState]
    bootstrap_servers: str = ""
    command: str = "crossaisle"
    page_url: str = ""
    started_s: float = 0.0
    opened_s: float | None = None
    closing: bool = False
    shop_time_ms: int | None = None

    n_events: int = 0
    n_learned: int = 0
    n_slates: int = 0
    n_baskets: int = 0
    n_households: int = 0
    household: str | None = None
    all_sent: bool = False
    events_per_s: Gauge = field(default_factory=Gauge)
    slates_per_s: Gauge = field(default_factory=Gauge)
    stage_lag: dict[str, Gauge] = field(default_factory=dict)
    freshness_p50_s: float | None = None
    freshness_p95_s: float | None = None

    n_scored: int = 0
    n_hits: int = 0
    slates: deque[ShownSlate] = field(default_factory=lambda: deque(maxlen=SLATES_KEPT))
    hits: deque[ShownHit] = field(default_factory=lambda: deque(maxlen=HITS_KEPT))
    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=NOTICES_KEPT))

    @property
    def is_open(self) -> bool:
        """Whether the start-up is over and shopping has begun."""
        return self.opened_s is not None

    @property
    def hit_rate(self) -> float | None:
        """Share of scored purchases that were on the slate, in ``[0, 1]``; ``None`` before the first."""
        return self.n_hits / self.n_scored if self.n_scored else None

    def begin(self, step: str, note: str = "") -> None:
        """Mark a step of the start-up as running."""
        self.steps[step].status = StepStatus.RUNNING
        self.steps[step].note = note

    def finish(self, step: str, note: str = "") -> None:
        """Mark a step of the start-up as done."""
        self.steps[step].status = StepStatus.DONE
        self.steps[step].note = note
