"""In which context a slate is made, in 24 cells, and which arm fills it: a draw from the shares of that cell."""

import numpy as np

from operators.numeric import splitmix, uniform
from state.arrays import Int32s, Rows, UInt8s, UInt64s
from state.kernel import kernel

ACTIVITIES = ("new", "known", "regular")
"""Users with fewer than 10 events, fewer than 100, and more."""
HABITS = ("explorer", "repeater")
"""Users whose repeat rate is below .3, or not."""
HOURS = ("night", "morning", "afternoon", "evening")
"""Quarters of the day, UTC."""
CELLS = tuple(f"{a}/{h}/{d}" for a in ACTIVITIES for h in HABITS for d in HOURS)
N_CELLS = len(CELLS)
LEARNED, HOLDOUT = 0, 1
GROUPS = ("learned", "holdout")
"""Users whose arms follow what was learned, and those on a fixed arm for comparison."""

_KNOWN_EVENTS = 10
_REGULAR_EVENTS = 100
_REPEATER_RATE = 0.3
_QUARTER_S = 21_600


def cell_features() -> np.ndarray:
    """Return the design matrix of the cells, shape ``(24, 7)``: 1, and one column per level but the first of each."""
    rows = [
        [1, a == 1, a == 2, h == 1, d == 1, d == 2, d == 3]  # noqa: PLR2004 - levels
        for a in range(len(ACTIVITIES))
        for h in range(len(HABITS))
        for d in range(len(HOURS))
    ]
    return np.array(rows, np.float64)


@kernel(allocates=True)
def contexts(headers: Rows, rows: Int32s) -> UInt8s:
    """Return the cell of each user's next slate, shape ``(n,)``, from the user's header as it is."""
    out = np.empty(rows.shape[0], np.uint8)
    for k in range(rows.shape[0]):
        header = headers[rows[k]]
        activity = (1 if header.n_events >= _KNOWN_EVENTS else 0) + (1 if header.n_events >= _REGULAR_EVENTS else 0)
        habit = 1 if header.n_repeat_decayed >= _REPEATER_RATE * (header.n_decayed + 2.0) else 0
        quarter = int(header.last_s) // _QUARTER_S % 4
        out[k] = (activity * 2 + habit) * 4 + quarter
    return out


@kernel
def is_held_out(user: np.uint64, salt: np.uint64, share: float) -> bool:
    """Tell whether a user belongs to the share of users on a fixed arm: always the same ones for the same salt."""
    return uniform(splitmix(np.uint64(user) ^ splitmix(np.uint64(salt)))) < share


@kernel
def assign(
    keys: UInt64s,
    users: UInt64s,
    cells: UInt8s,
    version: int,
    shares: np.ndarray,
    salt: np.uint64,
    holdout_share: float,
    holdout_arm: int,
    arms: Int32s,
    groups: UInt8s,
    propensities: np.ndarray,
) -> None:
    """Give each slate its arm: a function of its key (seed, user, offset), of the policy's version and its shares.

    Parameters
    ----------
    keys, users, cells
        Of :func:`operators.draw.draw_keys`; ids; of :func:`contexts`. Shape ``(n,)``.
    shares
        Probability of each arm in each cell, shape ``(N_CELLS, n_arms)``, float64, rows sum to 1.
    arms, groups, propensities
        Overwritten, shape ``(n,)``: arm number, number in :data:`GROUPS`, and the exact probability of that arm.
    """
    mark = splitmix(np.uint64(version) ^ np.uint64(0x6A09E667F3BCC908))
    for k in range(keys.shape[0]):
        if is_held_out(users[k], salt, holdout_share):
            arms[k], groups[k], propensities[k] = holdout_arm, HOLDOUT, 1.0
            continue
        row = shares[cells[k]]
        x = uniform(keys[k] ^ mark)
        arm = row.shape[0] - 1
        while arm > 0 and row[arm] <= 0.0:
            arm -= 1
        for a in range(arm):
            x -= row[a]
            if x < 0.0:
                arm = a
                break
        arms[k], groups[k], propensities[k] = arm, LEARNED, row[arm]
