"""Checks of the brokers: each address answers, lets us in, and so does every broker that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.kafka import TlsError
from stream_app.probe import Answer, addresses, look

if TYPE_CHECKING:
    from stream_app.settings import Settings

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


async def check_broker(settings: Settings) -> list[Finding]:
    """Connect to each address that is set, then to each broker that those name."""
    findings, brokers = [], {}
    for address in addresses(settings):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            findings.append(_error(f"{address!r} is no address", "host:port", "correct it"))
            continue
        try:
            found = await look(settings, address)
        except TlsError as problem:
            findings.append(_error(f"{address}: {problem}", "a broker that lets us in", "correct the files first"))
            continue
        if isinstance(found, Answer):
            brokers[address] = found
        else:
            findings.append(_error(found.found, "a broker that lets us in", found.remedy))
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
        found = await look(settings, address)
        if not isinstance(found, Answer):
            remedy = f"set advertised.listeners of broker {node} to an address that this machine reaches"
            findings.append(
                _error(f"broker {node} tells clients to use {address}: {found.found}", "a way to it", remedy)
            )
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


def _error(found: str, wanted: str, remedy: str) -> Finding:
    return error("broker", found, wanted, remedy)
