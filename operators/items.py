"""What the single writer of an entity does with summed updates: counts, decay, Adagrad steps, co-occurrence tables."""

import math

import numpy as np

from operators.numeric import decay
from operators.params import MAX_NEIGHBOURS, POPULARITY_DAYS
from state.arrays import Floats, Int32s, Rows, UInt64s
from state.kernel import kernel
from state.layout import ENTITY_NEIGHBOURS, N_FACTORS, N_POPULARITIES, N_SLOTS
from state.slab import pop_free


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
        c = counts[k]
        row.kind = c.kind
        row.n += c.n
        row.n_repeat += c.n_repeat
        row.n_events += c.n_events
        row.cooc_count += c.cooc_count
        row.log_gaps += c.log_gaps
        for p in range(N_POPULARITIES):
            if as_of_s >= row.t_s:
                kept = decay(float(as_of_s) - float(row.t_s), POPULARITY_DAYS[p])
                row.popularity[p] = row.popularity[p] * kept + c.popularity[p]
            else:
                late = decay(float(row.t_s) - float(as_of_s), POPULARITY_DAYS[p])
                row.popularity[p] += c.popularity[p] * late
        row.t_s = max(row.t_s, np.uint32(as_of_s))
        if c.bias_sq > 0.0:
            row.bias_g += c.bias_sq
            row.bias -= rate * c.bias / math.sqrt(row.bias_g)
        if c.blend_bias_sq > 0.0:
            row.blend_bias_g += c.blend_bias_sq
            row.blend_bias -= rate * c.blend_bias / math.sqrt(row.blend_bias_g)


@kernel
def apply_targets(headers: Rows, rows: Int32s, gradients: Floats, squares: Floats, rate: float) -> None:
    """Make one row-wise Adagrad step of the target factors: ``G += Σ mean(g²)``, ``E -= rate · Σ g / sqrt(G)``.

    Parameters
    ----------
    gradients, squares
        Summed gradients, shape ``(n, n_factors)``, and sums of the events' mean squares, shape ``(n,)``. A row whose
        gradient is not finite is left as it is.
    """
    for k in range(rows.shape[0]):
        row = headers[rows[k]]
        if not math.isfinite(squares[k]) or squares[k] <= 0.0:
            continue
        row.target_g += squares[k]
        step = rate / math.sqrt(row.target_g)
        for f in range(N_FACTORS):
            row.target[f] -= step * gradients[k, f]


@kernel
def apply_contexts(headers: Rows, rows: Int32s, gradients: Floats, squares: Floats, rate: float) -> None:
    """Make one row-wise Adagrad step of the context factors; see :func:`apply_targets`."""
    for k in range(rows.shape[0]):
        row = headers[rows[k]]
        if not math.isfinite(squares[k]) or squares[k] <= 0.0:
            continue
        row.context_g += squares[k]
        step = rate / math.sqrt(row.context_g)
        for f in range(N_FACTORS):
            row.context[f] -= step * gradients[k, f]


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
