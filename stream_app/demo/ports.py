"""Chooses the demo's ports: the asked ones if they are free, else an error; or the usual ones, else any."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

HOST: Final = "127.0.0.1"
USUAL_PORT: Final = 19092
"""Tried first when no port is asked for, so that commands can be repeated in the next run."""

_LAST_PORT: Final = 65_535


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


def is_free(port: int) -> bool:
    """Whether something could listen on the port now."""
    if not 0 < port <= _LAST_PORT:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(n_ports: int) -> list[int]:
    """Return ``n_ports`` different ports on which nothing listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(n_ports)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
