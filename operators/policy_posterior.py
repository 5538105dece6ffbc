"""What the observed rewards say of the arms: posteriors, the probability to be the best, shares with guardrails.

The reward of a slate of arm ``a`` in cell ``c`` is modelled as ``x_c @ theta_a`` plus noise of one variance for all,
with the features of :func:`operators.policy_context.cell_features` and the conjugate prior

    theta_a ~ N(m, noise / PRIOR_SLATES * I),    m = (mean reward over all arms, 0, ..., 0)

Sums per cell are sufficient: with ``n_c`` weighted slates of summed reward ``s_c``, the posterior is normal with
precision ``L = PRIOR_SLATES * I + sum n_c x_c x_c'`` (over noise) and mean
``L^-1 (PRIOR_SLATES * m + sum s_c x_c)``. The noise is the mean square around the cells' means, for as many slates as
there are besides one of each cell, which its mean has been fitted to. :data:`PRIOR_SLATES` slates stand beside them,
as far from the mean of all as slates are, and it is held above :data:`SMALLEST_NOISE`.

Thompson sampling draws each arm's value from its posterior and takes the largest. Here the probability that an arm is
that one is computed instead, by integration, and arms are drawn from these shares: the same policy, but the probability
of every assignment is known exactly.

References
----------
.. [1] Thompson (1933), Biometrika 25(3/4), "On the likelihood that one unknown probability exceeds another".
.. [2] Agrawal, Goyal (2013), ICML, "Thompson sampling for contextual bandits with linear payoffs".
"""

import math
from typing import NamedTuple

import numpy as np

from operators.policy_context import N_CELLS, cell_features
from state.kernel import kernel

PRIOR_SLATES = 10.0
SMALLEST_NOISE = 1e-4
Z95 = 1.959964
"""Half a 95 % interval of a normal, in deviations."""
N_POINTS = 801
"""Points of the integral over an arm's posterior, from 7 deviations below its mean to 7 above."""


class GuardParams(NamedTuple):
    """What keeps the bandit from doing harm.

    Attributes
    ----------
    min_share
        Share of each arm in each cell, at the least.
    baseline_share
        Share of the first arm, at the least.
    fall_back_at
        An arm that is worse than the first one with at least this probability is held at ``min_share``.
    unrewarded_share
        Share of the first arm, at the least, as long as no arm has earned anything: where nobody reacts to slates,
        showing other ones teaches nothing and only costs.
    """

    min_share: float = 0.02
    baseline_share: float = 0.1
    fall_back_at: float = 0.99
    unrewarded_share: float = 0.5


class Posterior(NamedTuple):
    """Normal posteriors of the mean reward of a slate.

    Attributes
    ----------
    mean, deviation
        Per arm and cell, shape ``(n_arms, N_CELLS)``, float64.
    overall, overall_deviation
        Per arm over the cells as they occur, shape ``(n_arms,)``.
    noise
        Variance of one slate's reward around its cell's mean.
    is_rewarded
        Whether any slate has earned, or lost, anything.
    """

    mean: np.ndarray
    deviation: np.ndarray
    overall: np.ndarray
    overall_deviation: np.ndarray
    noise: float
    is_rewarded: bool


def fit(cells: np.ndarray) -> Posterior:
    """Return the posterior of all arms.

    Parameters
    ----------
    cells
        Weighted numbers, sums and sums of squares, shape ``(n_arms, N_CELLS, 3)``, float64. No slate may weigh more
        than 1: weights are taken for slates.

    Raises
    ------
    ValueError
        A sum is not finite, or a number is below 0.
    """
    n, s, q = cells[..., 0], cells[..., 1], cells[..., 2]
    if not np.isfinite(cells).all() or (n < 0).any():
        msg = "policy sums: all must be finite and the numbers of slates at least 0"
        raise ValueError(msg)
    total = float(n.sum())
    within = q - np.divide(s * s, n, out=np.zeros_like(s), where=n > 0)
    noise = 1.0
    if total > 0:
        spread = max(float(q.sum()) - float(s.sum()) ** 2 / total, 0.0) / total
        besides = total - float(np.minimum(n, 1.0).sum())
        noise = max((float(within.sum()) + PRIOR_SLATES * spread) / (besides + PRIOR_SLATES), SMALLEST_NOISE)
    x = cell_features()
    prior = np.zeros(x.shape[1])
    prior[0] = float(s.sum()) / total if total > 0 else 0.0
    mix = n.sum(axis=0) / total if total > 0 else np.full(N_CELLS, 1.0 / N_CELLS)
    middle = mix @ x
    mean, deviation = np.empty_like(n), np.empty_like(n)
    overall, overall_deviation = np.empty(n.shape[0]), np.empty(n.shape[0])
    for arm in range(n.shape[0]):
        precision = PRIOR_SLATES * np.eye(x.shape[1]) + (x.T * n[arm]) @ x
        covariance = noise * np.linalg.inv(precision)
        theta = np.linalg.solve(precision, PRIOR_SLATES * prior + x.T @ s[arm])
        mean[arm] = x @ theta
        deviation[arm] = np.sqrt(np.einsum("cf,fg,cg->c", x, covariance, x))
        overall[arm] = middle @ theta
        overall_deviation[arm] = math.sqrt(float(middle @ covariance @ middle))
    return Posterior(mean, deviation, overall, overall_deviation, noise, bool(q.any()))


@kernel
def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@kernel(allocates=True)
def best_probabilities(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the probability of each arm to have the largest value, shape ``(n_arms,)``, summing to 1.

    Parameters
    ----------
    mean, deviation
        Of independent normals, shape ``(n_arms,)``, deviations above 0.
    """
    n = mean.shape[0]
    out = np.zeros(n)
    for a in range(n):
        for k in range(N_POINTS):
            z = -7.0 + 14.0 * k / (N_POINTS - 1)
            density = math.exp(-0.5 * z * z)
            for b in range(n):
                if b != a:
                    density *= _normal_cdf((mean[a] + z * deviation[a] - mean[b]) / deviation[b])
            out[a] += density
    return out / out.sum()


def worse_probabilities(posterior: Posterior) -> np.ndarray:
    """Return the probability that each arm's overall mean is below the first one's, shape ``(n_arms,)``; 0 for it."""
    gap = posterior.overall[0] - posterior.overall
    spread = np.hypot(posterior.overall_deviation, posterior.overall_deviation[0])
    out = np.array([_normal_cdf(g / d) for g, d in zip(gap, spread, strict=True)])
    out[0] = 0.0
    return out


def make_shares(posterior: Posterior, guard: GuardParams) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each arm in each cell, and which arms are held back.

    Returns
    -------
    shares
        Shape ``(N_CELLS, n_arms)``, float64; rows sum to 1, no share is below ``min_share``, the first arm's not below
        ``baseline_share``, nor below ``unrewarded_share`` before the first reward.
    held
        Shape ``(n_arms,)``, bool. What a held arm would get goes to the first one.
    """
    n_arms = posterior.mean.shape[0]
    held = worse_probabilities(posterior) >= guard.fall_back_at
    floors = np.full(n_arms, guard.min_share)
    floors[0] = max(guard.min_share, guard.baseline_share)
    floors /= max(float(floors.sum()), 1.0)
    if not posterior.is_rewarded:
        floors[0] = max(floors[0], min(guard.unrewarded_share, 1.0 - float(floors[1:].sum())))
    shares = np.empty((N_CELLS, n_arms))
    for cell in range(N_CELLS):
        best = best_probabilities(posterior.mean[:, cell].copy(), posterior.deviation[:, cell].copy())
        best[0] += best[held].sum()
        best[held] = 0.0
        shares[cell] = floors + (1.0 - floors.sum()) * best
    return shares, held
