"""What a drift alarm does: for so many events of its partition the task learns the ranking faster.

An alarm of the log-loss says that what was learned fits worse than it did. Then most of the Newton matrices of the
blend and of the category model is forgotten, once, so that steps are longer; and more events teach both, for so many
events.

Both begin with the next block of offsets (:data:`stream_app.pools.BLOCK`), and events are counted off at the end
of one: so it hangs on the events and not on how they were cut into batches. An alarm of the hit rate is only counted:
which slates a user saw last hangs on when they were committed.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

if TYPE_CHECKING:
    from operators.params import LearnParams
    from state.arrays import Row
    from stream_app.quality import OnlineQuality

log = structlog.get_logger()

MATRICES: Final = ("blend_gram", "category_gram")
"""Not those of reactions and discoveries, where it is not measured; nor the perceptron, where it changed nothing."""


class RelearnParams(NamedTuple):
    """How a task learns after an alarm.

    Attributes
    ----------
    n_events
        For how many events that teach; with 0 an alarm does nothing.
    kept
        Share of the Newton matrices that is kept at the alarm.
    rank_every
        One in so many events teaches the rankers meanwhile.
    """

    n_events: int = 20_000
    kept: float = 0.1
    rank_every: int = 1


DEFAULTS: Final = RelearnParams()


class Relearning:
    """Whether a partition learns faster at present, and for how long.

    Parameters
    ----------
    learn
        How it learns otherwise.
    params
        How it learns after an alarm.
    """

    def __init__(self, learn: "LearnParams", params: RelearnParams = DEFAULTS) -> None:
        self._params = params
        self._learn = learn
        self._fast = learn._replace(rank_every=params.rank_every)
        self._state = dict.fromkeys(("block", "n_taught", "n_left", "is_due"), 0)

    @property
    def n_left(self) -> int:
        """Events for which it goes on learning faster; 0 where it does not."""
        return max(0, self._state["n_left"] - self._state["n_taught"])

    def enter(self, block: int, globals_: "Row") -> "LearnParams":
        """Return how the events of a block of offsets teach; an alarm of an earlier block takes effect.

        Parameters
        ----------
        block
            Its number. It may be entered several times in a row.
        globals_
            What the partition learned (:data:`operators.weights.GLOBALS`); its matrices shrink at an alarm.
        """
        state = self._state
        if block != state["block"]:
            state["block"], state["n_left"], state["n_taught"] = block, self.n_left, 0
            if state["is_due"] and self._params.n_events:
                state["n_left"] = self._params.n_events
                for name in MATRICES:
                    globals_[name] *= self._params.kept
            state["is_due"] = 0
        return self._fast if state["n_left"] else self._learn

    def note(self, n_taught: int, *, alarm: bool) -> None:
        """Count events that taught, and take note of an alarm that they raised."""
        self._state["n_taught"] += n_taught
        self._state["is_due"] |= alarm

    def restore(self, state: dict[str, int] | None) -> None:
        """Take up the state of the last commit; None where it has none."""
        self._state.update({name: int((state or {}).get(name, 0)) for name in self._state})

    def state(self) -> dict[str, int]:
        """Return what :meth:`restore` takes, for the checkpoint."""
        return {name: int(value) for name, value in self._state.items()}


class DriftLog:
    """Says once of every alarm of a partition that there was one."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._n_told = 0

    def tell(self, quality: "OnlineQuality") -> None:
        """Log the alarms since the last call, if there are any; those of the log-loss make the task learn faster."""
        if quality.n_drifts > self._n_told:
            self._n_told = quality.n_drifts
            found = quality.summary()
            log.warning(
                "drift_alarm",
                partition=self._partition,
                n_log_loss=int(found["n_drifts_log_loss"]),
                n_hit_rate=int(found["n_drifts_hit_rate"]),
                log_loss=round(found["log_loss"], 3),
                hit_rate=round(found["hit_rate"], 4),
            )
