"""The sentence for a broker that does not answer, the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
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
