"""Sums from which follows what "always this arm" would earn per slate, for every arm, from all slates of the bandit.

A slate is one choice: of the arm that filled it, with a known probability ``p``. For the policy "always ``a``" it
weighs ``w = 1 / p`` if ``a`` filled it, else 0. With the reward ``r`` and a model's expectation ``q`` of what ``a``
earns in the slate's context, the estimators of :mod:`operators.ope` are functions of sums over slates of
``w**i * r**j`` and of the powers of the doubly robust value ``v = q + w * (r - q)``: up to the third, which the
skewness of the interval needs. A slate counts as one that earns nothing when it is made; when its reward goes from
``a`` to ``b`` the sums grow by what that changes.

All sums are plain: no weight fades. A slate counts only for arms that might have filled it, whose share was above 0. So
the sums of an arm that is new begin with the slates that knew of it, and its estimate is right from the start.

:mod:`operators.ope.standing` makes estimates of the sums, :mod:`operators.exposure` keeps them.
"""

from typing import NamedTuple

import numpy as np

from state.kernel import inner_kernel, kernel

SLATES, W, WR, WW, WWR, WWRR, WWW, WWWR, WWWRR, WWWRRR, V, VV, VVV = range(13)
"""Places of the sums: number of slates; sums of ``w**i * r**j``; sums of powers of the doubly robust value."""
N_STANDING = 13


class StandingSums(NamedTuple):
    """Sums per arm.

    Attributes
    ----------
    since
        Offset plus 1 of the first slate that is counted, shape ``(n_arms,)``, uint64; 0 before there is one. What
        slates from before it earn is not counted: they are not in the sums.
    final
        Of slates that can earn nothing more, shape ``(n_arms, N_STANDING)``, float64.
    open
        Of those of the periods that are not final, shape ``(n_open, n_arms, N_STANDING)``, float64.
    """

    since: np.ndarray
    final: np.ndarray
    open: np.ndarray


class Offers(NamedTuple):
    """What was known when slates were made; arrays of shape ``(n_cells, n_arms)``, float64.

    Attributes
    ----------
    shares
        Probability of each arm in each context cell.
    model
        Expected reward of a slate of each arm in each cell, from earlier slates alone; zeros where nothing is known.
    """

    shares: np.ndarray
    model: np.ndarray


def new_standing(n_arms: int, n_open: int) -> StandingSums:
    """Return sums of nothing."""
    return StandingSums(
        np.zeros(n_arms, np.uint64), np.zeros((n_arms, N_STANDING)), np.zeros((n_open, n_arms, N_STANDING))
    )


@inner_kernel
def _move(sums: np.ndarray, before: float, after: float) -> None:
    sums[V] += after - before
    sums[VV] += after**2 - before**2
    sums[VVV] += after**3 - before**3


@kernel(allocates=True)
def begin_standing(standing: StandingSums, offsets: np.ndarray) -> None:
    """Let arms without slates begin with the slates of these offsets, shape ``(n,)``, uint64, which are about to come.

    All slates from before have smaller offsets, so those that are counted are told from the others by theirs.
    """
    if offsets.shape[0] == 0:
        return
    first = offsets.min() + np.uint64(1)
    for arm in range(standing.since.shape[0]):
        if standing.since[arm] == np.uint64(0):
            standing.since[arm] = first


@kernel
def add_slate(sums: np.ndarray, arm: int, propensity: float, shares: np.ndarray, model: np.ndarray) -> None:
    """Count a slate that has earned nothing yet for all arms that might have filled it.

    Parameters
    ----------
    sums
        Of the slate's period, shape ``(n_arms, N_STANDING)``; overwritten.
    arm, propensity
        Which arm filled it, and with what probability it was chosen.
    shares, model
        Of all arms in the slate's cell, shape ``(n_arms,)``; see :class:`Offers`.
    """
    for k in range(sums.shape[0]):
        if shares[k] <= 0.0:
            continue
        sums[k, SLATES] += 1.0
        _move(sums[k], 0.0, model[k])
    if shares[arm] > 0.0 and propensity > 0.0:
        weight = 1.0 / propensity
        sums[arm, W] += weight
        sums[arm, WW] += weight**2
        sums[arm, WWW] += weight**3
        _move(sums[arm], model[arm], model[arm] - weight * model[arm])


@kernel
def add_reward(sums: np.ndarray, weight: float, model: float, before: float, after: float) -> None:
    """Count that the reward of a slate has changed.

    Parameters
    ----------
    sums
        Of the arm that filled it, in its period, shape ``(N_STANDING,)``; overwritten.
    weight
        One over the probability of that arm.
    model
        What the model expected of it.
    before, after
        Its reward.
    """
    sums[WR] += weight * (after - before)
    sums[WWR] += weight**2 * (after - before)
    sums[WWRR] += weight**2 * (after**2 - before**2)
    sums[WWWR] += weight**3 * (after - before)
    sums[WWWRR] += weight**3 * (after**2 - before**2)
    sums[WWWRRR] += weight**3 * (after**3 - before**3)
    _move(sums, model + weight * (before - model), model + weight * (after - model))
