"""What an item's popularities say to people: what is left of them by now, and where demand goes."""

import math
from collections.abc import Iterable

from operators.numeric import DAY_S
from operators.params import N_OVERALL, P_LONG, P_SHORT, POPULARITY_DAYS

FEWEST_EVENTS = 5.0
"""Of fewer events, with the longest half-life, nothing is said."""
_SIGMAS = 2.0


def popularity_left(popularity: Iterable[float], passed_s: float) -> list[float]:
    """Return what is left of the popularities over all events when ``passed_s`` seconds have passed, at least 0.

    Examples
    --------
    >>> popularity_left([8.0, 8.0, 8.0], 3 * 86_400.0)[0]
    4.0
    """
    days = POPULARITY_DAYS[:N_OVERALL]
    return [float(value) * 0.5 ** (passed_s / (DAY_S * d)) for value, d in zip(popularity, days, strict=True)]


def trend(short: float, long: float) -> str | None:
    """Return ``"rising"`` or ``"falling"`` where the last days are clearly unlike the last months, else ``None``.

    Clear is a quarter more or a fifth less than the months would have in so few days, and more than chance makes of it.
    Where a steady stream has ``m`` in the mean, a sum that halves has a variance of ``m / 2``. Half an event is added
    to that, so that two in a row are no trend of an item that hardly anyone wants.

    Parameters
    ----------
    short, long
        Events with the shortest and the longest half-life, as of one time.

    Examples
    --------
    >>> trend(0.9, 5.0), trend(20.0, 300.0), trend(2.0, 300.0), trend(10.0, 300.0)
    (None, 'rising', 'falling', None)
    """
    if long < FEWEST_EVENTS:
        return None
    mean = long * POPULARITY_DAYS[P_SHORT] / POPULARITY_DAYS[P_LONG]
    margin = _SIGMAS * math.sqrt(mean / 2 + 0.5)
    if short > max(1.25 * mean, mean + margin):
        return "rising"
    return "falling" if short < min(0.8 * mean, mean - margin) else None
