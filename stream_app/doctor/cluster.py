"""Checks of the brokers: each address answers, lets us in, and so does every broker that it names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.kafka import TlsError, client_options
from stream_app.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.settings import Settings

CONNECT_TIMEOUT_S: Final = 5.0
_NEEDED: Final = {
    "Produce": (0, 3),
    "Fetch": (1, 4),
    "InitProducerId": (22, 0),
    "AddPartitionsToTxn": (24, 0),
    "EndTxn": (26, 0),
    "TxnOffsetCommit": (28, 0),
}
"""Requests that a worker sends: key, and the version it needs. All came with Kafka 0.11."""
_TOPIC_IDS: Final = (3, 12)
"""Metadata with topic ids."""


class _Broker(NamedTuple):
    """What one broker says."""

    versions: dict[int, int]
    """Request key to newest version."""
    others: list[tuple[int, str, int]]
    """All brokers of the cluster: id, host and port."""


async def check_broker(settings: Settings) -> list[Finding]:
    """Connect to each address that is set, then to each broker that those name."""
    findings, brokers = [], {}
    with _quiet_client():
        for address in (part.strip() for part in settings.bootstrap_servers.split(",")):
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit():
                findings.append(_error(f"{address!r} is no address", "host:port", "correct it"))
                continue
            try:
                brokers[address] = await _ask(settings, host, int(port))
            except (KafkaError, OSError, asyncio.IncompleteReadError) as problem:
                found, remedy = explain(address, problem, settings)
                findings.append(_error(found, "a broker that lets us in", remedy))
            except TlsError as problem:
                findings.append(_error(f"{address}: {problem}", "a broker that lets us in", "correct the files first"))
        if not brokers:
            return findings
        # One address of several that answers is enough for a client.
        findings = [warning(f.check, f.found, f.wanted, f.remedy) for f in findings]
        found_broker = next(iter(brokers.values()))
        findings += [ok("broker", f"{address} answers", "a broker that lets us in") for address in brokers]
        findings += await _check_advertised(settings, found_broker.others, set(brokers))
    return findings + check_versions(found_broker.versions)


async def _check_advertised(settings: Settings, brokers: list[tuple[int, str, int]], known: set[str]) -> list[Finding]:
    findings = []
    for node, host, port in brokers:
        address = f"{host}:{port}"
        if address in known:
            continue
        try:
            await _ask(settings, host, port)
        except (KafkaError, OSError, asyncio.IncompleteReadError) as problem:
            found, _ = explain(address, problem, settings)
            remedy = f"set advertised.listeners of broker {node} to an address that this machine reaches"
            findings.append(_error(f"broker {node} tells clients to use {address}: {found}", "a way to it", remedy))
    if not findings:
        n = len(brokers)
        findings.append(
            ok("broker", f"{n} broker{'s' if n != 1 else ''} in the cluster, all reachable", "a way to all")
        )
    return findings


def check_versions(versions: dict[int, int]) -> list[Finding]:
    """Check that a broker speaks what a worker needs.

    Parameters
    ----------
    versions
        Request key to the newest version that the broker knows.
    """
    wanted = "transactions (Apache Kafka 3 or newer)"
    missing = [name for name, (key, least) in _NEEDED.items() if versions.get(key, -1) < least]
    if missing:
        found = f"the broker does not know {', '.join(missing)}"
        return [_error(found, wanted, "use Apache Kafka 3 or newer, or a broker with the same transactions")]
    key, least = _TOPIC_IDS
    if versions.get(key, -1) < least:
        found = "the broker tells no topic ids (Kafka before 3.1)"
        remedy = "upgrade it: without ids, a topic that was deleted and made anew is not noticed in all cases"
        return [warning("broker", found, wanted, remedy)]
    fetch = versions[_NEEDED["Fetch"][0]]
    return [ok("broker", f"speaks Metadata up to version {versions[key]} and Fetch up to {fetch}", wanted)]


def explain(address: str, problem: BaseException, settings: Settings) -> tuple[str, str]:
    """Return what went wrong with a connection, and what to do."""
    if isinstance(problem, ssl.SSLError):
        return (
            f"{address}: TLS failed ({problem.reason or problem})",
            f"check {PREFIX}SECURITY_PROTOCOL, {PREFIX}SSL_CAFILE and the name in the broker's certificate",
        )
    if isinstance(problem, socket.gaierror):
        return f"{address}: the name is not known here", f"correct {PREFIX}BOOTSTRAP_SERVERS, or the name service"
    if isinstance(problem, ConnectionRefusedError):
        return (
            f"{address}: nothing listens there",
            f"start a broker (crossaisle broker), or correct {PREFIX}BOOTSTRAP_SERVERS",
        )
    if isinstance(problem, TimeoutError):
        return f"{address}: no answer within {CONNECT_TIMEOUT_S:.0f} s", "check the network between, and firewalls"
    name = type(problem).__name__
    if "Sasl" in name or "Authentication" in name:
        return (
            f"{address}: access refused ({name})",
            f"check {PREFIX}SASL_MECHANISM, {PREFIX}SASL_USERNAME and {PREFIX}SASL_PASSWORD",
        )
    return (
        f"{address}: the connection broke off ({name})",
        f"it may want another protocol than {settings.security_protocol}: check {PREFIX}SECURITY_PROTOCOL",
    )


async def _ask(settings: Settings, host: str, port: int) -> _Broker:
    options = client_options(settings)
    del options["bootstrap_servers"]
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        connection = await create_conn(
            host, port, client_id="crossaisle-doctor", request_timeout_ms=int(CONNECT_TIMEOUT_S * 1_000), **options
        )
        try:
            answer: Any = await connection.send(ApiVersionRequest())
            metadata: Any = await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    versions = {key: newest for key, _, newest in answer.api_versions}
    return _Broker(versions, [(broker[0], broker[1], broker[2]) for broker in metadata.brokers])


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the client from logging what becomes a finding."""
    log = logging.getLogger("aiokafka")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _error(found: str, wanted: str, remedy: str) -> Finding:
    return error("broker", found, wanted, remedy)
