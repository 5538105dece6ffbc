r"""The optimiser of the small linear models: online Newton steps with a full matrix and forgetting.

The models (blend, category model, discoveries, reactions) have few weights and strongly correlated features. A full
matrix needs no learning rate and no scaling of features; on a stored stream of Complete Journey it was as good as
Adagrad, not better (``docs/quality.md``). Per learned event the gradient :math:`g` is added to a pending sum and
:math:`s s^T` to a matrix :math:`A`. There :math:`s` is the gradient that an outcome drawn from the model itself would
have had: in the mean :math:`s s^T` is the Fisher information, which is the curvature. Every :math:`n` events

.. math:: w \leftarrow w - \min(1, c / (d \cdot \sum g)) \, d, \quad d = (A + \lambda I)^{-1} \sum g, \qquad
   A \leftarrow \gamma A.

The outer product of :math:`g` itself (the "empirical Fisher") is no curvature where the model is wrong, and ranked
worse. But it bounds what a surprise can do, which a drawn :math:`s` cannot; so the step is shortened where it promises
to take more than :math:`c` off the loss, :data:`LARGEST_GAIN` per :data:`EVERY` events. It is shortened as a whole: to
cut each weight's part by itself turned it away from where the loss falls, and made weights run away
(``docs/quality.md``).

With :math:`\gamma = 1` this is the efficient online estimator; :math:`\gamma < 1` forgets with a window of
:math:`1 / (1 - \gamma)` steps, or :math:`n` times as many events, so that the weights follow a drift. A step of a large
model takes long. Its :math:`n` is :data:`EVERY` at first, and :data:`EVERY_LATER` once it hardly moves.

References
----------
.. [1] Hazan, Agarwal, Kale (2007), Machine Learning 69, "Logarithmic regret algorithms for online convex optimization".
.. [2] Amari (1998), Neural Computation 10(2), "Natural gradient works efficiently in learning".
.. [3] Kunstner, Balles, Hennig (2019), NeurIPS 32, "Limitations of the empirical Fisher approximation for natural
   gradient descent".
"""

import math

import numpy as np

from state.arrays import Floats, Row
from state.kernel import inner_kernel, kernel

EVERY, EVERY_LATER = 16, 64
"""Learned events between two steps, of all models and of large ones that have learned for some time."""
PRIOR = 8.0
"""What stands on the diagonal besides the information, so that the first steps are small."""
LARGEST_GAIN = 4.0
"""No step promises to take more than this off the loss, in nats per :data:`EVERY` events."""
LONGEST_STEP = 1.0
"""No weight moves further in one step; a longer step is shortened as a whole."""


@inner_kernel(fastmath={"reassoc"})
def _cholesky_solve(a: np.ndarray, b: np.ndarray) -> bool:
    """Solve ``a x = b`` in place (``b`` becomes ``x``) for a symmetric positive definite ``a``; tell if it could be."""
    n = b.shape[0]
    for j in range(n):
        total = a[j, j]
        for k in range(j):
            total -= a[j, k] * a[j, k]
        if not total > 0.0 or not math.isfinite(total):
            return False
        pivot = math.sqrt(total)
        a[j, j] = pivot
        i = j + 1
        while i + 3 < n:  # four rows at a time read the pivot's row once
            t0, t1, t2, t3 = a[i, j], a[i + 1, j], a[i + 2, j], a[i + 3, j]
            for k in range(j):
                x = a[j, k]
                t0 -= a[i, k] * x
                t1 -= a[i + 1, k] * x
                t2 -= a[i + 2, k] * x
                t3 -= a[i + 3, k] * x
            a[i, j], a[i + 1, j], a[i + 2, j], a[i + 3, j] = t0 / pivot, t1 / pivot, t2 / pivot, t3 / pivot
            i += 4
        for rest in range(i, n):
            total = a[rest, j]
            for k in range(j):
                total -= a[rest, k] * a[j, k]
            a[rest, j] = total / pivot
    for i in range(n):
        total = b[i]
        for k in range(i):
            total -= a[i, k] * b[k]
        b[i] = total / a[i, i]
    for i in range(n - 1, -1, -1):
        total = b[i]
        for k in range(i + 1, n):
            total -= a[k, i] * b[k]
        b[i] = total / a[i, i]
    return True


@kernel(allocates=True)
def newton_learn(
    weights: Floats,
    gram: Floats,
    pending: Row,
    gradient: Floats,
    drawn: Floats,
    weight: float,
    memory: float,
    every: int,
) -> None:
    """Take up one event's gradient, and make a step when ``every`` of them are pending.

    Parameters
    ----------
    weights
        Shape ``(n,)``, float32; overwritten by a step.
    gram
        Lower triangle of the information matrix, row by row, shape ``(n (n + 1) / 2,)``, float32; overwritten.
    pending
        Shape ``(n + 1,)``, float32: the summed gradients since the last step, then their number; overwritten.
    gradient
        Of this event, already multiplied by its weight, shape ``(n,)``. The event is passed over if one is not finite.
    drawn
        The gradient if an outcome drawn from the model had come, multiplied by the event's weight, shape ``(n,)``.
    weight
        Importance of the event, above 0, dimensionless.
    memory
        Window of the forgetting, in learned events.
    every
        Learned events between two steps, at least :data:`EVERY`.
    """
    n = weights.shape[0]
    for i in range(n):
        if not math.isfinite(gradient[i] + drawn[i]):
            return
    scale = 1.0 / max(weight, 1e-3)
    for i in range(n):
        pending[i] += gradient[i]
        g = scale * drawn[i]
        if g != 0.0:
            at = i * (i + 1) // 2
            for j in range(i + 1):
                gram[at + j] += g * drawn[j]
    pending[n] += 1.0
    if pending[n] < every:
        return
    a = np.empty((n, n), np.float64)
    b, total = np.empty(n, np.float64), np.empty(n, np.float64)
    for i in range(n):
        at = i * (i + 1) // 2
        for j in range(i + 1):
            a[i, j] = gram[at + j]
        a[i, i] += PRIOR
        b[i] = total[i] = pending[i]
        pending[i] = 0.0
    pending[n] = 0.0
    kept = 1.0 - every / memory
    for k in range(gram.shape[0]):
        gram[k] *= kept
    if _cholesky_solve(a, b):
        promised, longest, gain = 0.0, LONGEST_STEP, LARGEST_GAIN * every / EVERY
        for i in range(n):
            longest = max(longest, abs(b[i]))
            promised += b[i] * total[i]
        part = min(gain / max(promised, gain), LONGEST_STEP / longest)
        for i in range(n):
            weights[i] -= part * b[i]
