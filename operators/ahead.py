"""What a worker has learned and not committed yet, in the rows of its own replica.

Under load a commit stands for many thousands of events. Until its pages come back from the item stage a replica would
know nothing of them; so a task adds the sums of each batch to the replica's rows at once, with the item stage's own
arithmetic. A page that has fewer events than such a row does not take its place
(:func:`operators.replica_rows.take_headers`): where all events are this worker's own it is older than the row is.
Where others have events of the item, too, their news wait until there are more of them than of this worker's that are
still on their way. What was learned without an event of the row itself (as a negative, or as context) goes with the
next page.

A task that fails drops what it has learned, and it is learned again. Whose row was ahead then holds some of it twice,
whatever is added meanwhile: the next page takes its place, whichever it is.
"""

import numpy as np

from operators.items import adagrad_step, add_counts
from state.arrays import Int32s, Rows
from state.kernel import kernel
from state.layout import KIND_CATEGORY, KIND_ITEM

AHEAD, DOUBTFUL = 1, 2
"""What a row's ``ahead`` says, if not 0: it has more than its last page had; it may have some of that twice."""


@kernel
def add_learned(
    headers: Rows, category_of_row: Int32s, records: Rows, as_of_s: int, rate: float, changes: np.ndarray,
    totals: np.ndarray,
) -> None:  # fmt: skip
    """Add a batch's sums to the rows of a replica.

    Parameters
    ----------
    headers, category_of_row
        Of all entities.
    records
        Of the batch's accumulators, those in use, shape ``(n,)``.
    as_of_s
        Time of the decayed sums, in seconds since 2000.
    rate
        Learning rate of factors and biases.
    changes
        Gets how many events each row has more than before, shape ``(n,)``, float64.
    totals
        Events of all items, and items that have any; added to.
    """
    for k in range(records.shape[0]):
        record = records[k]
        row = headers[record.row]
        before = row.n
        row.kind = KIND_CATEGORY if category_of_row[record.row] >= 0 else KIND_ITEM
        row.ahead = max(row.ahead, AHEAD)
        add_counts(row, record, as_of_s, rate)
        row.target_g = adagrad_step(row.target, row.target_g, record.target, record.target_sq, rate)
        row.context_g = adagrad_step(row.context, row.context_g, record.context, record.context_sq, rate)
        changes[k] = float(record.n)
        if row.kind == KIND_ITEM:
            totals[0] += changes[k]
            totals[1] += before == 0 and record.n > 0
