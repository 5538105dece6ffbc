"""The list of candidates that recall fills for one user, each item once."""

from operators.arrays import MAX_CANDIDATES, Work
from state.kernel import inner_kernel


@inner_kernel
def add_candidate(work: Work, n: int, row: int) -> int:
    """Add an item row to the ``n`` candidates unless it is one, or marked, or there is no room; return how many."""
    if work.position[row] != -1 or n >= MAX_CANDIDATES:
        return n
    work.position[row] = n
    c = work.candidates[n]
    c.row = row
    c.had = 0
    c.page = 0
    c.slot = 0
    c.cooc = 0.0
    c.cooc_cosine = 0.0
    c.cooc_latest = 0.0
    c.slow = 0.0
    c.source = 0
    c.source_weight = 0.0
    c.score = 0.0
    return n + 1
