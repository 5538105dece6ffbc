"""A log of slates for off-policy evaluation: flat arrays, one entry per shown slot, checked and sorted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


LARGEST = 1e50
"""Largest reward, model value and weight: squares of their products must be numbers."""


class SlateLogError(ValueError):
    """The arrays are no log of slates.

    Attributes
    ----------
    row
        Index of the first entry that is wrong, in the order that the entries were given in; None if it is all of them.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class SlateLog:
    """Slots that a logging policy filled, what they earned, and how likely the target policy fills them so.

    Made by :func:`slate_log`: entries are sorted by slate and position. All arrays have shape ``(n_slots,)``.

    Attributes
    ----------
    slate
        Number of the slate, from 0 without gaps.
    position
        Position in the slate, smaller is higher.
    propensity
        Probability, in (0, 1], with which the logging policy put this item here given the slots above it.
    target_propensity
        The same of the target policy, in [0, 1].
    reward
        What the slot earned.
    q_logged, q_target
        A model's expected reward of the logged item, and the mean of the model over the target policy's choice for this
        slot, both given the logged slots above it; None if there is no model.
    row
        Where the entry stood in what :func:`slate_log` was given.
    first_gap
        Index of the first entry whose predecessor in the slate is missing, None if all slates are whole.
    """

    slate: Ints
    position: Ints
    propensity: Floats
    target_propensity: Floats
    reward: Floats
    q_logged: Floats | None
    q_target: Floats | None
    row: Ints
    first_gap: int | None

    @property
    def n_slots(self) -> int:
        """Number of entries."""
        return int(self.slate.size)

    @property
    def n_slates(self) -> int:
        """Number of slates."""
        return int(self.slate[-1]) + 1

    def rank(self) -> Ints:
        """Return how many logged slots each slot has above it in its slate, shape ``(n_slots,)``."""
        starts = np.flatnonzero(np.diff(self.slate, prepend=-1))
        return np.arange(self.n_slots) - starts[self.slate]

    def per_slate(self, values: Floats) -> Floats:
        """Return the sum of the slots' values for each slate, shape ``(n_slates,)``."""
        return np.bincount(self.slate, weights=values, minlength=self.n_slates).astype(np.float64, copy=False)

    def only_position(self, position: int) -> SlateLog:
        """Return the log with rewards, and those of the model, at one position only; the weights stay what they are."""
        here = self.position == position
        q_logged, q_target = self.q_logged, self.q_target
        return replace(
            self,
            reward=np.where(here, self.reward, 0.0),
            q_logged=None if q_logged is None else np.where(here, q_logged, 0.0),
            q_target=None if q_target is None else np.where(here, q_target, 0.0),
        )

    def only(self, rows: NDArray[np.bool_]) -> SlateLog:
        """Return the log of some whole slates.

        Parameters
        ----------
        rows
            Which entries to keep, shape ``(n_slots,)``, the same for all entries of a slate, and at least one.
        """
        q_logged, q_target = self.q_logged, self.q_target
        part = slate_log(
            self.slate[rows],
            self.position[rows],
            self.propensity[rows],
            self.target_propensity[rows],
            self.reward[rows],
            q_logged=None if q_logged is None else q_logged[rows],
            q_target=None if q_target is None else q_target[rows],
            first_position=int(self.position.min()),
        )
        return replace(part, row=self.row[rows][part.row])


def slate_log(
    slate: ArrayLike,
    position: ArrayLike,
    propensity: ArrayLike,
    target_propensity: ArrayLike,
    reward: ArrayLike,
    *,
    q_logged: ArrayLike | None = None,
    q_target: ArrayLike | None = None,
    first_position: int | None = None,
) -> SlateLog:
    """Check a log of slates and sort it.

    Parameters
    ----------
    slate
        Which slate each slot belongs to, any whole numbers, shape ``(n_slots,)``. In any order.
    position, propensity, target_propensity, reward, q_logged, q_target
        As in :class:`SlateLog`, in the same order.
    first_position
        Position of the first slot of a slate; by default the smallest position of the log.

    Returns
    -------
    SlateLog
        The same entries, sorted by slate (in the order of their numbers) and position.

    Raises
    ------
    SlateLogError
        The arrays are empty or of different lengths, a number is outside its range, or a slot stands twice.
    """
    slates = np.asarray(slate, np.int64)
    positions = np.asarray(position, np.int64)
    columns = {
        "propensity": np.asarray(propensity, np.float64),
        "target_propensity": np.asarray(target_propensity, np.float64),
        "reward": np.asarray(reward, np.float64),
    }
    if (q_logged is None) != (q_target is None):
        message = "q_logged and q_target belong together: give both or neither"
        raise SlateLogError(message)
    if q_logged is not None and q_target is not None:
        columns["q_logged"] = np.asarray(q_logged, np.float64)
        columns["q_target"] = np.asarray(q_target, np.float64)
    _check_shapes({"slate": slates, "position": positions, **columns})
    _check_ranges(positions, columns)
    order = np.lexsort((positions, slates))
    slates, positions = slates[order], positions[order]
    same = np.diff(slates, prepend=slates[0] - 1) == 0
    step = np.diff(positions, prepend=positions[0])
    if np.any(twice := same & (step == 0)):
        at = int(np.flatnonzero(twice)[0])
        message = f"position {positions[at]} stands twice in one slate; log each slot once"
        raise SlateLogError(message, int(max(order[at], order[at - 1])))
    first = int(positions.min()) if first_position is None else first_position
    gaps = np.flatnonzero(np.where(same, step != 1, positions != first))
    sorted_columns = {name: column[order] for name, column in columns.items()}
    return SlateLog(
        slate=np.cumsum(~same) - 1,
        position=positions,
        propensity=sorted_columns["propensity"],
        target_propensity=sorted_columns["target_propensity"],
        reward=sorted_columns["reward"],
        q_logged=sorted_columns.get("q_logged"),
        q_target=sorted_columns.get("q_target"),
        row=order,
        first_gap=int(gaps[0]) if gaps.size else None,
    )


def _check_shapes(columns: dict[str, Floats | Ints]) -> None:
    sizes = {name: column.shape for name, column in columns.items()}
    n = columns["slate"].size
    if n == 0:
        message = "the log is empty: at least one slot is needed"
        raise SlateLogError(message)
    if any(shape != (n,) for shape in sizes.values()):
        message = f"all columns must be of one length, got shapes {sizes}"
        raise SlateLogError(message)


def _check_ranges(positions: Ints, columns: dict[str, Floats]) -> None:
    wrong = np.flatnonzero(positions < 0)
    if wrong.size:
        message = f"position must be 0 or more, got {positions[wrong[0]]}"
        raise SlateLogError(message, int(wrong[0]))
    p, target = columns["propensity"], columns["target_propensity"]
    _refuse(
        ~((p > 0.0) & (p <= 1.0)),
        p,
        "propensity must be in (0, 1]",
        "log the probability with which the slot was filled; leave out slots that were not drawn",
    )
    _refuse(
        ~((target >= 0.0) & (target <= 1.0)),
        target,
        "target_propensity must be in [0, 1]",
        "give the probability with which the target policy fills the slot so, given the slots above it",
    )
    for name in ("reward", "q_logged", "q_target"):
        if name in columns:
            _refuse(
                ~(np.abs(columns[name]) <= LARGEST), columns[name], f"{name} must be a finite number", "correct the log"
            )


def _refuse(wrong: NDArray[np.bool_], column: Floats, wanted: str, remedy: str) -> None:
    if np.any(wrong):
        row = int(np.flatnonzero(wrong)[0])
        message = f"{wanted}, got {column[row]:g}; {remedy}"
        raise SlateLogError(message, row)
