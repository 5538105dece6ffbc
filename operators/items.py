"""What the single writer of an entity does with summed updates: counts, decay, Adagrad steps, co-occurrence tables."""

import math

import numpy as np

from operators.numeric import decay
from operators.params import MAX_NEIGHBOURS, POPULARITY_DAYS
from state.arrays import Floats, Int32s, Row, Rows, UInt64s
from state.kernel import inner_kernel, kernel
from state.layout import ENTITY_NEIGHBOURS, N_FACTORS, N_POPULARITIES, N_SLOTS
from state.slab import pop_free

MOST_COUNTED = 2**31 - 1
"""Events of an entity: who has more goes on from half of them, which keeps every ratio of its counts."""


@inner_kernel
def add_counts(row: Row, counts: Row, as_of_s: int, rate: float) -> None:
    """Add counts, decayed popularities and bias gradients to an entity row.

    Parameters
    ----------
    counts
        A record with the fields of :data:`state.updates.COUNTS`; popularities are as of ``as_of_s``.
    rate
        Learning rate of the biases.
    """
    if max(np.int64(row.n) + counts.n, np.int64(row.n_events) + counts.n_events) > MOST_COUNTED:
        row.n //= 2
        row.n_repeat //= 2
        row.n_events //= 2
        row.log_gaps *= 0.5
    row.n += counts.n
    row.n_repeat += counts.n_repeat
    row.n_events += counts.n_events
    row.cooc_count += counts.cooc_count
    row.log_gaps += counts.log_gaps
    for p in range(N_POPULARITIES):
        if as_of_s >= row.t_s:
            kept = decay(float(as_of_s) - float(row.t_s), POPULARITY_DAYS[p])
            row.popularity[p] = row.popularity[p] * kept + counts.popularity[p]
        else:
            late = decay(float(row.t_s) - float(as_of_s), POPULARITY_DAYS[p])
            row.popularity[p] += counts.popularity[p] * late
    row.t_s = max(row.t_s, np.uint32(as_of_s))
    if counts.bias_sq > 0.0:
        row.bias_g += counts.bias_sq
        row.bias -= rate * counts.bias / math.sqrt(row.bias_g)
    if counts.blend_bias_sq > 0.0:
        row.blend_bias_g += counts.blend_bias_sq
        row.blend_bias -= rate * counts.blend_bias / math.sqrt(row.blend_bias_g)


@inner_kernel
def adagrad_step(factors: Floats, sum_sq: float, gradient: Floats, square: float, rate: float) -> float:
    """Make one row-wise Adagrad step: ``G += Σ mean(g²)``, ``E -= rate · Σ g / sqrt(G)``.

    Parameters
    ----------
    factors, sum_sq
        ``E`` of the row, changed in place, shape ``(n_factors,)``, and ``G``.
    gradient, square
        Summed gradients, shape ``(n_factors,)``, and the sum of the events' mean squares. Where that is not finite the
        row is left as it is.

    Returns
    -------
    float
        The row's ``G`` from now on.
    """
    if not math.isfinite(square) or square <= 0.0:
        return sum_sq
    sum_sq += square
    step = rate / math.sqrt(sum_sq)
    for f in range(N_FACTORS):
        factors[f] -= step * gradient[f]
    return sum_sq


@kernel
def apply_counts(headers: Rows, rows: Int32s, counts: Rows, as_of_s: int, rate: float) -> None:
    """Add counts, decayed popularities and bias gradients to entity rows.

    Parameters
    ----------
    headers, rows
        The table's headers and the row of each update, shape ``(n,)``.
    counts
        Shape ``(n,)``, dtype :data:`state.updates.COUNTS`; popularities are as of ``as_of_s``.
    rate
        Learning rate of the biases.
    """
    for k in range(rows.shape[0]):
        row = headers[rows[k]]
        row.kind = counts[k].kind
        add_counts(row, counts[k], as_of_s, rate)


@kernel
def apply_targets(headers: Rows, rows: Int32s, gradients: Floats, squares: Floats, rate: float) -> None:
    """Make a step of the target factors of each row; see :func:`adagrad_step`.

    Parameters
    ----------
    gradients, squares
        Shapes ``(n, n_factors)`` and ``(n,)``.
    """
    for k in range(rows.shape[0]):
        row = headers[rows[k]]
        row.target_g = adagrad_step(row.target, row.target_g, gradients[k], squares[k], rate)


@kernel
def apply_contexts(headers: Rows, rows: Int32s, gradients: Floats, squares: Floats, rate: float) -> None:
    """Make a step of the context factors of each row; see :func:`apply_targets`."""
    for k in range(rows.shape[0]):
        row = headers[rows[k]]
        row.context_g = adagrad_step(row.context, row.context_g, gradients[k], squares[k], rate)


@kernel
def apply_pairs(
    headers: Rows, pages: Rows, free: Int32s, n_free: Int32s, rows: Int32s, others: UInt64s, weights: Floats
) -> None:
    """Add co-occurrence weights to the tables of entity rows.

    A full table gives the place of its smallest weight to a new neighbour that weighs at least as much: weights are
    forward-decayed, so an old pair loses to a new one without being rewritten.

    Parameters
    ----------
    rows, others, weights
        The row, the other entity's id and the forward-decayed weight of each pair, shape ``(n,)``.
    """
    for k in range(rows.shape[0]):
        header = headers[rows[k]]
        at = header.heads[ENTITY_NEIGHBOURS]
        last = 0
        left = int(header.n_neighbours)
        least_page, least_k, least = 0, 0, np.inf
        done = False
        while at > 0 and not done:
            page = pages[at]
            for j in range(min(N_SLOTS, left)):
                if page.ids[j] == others[k]:
                    page.weights[j] += weights[k]
                    page.dirty = 1
                    done = True
                    break
                if page.weights[j] < least:
                    least_page, least_k, least = at, j, page.weights[j]
            left -= N_SLOTS
            last = at
            at = page.next
        if done:
            continue
        if header.n_neighbours < MAX_NEIGHBOURS:
            if header.n_neighbours % N_SLOTS == 0 and header.n_neighbours // N_SLOTS >= header.n_pages[0]:
                fresh = pop_free(free, n_free)
                if last == 0:
                    header.heads[ENTITY_NEIGHBOURS] = fresh
                else:
                    pages[last].next = fresh
                header.n_pages[0] += 1
                last = fresh
            least_page, least_k = last, header.n_neighbours % N_SLOTS
            header.n_neighbours += 1
        elif weights[k] < least:
            continue
        page = pages[least_page]
        page.ids[least_k] = others[k]
        page.weights[least_k] = weights[k]
        page.dirty = 1
