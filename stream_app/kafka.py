"""What every Kafka client of the project shares: options, start and stop, ids of topics."""

import asyncio
import contextlib
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NodeNotReadyError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from stream_app.header_names import read_all_header_names
from stream_app.settings import PREFIX

if TYPE_CHECKING:
    from stream_app.settings import Settings

read_all_header_names()

_NO_BROKER_LISTED_S = 10.0
"""A broker that was frozen answers again before the controller lists it among the living."""

_Answer = TypeVar("_Answer")


class TlsError(Exception):
    """The files that TLS needs cannot be used. The message names the setting and the remedy."""


def client_options(settings: "Settings") -> dict[str, Any]:
    """Return the options that connect any aiokafka client: addresses, TLS and SASL.

    Raises
    ------
    TlsError
        A certificate or a key is not there, or is none.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _tls_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else None
    return options


def _tls_context(settings: "Settings") -> ssl.SSLContext:
    what = f"{PREFIX}SSL_CAFILE {settings.ssl_cafile}"
    password = settings.ssl_key_password.get_secret_value() if settings.ssl_key_password else ""
    is_encrypted = False

    def tell_password() -> str:
        """Return the password; without this function OpenSSL would ask at the terminal."""
        nonlocal is_encrypted
        is_encrypted = True
        return password

    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        if settings.ssl_certfile is not None:
            what = f"{PREFIX}SSL_CERTFILE {settings.ssl_certfile}"
            if settings.ssl_keyfile is not None:
                what += f" with {PREFIX}SSL_KEYFILE {settings.ssl_keyfile}"
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, tell_password)
    except OSError as error:  # an SSLError is one, too
        if is_encrypted:
            wrong = "its password is not the one that is set" if password else "its key is encrypted"
            message = f"{what} cannot be used ({wrong}): set {PREFIX}SSL_KEY_PASSWORD to the key's password"
            raise TlsError(message) from error
        why = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        message = f"{what} cannot be used ({why}): set it to a PEM file that this user may read"
        raise TlsError(message) from error
    return context


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Disconnect a consumer.

    Where a request of it waits to be tried again, aiokafka cancels that and lets the CancelledError out, which would
    end the task that called: after the end of a broker the page would never be fed again.

    Raises
    ------
    asyncio.CancelledError
        The calling task was cancelled.
    aiokafka.errors.KafkaError
        A task of the consumer had failed before.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait([stopping])
    finally:
        stopping.cancel()
        await asyncio.wait([stopping])
        if stopping.cancelled() or stopping.exception() is not None:
            await consumer._client.close()  # noqa: SLF001  # what stop() did not come to
    if not stopping.cancelled():
        stopping.result()


@contextlib.asynccontextmanager
async def started_consumer(settings: "Settings", **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Connect a consumer, and disconnect it at the end, also where connecting fails or is cancelled.

    Parameters
    ----------
    options
        As aiokafka takes them. Unless they say otherwise it has no group, reads committed records only, and commits
        nothing by itself.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer, or refuses.
    """
    reading: dict[str, Any] = {"group_id": None, "enable_auto_commit": False, "isolation_level": "read_committed"}
    consumer = AIOKafkaConsumer(**client_options(settings), **{**reading, **options})
    try:
        await consumer.start()
        yield consumer
    finally:
        await stop_consumer(consumer)


@contextlib.asynccontextmanager
async def started_admin(settings: "Settings") -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect an admin client, and disconnect it at the end, also where connecting fails or is cancelled.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer, or refuses.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def started_client(settings: "Settings") -> AsyncIterator[AIOKafkaClient]:
    """Connect a client for requests of one's own, and disconnect it at the end, also where connecting fails.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer, or refuses.
    """
    client = AIOKafkaClient(**client_options(settings))
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()


def check_reading(consumer: AIOKafkaConsumer) -> None:
    """Make sure that a consumer still reads: where its routine has ended by an error, it returns nothing for ever.

    Raises
    ------
    aiokafka.errors.KafkaError
        The routine has ended.
    """
    routine = consumer._fetcher.error_future if consumer._fetcher is not None else None  # noqa: SLF001 - not told elsewhere
    error = None
    if routine is not None and routine.done() and not routine.cancelled():  # by none at all where it has been stopped
        error = routine.exception()
    if error is not None:
        message = f"the consumer reads no more: {error!r}"
        raise KafkaError(message) from error


def forget(future: "asyncio.Future[Any]") -> None:
    """Look at the error of a future that nobody waits for any more, so that it is not told as an error of its own.

    Use it as a callback of the future.
    """
    if not future.cancelled():
        future.exception()


class _Uuid(AbstractType[bytes]):
    """Sixteen raw bytes."""

    @classmethod
    def encode(cls, value: bytes | None) -> bytes:
        return value or bytes(16)

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return str(uuid.UUID(bytes=value))


class _MetadataResponse(Response):
    """Metadata response of version 12, the first with both topic ids and names for all."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("index", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIdRequest(Request[_MetadataRequestV12]):
    """Asks for the ids of topics by name, and for what may be done with them if that is wanted."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str], *, rights: bool = False) -> None:
        self._topics = topics
        self._rights = rights

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> _MetadataRequestV12:
        topics: list[tuple[bytes, str, dict[int, bytes]]] = [(bytes(16), name, {}) for name in self._topics]
        return request_struct_class(topics, False, self._rights, {})


async def fetch_topic_ids(settings: "Settings", topics: Sequence[str]) -> dict[str, str | None]:
    """Return the broker's id of each topic: another id under the same name is another topic.

    Returns
    -------
    dict
        None for a topic that does not exist, and for all of them at a broker too old to tell (Kafka before 3.1).

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    found: dict[str, str | None] = dict.fromkeys(topics)
    for topic in await _describe(settings, _TopicIdRequest(topics)) or []:
        error_code, name, topic_id = topic[0], topic[1], topic[2]
        if error_code == 0 and any(topic_id):
            found[name] = str(uuid.UUID(bytes=topic_id))
    return found


async def fetch_topic_rights(settings: "Settings", topics: Sequence[str]) -> dict[str, tuple[int, int]] | None:
    """Return what the user may do with each topic: an error code, and the allowed operations as bits by their number.

    Returns
    -------
    dict or None
        None at a broker too old to tell (Kafka before 3.1).

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    described = await _describe(settings, _TopicIdRequest(topics, rights=True))
    return None if described is None else {topic[1]: (topic[0], topic[5]) for topic in described}


async def once_listed(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Return what a question answers; ask again for some seconds while the broker lists no broker, not even itself.

    A broker that was frozen, or has just started, answers so until its controller knows of it again.

    Parameters
    ----------
    ask
        Called anew for each attempt; it makes its own client, which would remember the empty list.

    Raises
    ------
    aiokafka.errors.KafkaError
        What the last attempt raised.
    """
    give_up_s = time.monotonic() + _NO_BROKER_LISTED_S
    while True:
        try:
            return await ask()
        except NodeNotReadyError:
            if time.monotonic() > give_up_s:
                raise
            await asyncio.sleep(0.2)


async def _describe(settings: "Settings", request: _TopicIdRequest) -> list[Any] | None:
    return await once_listed(lambda: _describe_once(settings, request))


async def _describe_once(settings: "Settings", request: _TopicIdRequest) -> list[Any] | None:
    try:
        async with started_client(settings) as client:
            response: Any = await client.send(client.get_random_node(), request)
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    return list(response.topics)
