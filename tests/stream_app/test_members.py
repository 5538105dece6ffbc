"""Who owns what: addresses in client ids, assignments as the coordinator tells them."""

from __future__ import annotations

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from pydantic import ValidationError

from stream_app.members import advertised_address, client_id, is_loopback, members_of
from stream_app.settings import Settings


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "127.0.0.1:6066"),
        ({"web_host": "::1"}, "[::1]:6066"),
        ({"web_host": "10.0.0.7", "web_port": 80}, "10.0.0.7:80"),
        ({"web_host": "0.0.0.0", "web_advertise": "worker-1.shop:6066"}, "worker-1.shop:6066"),  # noqa: S104 - not bound
    ],
)
def test_the_address_is_the_bound_one_unless_set(settings: dict[str, object], address: str) -> None:
    """What other workers are told is where this one listens, or what the operator says."""
    assert advertised_address(Settings(**settings)) == address


def test_a_worker_on_all_addresses_names_its_machine() -> None:
    """0.0.0.0 means nothing to another machine."""
    address = advertised_address(Settings(web_host="0.0.0.0"))  # noqa: S104 - not bound
    assert not is_loopback(address.rpartition(":")[0])
    assert address[0] != "0"
    assert address.endswith(":6066")


@pytest.mark.parametrize("wrong", ["worker", "http://worker:1", "worker:port", "a b:1"])
def test_an_advertised_address_is_host_and_port(wrong: str) -> None:
    """Anything else is refused at the start."""
    with pytest.raises(ValidationError, match="web_advertise"):
        Settings(web_advertise=wrong)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),  # noqa: S104
     ("10.0.0.1", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    """Only addresses that no other machine reaches are loopback."""
    assert is_loopback(host) is expected


def test_members_are_workers_with_their_partitions() -> None:
    """Partitions of other topics and members that are no workers are passed over; no assignment yet is none."""
    assignment = ConsumerProtocolMemberAssignment(0, [("events", [2, 0]), ("other", [7])], b"").encode()
    settings = Settings(web_port=7001)
    described = [
        ("m1", client_id(settings), "/127.0.0.1", b"", assignment),
        ("m2", "aiokafka-0.14", "/127.0.0.1", b"", assignment),
        ("m3", "crossaisle@b:1", "/127.0.0.1", b"", b""),
    ]
    found = members_of(described, "user", "events")
    assert [(m.stage, m.address, set(m.partitions)) for m in found] == [
        ("user", "127.0.0.1:7001", {0, 2}),
        ("user", "b:1", set()),
    ]
