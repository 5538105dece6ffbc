"""Asks one address of a broker by hand: it answers, is away, or refuses for a reason that waiting does not mend.

Clients of Kafka take all three for silence. What is told apart here is what a user can set right: the protocol, TLS on
either side, user and password.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import IllegalSaslStateError, KafkaError
from aiokafka.protocol.admin import ApiVersionRequest, SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.kafka import client_options
from stream_app.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from stream_app.settings import Settings

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 3.0
SAY_AGAIN_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
_LOOK_TIMEOUT_S: Final = 2.0
"""How long one more look at an address that broke off may take."""
_CLOSE_TIMEOUT_S: Final = 0.5
_ALERT_WITHIN_S: Final = 0.5
"""With TLS 1.3 a broker refuses a client's certificate after the handshake; this long is waited for it."""
_EXPIRED: Final = 10
_OTHER_NAME: Final = (62, 64)
"""OpenSSL's numbers for certificates: expired; not for this name, not for this address."""
_NO_MECHANISM: Final = "CROSSAISLE-ASKS"
_PROBLEMS: Final = (KafkaError, OSError, asyncio.IncompleteReadError)


class Answer(NamedTuple):
    """What one broker says."""

    versions: dict[int, int]
    """Request key to newest version."""
    others: list[tuple[int, str, int]]
    """All brokers of the cluster: id, host and port."""


class Trouble(NamedTuple):
    """Why an address does not let us in."""

    found: str
    remedy: str
    is_final: bool = False
    """Whether waiting changes nothing: the broker is there, and a setting or a certificate is wrong."""


class AccessError(Exception):
    """The broker is there and refuses, and waiting would not mend it; the message names the setting or the right."""


async def look(settings: Settings, address: str) -> Answer | Trouble:
    """Return what the broker at an address says, or why it does not.

    Parameters
    ----------
    address
        ``host:port``.

    Raises
    ------
    stream_app.kafka.TlsError
        A certificate or a key cannot be read.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with _quiet_client():
        try:
            return await _ask(settings, host, int(port))
        except _PROBLEMS as problem:
            trouble = explain(address, problem, settings)
            if trouble.is_final or isinstance(problem, socket.gaierror | ConnectionRefusedError):
                return trouble
        return await _why_broken_off(settings, address, host, int(port)) or trouble


async def find_broker(settings: Settings) -> bool:
    """Return whether an address answers.

    Raises
    ------
    AccessError
        None does, and one refuses.
    stream_app.kafka.TlsError
        A certificate or a key cannot be read.
    """
    refusal: AccessError | None = None
    for address in addresses(settings):
        found = await look(settings, address)
        if isinstance(found, Answer):
            return True
        if found.is_final and refusal is None:
            refusal = AccessError(f"{found.found}; {found.remedy}")
    if refusal is not None:
        raise refusal
    return False


async def wait_for_broker(settings: Settings, log: Any) -> None:
    """Return when a broker answers; say so every ten seconds while none does.

    Raises
    ------
    AccessError
        A broker is there and refuses the connection.
    stream_app.kafka.TlsError
        A certificate or a key cannot be read.
    """
    wait_s, said_s = FIRST_WAIT_S, float("-inf")
    while not await find_broker(settings):
        if time.monotonic() - said_s > SAY_AGAIN_S:
            said_s = time.monotonic()
            log.warning(
                "broker_unreachable",
                bootstrap_servers=settings.bootstrap_servers,
                remedy="start it (crossaisle broker), or set CROSSAISLE_BOOTSTRAP_SERVERS; waiting for it",
            )
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
    if said_s > 0:
        log.info("broker_reached", bootstrap_servers=settings.bootstrap_servers)


def addresses(settings: Settings) -> list[str]:
    """Return the addresses that are set, each ``host:port``."""
    return [part.strip() for part in settings.bootstrap_servers.split(",")]


def explain(address: str, problem: BaseException, settings: Settings) -> Trouble:
    """Return what went wrong with a connection, and what to do."""
    if isinstance(problem, ssl.SSLError) and not isinstance(problem, ssl.SSLEOFError):
        return _explain_tls(address, problem, settings)
    name = type(problem).__name__
    if "Sasl" in name or "Authentication" in name:
        return _explain_sasl(address, problem, settings)
    if isinstance(problem, socket.gaierror):
        remedy = f"correct {PREFIX}BOOTSTRAP_SERVERS, or the name service"
        return Trouble(f"{address}: the name is not known here", remedy)
    if isinstance(problem, ConnectionRefusedError):
        remedy = f"start a broker (crossaisle broker), or correct {PREFIX}BOOTSTRAP_SERVERS"
        return Trouble(f"{address}: nothing listens there", remedy)
    if isinstance(problem, TimeoutError):
        found = f"{address}: no answer within {CONNECT_TIMEOUT_S:.0f} s"
        return Trouble(found, "check the network between, and firewalls")
    return Trouble(
        f"{address}: the connection broke off ({name})",
        f"it may want another protocol than {settings.security_protocol}: check {PREFIX}SECURITY_PROTOCOL",
    )


def _explain_sasl(address: str, problem: BaseException, settings: Settings) -> Trouble:
    if isinstance(problem, IllegalSaslStateError):
        found = f"{address}: the broker takes no user and password there"
        return Trouble(found, _other_protocol(settings, sasl=False), is_final=True)
    name = type(problem).__name__
    why = str(problem).rpartition(f"{name}: ")[2] or name
    remedy = f"check {PREFIX}SASL_MECHANISM, {PREFIX}SASL_USERNAME and {PREFIX}SASL_PASSWORD"
    return Trouble(f"{address}: access refused ({why})", remedy, is_final=True)


def _explain_tls(address: str, problem: ssl.SSLError, settings: Settings) -> Trouble:
    if isinstance(problem, ssl.SSLCertVerificationError):
        why = problem.verify_message
        if problem.verify_code == _EXPIRED:
            remedy = "renew the broker's certificate, or correct this machine's clock"
        elif problem.verify_code in _OTHER_NAME:
            remedy = f"put a name of the broker's certificate into {PREFIX}BOOTSTRAP_SERVERS, or this name into it"
        else:
            remedy = f"set {PREFIX}SSL_CAFILE to the authority that has signed it, as a PEM file"
        found = f"{address}: the broker's certificate is not good ({why.rstrip('.')})"
        return Trouble(found, remedy, is_final=True)
    reason = problem.reason or str(problem)
    if "ALERT" in reason and ("CERT" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE_FAILURE" in reason):
        return _client_certificate(address, reason, settings)
    if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
        return Trouble(
            f"{address}: the broker speaks no TLS there", _other_protocol(settings, tls=False), is_final=True
        )
    remedy = f"check {PREFIX}SECURITY_PROTOCOL, {PREFIX}SSL_CAFILE and the name in the broker's certificate"
    return Trouble(f"{address}: TLS failed ({reason})", remedy, is_final=True)


def _client_certificate(address: str, reason: str, settings: Settings) -> Trouble:
    names = f"{PREFIX}SSL_CERTFILE and {PREFIX}SSL_KEYFILE"
    if settings.ssl_certfile is None:
        found = f"{address}: the broker wants a certificate of this client ({reason})"
        return Trouble(found, f"set {names} to one that its authorities have signed", is_final=True)
    found = f"{address}: the broker refuses the certificate of this client ({reason})"
    remedy = f"set {names} to one that is valid and that an authority has signed which the broker trusts"
    return Trouble(found, remedy, is_final=True)


def _other_protocol(settings: Settings, *, tls: bool | None = None, sasl: bool | None = None) -> str:
    """Return the remedy for a listener that has, or has not, TLS or SASL; None is as it is set."""
    protocol = settings.security_protocol
    tls = protocol.endswith("SSL") if tls is None else tls
    sasl = protocol.startswith("SASL") if sasl is None else sasl
    wanted = {(False, False): "PLAINTEXT", (True, False): "SSL", (False, True): "SASL_PLAINTEXT"}.get(
        (tls, sasl), "SASL_SSL"
    )
    return f"set {PREFIX}SECURITY_PROTOCOL to {wanted} (it is {protocol}), or correct {PREFIX}BOOTSTRAP_SERVERS"


async def _ask(settings: Settings, host: str, port: int) -> Answer:
    options = client_options(settings)
    del options["bootstrap_servers"]
    async with _connected(host, port, CONNECT_TIMEOUT_S, options) as connection:
        answer: Any = await connection.send(ApiVersionRequest())
        metadata: Any = await connection.send(MetadataRequest([]))
    versions = {key: newest for key, _, newest in answer.api_versions}
    return Answer(versions, [(broker[0], broker[1], broker[2]) for broker in metadata.brokers])


@contextlib.asynccontextmanager
async def _connected(
    host: str, port: int, timeout_s: float, options: Mapping[str, Any]
) -> AsyncIterator[AIOKafkaConnection]:
    """Connect, and have closed the connection when the block ends, in whatever way."""
    connection = AIOKafkaConnection(
        host, port, client_id="crossaisle", request_timeout_ms=int(timeout_s * 1_000), **options
    )
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
            yield connection
    finally:
        closed = connection.close()
        if connection._protocol is not None:  # noqa: SLF001 - else there was no connection
            await asyncio.wait([closed], timeout=_CLOSE_TIMEOUT_S)


async def _why_broken_off(settings: Settings, address: str, host: str, port: int) -> Trouble | None:
    """Return what a second look finds at an address where something listens and the first one ended without a word."""
    over_tls = settings.security_protocol.endswith("SSL")
    signs_in = settings.security_protocol.startswith("SASL")
    context = client_options(settings).get("ssl_context") or _trusting_all()
    try:
        speaks_tls = await _shakes_hands(host, port, context)
    except ssl.SSLEOFError:
        speaks_tls = False
    except ssl.SSLError as problem:
        if over_tls:
            return explain(address, problem, settings)
        speaks_tls = "ALERT" in (problem.reason or "")
    except (OSError, asyncio.IncompleteReadError):
        speaks_tls = False
    mechanisms = await _sasl_mechanisms(host, port, context if speaks_tls else None)
    wants_sasl = signs_in if mechanisms is None else bool(mechanisms)
    remedy = _other_protocol(settings, tls=speaks_tls, sasl=wants_sasl)
    if speaks_tls and not over_tls:
        return Trouble(f"{address}: the broker speaks TLS there", remedy, is_final=True)
    if over_tls and not speaks_tls and mechanisms is not None:
        return Trouble(f"{address}: the broker speaks no TLS there", remedy, is_final=True)
    if mechanisms and not signs_in:
        found = f"{address}: the broker wants user and password there ({', '.join(mechanisms)})"
        names = f"{PREFIX}SASL_MECHANISM, {PREFIX}SASL_USERNAME and {PREFIX}SASL_PASSWORD"
        return Trouble(found, f"{remedy}; and set {names}", is_final=True)
    return None


def _trusting_all() -> ssl.SSLContext:
    """Return a context for a handshake that is ended at once: nothing is sent over it, and nobody believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _shakes_hands(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Return whether a TLS handshake succeeds, and the broker does not end it at once.

    Raises
    ------
    OSError
        It does not succeed; an SSLError says why if the broker did.
    """
    async with asyncio.timeout(_LOOK_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), _ALERT_WITHIN_S)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return True


async def _sasl_mechanisms(host: str, port: int, context: ssl.SSLContext | None) -> list[str] | None:
    """Return the mechanisms of a listener, empty where it has no SASL; None if it does not speak Kafka's protocol."""
    options = {"security_protocol": "PLAINTEXT" if context is None else "SSL", "ssl_context": context}
    try:
        async with _connected(host, port, _LOOK_TIMEOUT_S, options) as connection:
            try:
                answer: Any = await connection.send(SaslHandShakeRequest(_NO_MECHANISM))
            except KafkaError:
                return []
    except _PROBLEMS:
        return None
    return list(answer.enabled_mechanisms)


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the client from logging what is told in other words."""
    log = logging.getLogger("aiokafka.conn")

    def keep_back(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(keep_back)
    try:
        yield
    finally:
        log.removeFilter(keep_back)
