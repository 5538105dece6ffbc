"""From the statistics of all partitions to the policy: sums at one time, posteriors, shares, and tables per group."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from operators.exposure import N_MOMENTS, N_TOTALS
from operators.policy_context import GROUPS, N_CELLS
from operators.policy_posterior import GuardParams, Posterior, fit, make_shares, worse_probabilities
from operators.standing import N_STANDING

_DAY_S = 86_400.0


class Observed(NamedTuple):
    """What one partition has observed, for the arms that are asked for.

    Attributes
    ----------
    as_of_s
        Time of the newest slate, which weighs 1 in ``cells``; 0 before the first.
    cells
        Shape ``(n_arms, N_CELLS, 3)``, float64.
    final, pending
        Totals of the slates that can earn nothing more, and of those that may, shape ``(n_groups, n_arms, 4)``.
    standing
        Sums of :mod:`operators.standing` of the slates that can earn nothing more, shape ``(n_arms, N_STANDING)``.
    """

    as_of_s: int
    cells: np.ndarray
    final: np.ndarray
    pending: np.ndarray
    standing: np.ndarray


class Learned(NamedTuple):
    """The policy that follows from what all partitions observed; arrays as :class:`Observed` and the posterior have."""

    as_of_s: int
    cells: np.ndarray
    final: np.ndarray
    pending: np.ndarray
    standing: np.ndarray
    posterior: Posterior
    shares: np.ndarray
    held: np.ndarray
    worse: np.ndarray


def fade(cells: np.ndarray, as_of_s: int, t_s: int, half_life_days: float) -> np.ndarray:
    """Return weighted sums as of ``t_s`` that are as of ``as_of_s``, both in seconds."""
    return cells * 2.0 ** ((as_of_s - t_s) / (half_life_days * _DAY_S))


def add_up(partitions: Sequence[Observed], n_arms: int, half_life_days: float) -> Observed:
    """Return the sum of all partitions, as of the newest slate of all; the order does not matter.

    Parameters
    ----------
    half_life_days
        By which a partition's sums fade from its newest slate on.
    """
    as_of_s = max((p.as_of_s for p in partitions), default=0)
    cells = np.zeros((n_arms, N_CELLS, N_MOMENTS))
    final = np.zeros((len(GROUPS), n_arms, N_TOTALS))
    pending = np.zeros_like(final)
    standing = np.zeros((n_arms, N_STANDING))
    for p in sorted(partitions, key=lambda p: (p.as_of_s, *(array.tobytes() for array in p[1:]))):
        if p.as_of_s > 0:
            cells += fade(p.cells, p.as_of_s, as_of_s, half_life_days)
        final += p.final
        pending += p.pending
        standing += p.standing
    return Observed(as_of_s, cells, final, pending, standing)


def learn_policy(partitions: Sequence[Observed], n_arms: int, half_life_days: float, guard: GuardParams) -> Learned:
    """Return posteriors and shares from the newest statistics of every partition."""
    total = add_up(partitions, n_arms, half_life_days)
    posterior = fit(total.cells)
    shares, held = make_shares(posterior, guard)
    return Learned(*total, posterior, shares, held, worse_probabilities(posterior))


def mean_and_variance(totals: np.ndarray) -> tuple[int, float, float]:
    """Return number, mean and variance of one row of totals; zeros for none."""
    n, s, q = (float(x) for x in totals[:3])
    if n <= 0:
        return 0, 0.0, 0.0
    mean = s / n
    return round(n), mean, max(q / n - mean * mean, 0.0)


def arrays_of(names: Sequence[str], by_arm: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return arrays by arm stacked in the order of ``names``, zeros of ``shape`` for a name that is not there."""
    return np.array([by_arm.get(name, np.zeros(shape)) for name in names])
