"""A line of blocks for terminals: how a number went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCKS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float], columns: int | None = None) -> str:
    """Draw values as blocks from 0 to the largest of those that are drawn.

    Parameters
    ----------
    columns
        Draw so many of the newest values, at most; None draws all.

    Examples
    --------
    >>> sparkline([0, 1, 2, 4])
    '▁▂▄█'
    >>> sparkline([9, 0, 0], 2)
    '▁▁'
    """
    shown = list(values)
    if columns is not None:
        shown = shown[-columns:] if columns > 0 else []
    top = max(shown, default=0.0)
    if top <= 0.0:
        return BLOCKS[0] * len(shown)
    last = len(BLOCKS) - 1
    return "".join(BLOCKS[min(last, int(max(0.0, value) / top * last))] for value in shown)
