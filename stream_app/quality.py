"""Prequential quality of a running task with River: what it foresaw before it learned, and alarms when that drops.

Observations are gathered to means of a fixed number of events first: an alarm then hangs on the events, and not on how
they were cut into batches, and the detector costs nothing worth measuring.
"""

import math
from collections import deque
from functools import cache
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from types import ModuleType

SMOOTHING: Final = 0.01
"""Weight of the newest block in the exponential means."""
BLOCK_EVENTS: Final = 100
"""Observations that make one block of the smoothed means."""
WATCHED_EVENTS: Final = 25
"""Observations that make one block of those that ADWIN sees: it wants at least five of them from after a change."""
N_NEWEST: Final = 5
"""Newest blocks that tell whether a change is for the worse."""
CONFIDENCE: Final = 1e-4
"""ADWIN's delta: how rarely a block that is like the others may raise an alarm."""


@cache
def adwin() -> Any:
    """Return :class:`river.drift.ADWIN`.

    Its module is loaded by its path: the package around it loads SciPy's statistics for another detector, more than a
    second in the way of a restarted worker's first slates. A version of River with other files is imported as usual.
    """
    folder = Path(str(util.find_spec("river").submodule_search_locations[0]))  # type: ignore[union-attr, index]
    spec = util.spec_from_file_location("river_drift_adwin", folder / "drift" / "adwin.py")
    try:
        module = util.module_from_spec(spec)  # type: ignore[arg-type]  # what is None raises an AttributeError
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except (ImportError, OSError, AttributeError):
        from river import drift  # noqa: PLC0415

        return drift.ADWIN
    return module.ADWIN


@cache
def statistics() -> "ModuleType":
    """Return River's statistics; loading them takes a tenth of a second, and nothing is counted before the start."""
    from river import stats  # noqa: PLC0415

    return stats


class Blocks:
    """Gathers numbers to means of :data:`BLOCK_EVENTS`.

    Examples
    --------
    >>> blocks = Blocks(2)
    >>> blocks.add(np.array([1.0, 3.0, 5.0])), blocks.add(np.array([7.0]))
    ([2.0], [6.0])
    """

    def __init__(self, size: int = BLOCK_EVENTS) -> None:
        self._size = size
        self._sum = 0.0
        self._n = 0

    def add(self, values: np.ndarray) -> list[float]:
        """Add numbers and return the means of the blocks that they complete."""
        means = []
        for value in values.tolist():
            self._sum += value
            self._n += 1
            if self._n == self._size:
                means.append(self._sum / self._n)
                self._sum, self._n = 0.0, 0
        return means


class Smoothed:
    """A mean that follows its numbers."""

    def __init__(self) -> None:
        self._mean: Any = None
        self._blocks = Blocks()
        self.n_blocks = 0

    def add(self, values: np.ndarray) -> None:
        """Add numbers."""
        for mean in self._blocks.add(values):
            self._take(mean)

    def _take(self, mean: float) -> None:
        if self._mean is None:
            self._mean = statistics().EWMean(SMOOTHING)
        self.n_blocks += 1
        self._mean.update(mean)

    @property
    def mean(self) -> float:
        """The smoothed mean; 0 before the first block."""
        value = float(self._mean.get()) if self._mean is not None else 0.0
        return value if math.isfinite(value) else 0.0


class Watched(Smoothed):
    """A mean that follows its numbers, and counts the alarms of ADWIN when it gets worse.

    Parameters
    ----------
    worse
        ``1`` if larger numbers are worse, ``-1`` if smaller ones are.

    References
    ----------
    .. [1] Bifet, Gavaldà (2007), SDM, "Learning from time-changing data with adaptive windowing".
    """

    def __init__(self, worse: int) -> None:
        super().__init__()
        self._worse = worse
        self._watched = Blocks(WATCHED_EVENTS)
        self._newest: deque[float] = deque(maxlen=N_NEWEST)
        self._adwin: Any = None
        self.n_alarms = 0

    def add(self, values: np.ndarray) -> None:
        """Add numbers."""
        super().add(values)
        for mean in self._watched.add(values):
            self._watch(mean)

    def _watch(self, mean: float) -> None:
        """Count an alarm if ADWIN finds a change, and the newest blocks are worse than its window was.

        ADWIN's own mean after a change does not tell: it drops its oldest blocks, and keeps more than the newest.
        """
        if self._adwin is None:
            self._adwin = adwin()(delta=CONFIDENCE, clock=1)
        before = self._adwin.estimation
        self._newest.append(mean)
        self._adwin.update(mean)
        if self._adwin.drift_detected:
            newest = sum(self._newest) / len(self._newest)
            self.n_alarms += self._worse * (newest - before) > 0


class OnlineQuality:
    """Hit rate, log-loss and AUC of what the task predicted before it learned, and alarms of their drift.

    The loss falls while a new task learns: only changes for the worse are alarms.
    """

    def __init__(self) -> None:
        self._hits = Watched(worse=-1)
        self._loss = Watched(worse=1)
        self._auc = Smoothed()

    def update(self, losses: np.ndarray, hits: np.ndarray, aucs: np.ndarray) -> bool:
        """Add a batch.

        Parameters
        ----------
        losses
            Log-losses of blend and perceptron in nats; NaN where they made no step.
        hits
            Per positive event, whether its item was on the user's last slate.
        aucs
            Per event, the share of other candidates that its item scored above, in [0, 1]; NaN where it is not known.

        Returns
        -------
        bool
            Whether the log-loss raised an alarm.
        """
        before = self._loss.n_alarms
        self._hits.add(hits.astype(np.float64))
        self._loss.add(losses[np.isfinite(losses)].astype(np.float64))
        self._auc.add(aucs[np.isfinite(aucs)].astype(np.float64))
        return self._loss.n_alarms > before

    @property
    def n_drifts(self) -> int:
        """Alarms so far, of all that is watched."""
        return self._hits.n_alarms + self._loss.n_alarms

    def summary(self) -> dict[str, float]:
        """Return hit rate, loss in nats, AUC and drift alarms so far; 0 stands where there is nothing yet."""
        return {
            "hit_rate": self._hits.mean,
            "log_loss": self._loss.mean,
            "auc": self._auc.mean,
            "n_drifts": float(self.n_drifts),
            "n_drifts_hit_rate": float(self._hits.n_alarms),
            "n_drifts_log_loss": float(self._loss.n_alarms),
        }
