"""Ports of the demo: as asked or an error, and free ones otherwise."""

from __future__ import annotations

import socket

import pytest

from stream_app.broker.ports import HOST, is_free
from stream_app.demo import ports as demo_ports
from stream_app.demo.ports import PortError, Ports, choose_ports


def free_row(n_ports: int) -> int:
    """Return the first of some free ports in a row, away from those that the system hands out."""
    return next(port for port in range(21_000, 30_000) if all(is_free(port + more) for more in range(n_ports)))


def test_a_taken_port_is_named_with_a_remedy() -> None:
    """Whoever asks for a port that another program has is told which one, and what to do."""
    with socket.create_server((HOST, 0)) as other:
        port = int(other.getsockname()[1])
        assert not is_free(port)
        with pytest.raises(PortError, match=f"port {port} .*leave --port out"):
            choose_ports(port, 1)


def test_a_taken_port_after_the_asked_one_is_found_too() -> None:
    """The workers' ports are the ones after the broker's: one of them being taken is an error as well."""
    first = free_row(2)
    with (
        socket.create_server((HOST, first + 1)),
        pytest.raises(PortError, match=f"port {first + 1} .*a worker's web server"),
    ):
        choose_ports(first, 1)


def test_asked_ports_are_given_in_a_row() -> None:
    """A free port that was asked for is the broker's, and the next ones are the workers'."""
    first = free_row(3)
    assert choose_ports(first, 2) == Ports(first, (first + 1, first + 2))


def test_without_asking_a_taken_usual_port_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the usual port is taken and none was asked for, others are found."""
    with socket.create_server((HOST, 0)) as other:
        port = int(other.getsockname()[1])
        monkeypatch.setattr(demo_ports, "USUAL_PORT", port)
        ports = choose_ports(None, 2)
        assert len({port, ports.broker, *ports.web}) == 4
        assert all(is_free(each) for each in (ports.broker, *ports.web))


@pytest.mark.parametrize("port", [65_535, 70_000])
def test_ports_beyond_the_last_are_refused(port: int) -> None:
    """A port that leaves no room for the workers' is an error, not an overflow."""
    with pytest.raises(PortError):
        choose_ports(port, 1)
