"""Chi-square of counts against what was expected, as a number of standard deviations."""

import numpy as np


def chi_square_z(counts: np.ndarray, expected: np.ndarray) -> float:
    """Return how many deviations chi-square lies above its mean (Wilson and Hilferty's cube root).

    What is expected fewer than five times is taken together.
    """
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    degrees = observed.size - 1
    chi_square = float(((observed - wanted) ** 2 / wanted).sum())
    spread = 2 / (9 * degrees)
    return float(((chi_square / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))
