"""Ports of this machine: which are free, and whether the broker answers on one."""

from __future__ import annotations

import random
import socket
import struct
import sys
from itertools import islice
from typing import Final

from stream_app.broker.files import BrokerError

HOST: Final = "127.0.0.1"

_OWN_PORTS: Final = range(20_000, 32_768)
"""Below the ports that systems lend to outgoing connections: a client that waits for the broker could be lent the very
port that it connects to, and the broker could not have it back."""

_LAST_PORT: Final = 65_535
_ANSWER_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_METADATA_KEY: Final = 3
_METADATA_VERSION: Final = 4
_CORRELATION_ID: Final = 7


def check_port(port: int) -> None:
    """Check that a port can be listened on.

    Raises
    ------
    BrokerError
        It is taken, or not allowed.
    """
    try:
        _bind(port)
    except PermissionError as error:
        message = f"port {port} may not be used by this user: choose one from 1024 to 65535 with --port"
        raise BrokerError(message) from error
    except OSError as error:
        message = f"port {port} is taken: stop what listens there, or choose another one with --port"
        raise BrokerError(message) from error


def is_free(port: int) -> bool:
    """Return whether this user could listen on a port of ``127.0.0.1`` now."""
    if not 0 < port <= _LAST_PORT:
        return False
    try:
        _bind(port)
    except OSError:
        return False
    return True


def free_ports(n: int) -> list[int]:
    """Return different ports of ``127.0.0.1`` that nothing listens on.

    Raises
    ------
    BrokerError
        So many were not found.
    """
    found = list(islice(filter(is_free, random.SystemRandom().sample(_OWN_PORTS, 200 + n)), n))
    if len(found) < n:
        message = f"no free port from {_OWN_PORTS[0]} to {_OWN_PORTS[-1]}: choose one with --port"
        raise BrokerError(message)
    return found


def free_port() -> int:
    """Return one of :func:`free_ports`."""
    return free_ports(1)[0]


def _bind(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # There it would allow what is taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))


def serving_cluster(port: int) -> str | None:
    """Return the id of the cluster that serves clients on a port; ``None`` while none does.

    A broker that still starts may take connections, but does not name itself in the cluster's metadata.
    """
    body = struct.pack(">i?", 0, False)
    header = struct.pack(">hhih", _METADATA_KEY, _METADATA_VERSION, _CORRELATION_ID, -1)
    try:
        with socket.create_connection((HOST, port), _ANSWER_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
            with connection.makefile("rb") as answer:
                (size,) = struct.unpack(">i", answer.read(4))
                if not 0 < size < _MAX_ANSWER_BYTES:
                    return None
                return _cluster_of(answer.read(size))
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _cluster_of(answer: bytes) -> str | None:
    """Read an answer to Metadata 4: correlation id, throttle time, brokers, cluster id, and more."""
    correlation_id, _, n_brokers = struct.unpack_from(">iii", answer)
    if correlation_id != _CORRELATION_ID or n_brokers < 1:
        return None
    at = 12
    for _ in range(n_brokers):
        _, at = _string(answer, at + 4)  # after the node's id, its host
        _, at = _string(answer, at + 4)  # after the port, its rack
    return _string(answer, at)[0]


def _string(answer: bytes, at: int) -> tuple[str | None, int]:
    (size,) = struct.unpack_from(">h", answer, at)
    at += 2
    if size < 0:
        return None, at
    return answer[at : at + size].decode(), at + size
