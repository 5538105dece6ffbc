"""The sentences for a broker that does not answer, or refuses, the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError

from stream_app.probe import AccessError, find_broker
from stream_app.rights import explain_refusal, lacking, missing_rights, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.rights import Right
    from stream_app.settings import Settings


def no_broker(settings: Settings, error: BaseException) -> str:
    """Say that no broker answers, why if that is more than silence, and what to do.

    Parameters
    ----------
    settings
        Where the broker should be.
    error
        What the client raised; a refused or silent connection adds nothing to the sentence.
    """
    silent = isinstance(error, KafkaConnectionError | OSError)
    why = "" if silent else f" ({str(error) or type(error).__name__})"
    over = "" if settings.security_protocol == "PLAINTEXT" else f" over {settings.security_protocol}"
    return (
        f"no broker answers at {settings.bootstrap_servers}{over}{why}: start one with `crossaisle broker`, "
        "or set CROSSAISLE_BOOTSTRAP_SERVERS"
    )


async def why_not(settings: Settings, error: BaseException, needed: Sequence[Right]) -> str:
    """Say why a command could not do its work: a right is missing, the broker refuses the connection, or it is away.

    Parameters
    ----------
    settings
        Where the broker should be.
    error
        What the client raised.
    needed
        All rights that the command needs.
    """
    if refusal(error) is not None:
        return await explain_refusal(settings, error, needed)
    try:
        if isinstance(error, KafkaConnectionError | OSError):
            await find_broker(settings)
    except AccessError as refused:
        return str(refused)
    return no_broker(settings, error)


async def why_missing(settings: Settings, topic: str, needed: Sequence[Right]) -> str:
    """Say why the broker lists no such topic: it may not be seen, or it is not there.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    missing = await missing_rights(settings, needed)
    if any(right.name == topic for right in missing):
        return f"topic {topic!r} may not be seen, if it exists: {lacking(missing, settings)}"
    return f"topic {topic!r} does not exist: make it with `crossaisle topics create`"
