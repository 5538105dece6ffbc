"""Serving lines of a user's candidates, made good before features are read from them."""

from operators.arrays import Entities, Work
from operators.serving import HOUR_S, fill_lines
from state.kernel import inner_kernel
from state.layout import ENTITY_HEADER
from state.prefetch import field_lines, prefetch

_AHEAD = 16
"""Candidates between the one that is worked on and the one whose serving line is asked for."""
_COUNT_LINES = field_lines(ENTITY_HEADER, "bias", "n_repeat")
"""Offsets of the cache lines of a header that a serving line is made of."""


@inner_kernel
def refresh_lines(entities: Entities, work: Work, n: int, now_s: int) -> None:
    """Fill the serving lines of the candidates whose header has changed, or whose hour is over."""
    serving, candidates, stale = entities.serving, work.candidates, work.stale
    headers = entities.headers
    hour = now_s // HOUR_S + 1
    m = 0
    for k in range(n):
        if k + _AHEAD < n:
            prefetch(serving, candidates[k + _AHEAD].row, 0)
        row = candidates[k].row
        if serving[row].hour != hour:
            for line in _COUNT_LINES:
                prefetch(headers, row, line)
            stale[m] = row
            m += 1
    fill_lines(serving, headers, stale, m, hour, work.logs)
