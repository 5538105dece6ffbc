"""Chooses the demo's ports: the asked ones if they are free, else an error; or the usual ones, else any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stream_app.broker.ports import HOST, free_ports, is_free

USUAL_PORT: Final = 19092
"""Tried first when no port is asked for, so that commands can be repeated in the next run."""


class PortError(Exception):
    """A port that was asked for cannot be had. The message ends with the remedy."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The broker's port and one for each worker's HTTP server."""

    broker: int
    web: tuple[int, ...]


def choose_ports(asked: int | None, n_workers: int) -> Ports:
    """Choose one port for the broker and the ones after it for the workers.

    Parameters
    ----------
    asked
        The broker's port; ``None`` for ``USUAL_PORT``, or any ports if one of these is taken.
    n_workers
        How many more are needed.

    Raises
    ------
    PortError
        One of the asked ports is taken, or the last one is beyond 65,535.
    """
    first = USUAL_PORT if asked is None else asked
    wanted = range(first, first + n_workers + 1)
    taken = next((port for port in wanted if not is_free(port)), None)
    if taken is None:
        return Ports(wanted[0], tuple(wanted[1:]))
    if asked is None:
        free = free_ports(n_workers + 1)
        return Ports(free[0], tuple(free[1:]))
    what = "the broker's" if taken == asked else "a worker's web server's"
    message = (
        f"port {taken} ({what}) is taken or not allowed on {HOST}: end the program that listens there, choose another "
        f"--port (it and the {n_workers} after it must be free), or leave --port out to get free ones"
    )
    raise PortError(message)
