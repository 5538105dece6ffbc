"""Linear models over features and their squares, column by column: what the blend and its correction have in common."""

import numpy as np

from operators.arrays import N_COLUMNS
from state.arrays import Floats
from state.kernel import inner_kernel


@inner_kernel(fastmath={"reassoc", "contract"})
def weigh(plain: Floats, square: Floats, x: Floats) -> float:
    """Return the logit of features ``x``; all shapes ``(N_COLUMNS,)``."""
    total = np.float32(0.0)
    for k in range(N_COLUMNS):
        total += plain[k] * x[k] + square[k] * (x[k] * x[k])
    return float(total)


@inner_kernel
def add_features(plain: Floats, square: Floats, x: Floats, g: float) -> None:
    """Add ``g`` times features ``x``, and times their squares, to gradients; all shapes ``(N_COLUMNS,)``."""
    factor = np.float32(g)
    for k in range(N_COLUMNS):
        plain[k] += factor * x[k]
        square[k] += factor * (x[k] * x[k])
