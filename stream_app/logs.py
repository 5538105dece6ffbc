"""Logging with structlog: a fixed event name and keys; JSON unless it goes to a terminal."""

import asyncio
import logging
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from stream_app.changelog import RecoveryError
from stream_app.probe import AccessError
from stream_app.rights import refusal
from stream_app.topics import TopicError

if TYPE_CHECKING:
    from stream_app.settings import Settings

SAY_AGAIN_S = 60.0
"""A library that says the same again sooner than this, in seconds, is not heard."""

MAX_KINDS = 1_000
"""Kinds of lines that are kept in mind."""

TOLD = (AccessError, RecoveryError, TopicError)
"""Errors of the surroundings, as are those of missing rights: the message says all, and a traceback would bury it."""

_NOT_VERIFIED = "NotEnoughReplicasError"
"""What brokers call it when they cannot verify yet that a partition belongs to a transaction, beside what it says.

A broker holds one question to the coordinator per transaction. Records and offsets, which a task sends at once,
are a question each: the later one displaces the earlier one, whose request is then to be repeated.
"""

_MEANING = (
    " (now and then: records and offsets were verified at the same time, the retry goes through, nothing to do; "
    "again and again while slates stand still: too few replicas are in sync, see `crossaisle doctor`)"
)

_CLIENTS = ("aiokafka", "asyncio")

_QUIET = ("aiokafka", "faust", "mode", "kafka", "numba", "asyncio", "aiohttp")


class LibraryFilter(logging.Filter):
    """Lets the project's own lines pass, and those of libraries from warning on, each kind once in a while.

    A broker that is away makes a dozen Kafka clients say so ten times a second each. Lines of a kind are those with the
    same text before the values are filled in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is heard; one that was held back is counted, and told with the next of its kind."""
        if isinstance(record.msg, dict):  # an event of our own
            return True
        if record.levelno < logging.WARNING:
            return False
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError | GeneratorExit):
            return False  # mode's word for it is "Crashed"
        if record.exc_info and (isinstance(record.exc_info[1], TOLD) or refusal(record.exc_info[1])):
            if record.name == "asyncio":
                return False  # a future that nobody waits for: who waited for the first one has told it
            record.exc_info = None
        kind = (record.name, str(record.msg).partition(":")[0])
        said_s, n_held = self._said.get(kind, (-SAY_AGAIN_S, 0))
        if record.created - said_s < SAY_AGAIN_S:
            self._said[kind] = (said_s, n_held + 1)
            return False
        if len(self._said) >= MAX_KINDS:  # texts with values in them: begin anew
            self._said.clear()
        self._said[kind] = (record.created, 0)
        if _NOT_VERIFIED in record.getMessage():
            record.msg, record.args = record.getMessage() + _MEANING, None
        if n_held:
            record.msg = f"{record.getMessage()} (and {n_held:,} times since it was last told)"
            record.args = None
        return True


def configure_logging(settings: "Settings") -> None:
    """Send all logs to stderr in one form; those of libraries from warning on, repetitions held back.

    Parameters
    ----------
    settings
        ``json_logs`` decides the form; unset, a terminal gets colours and everything else JSON.
    """
    as_json = settings.json_logs if settings.json_logs is not None else not sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    if as_json:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(LibraryFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = _thread_failed


def hush_clients() -> None:
    """Hear no more of Kafka's clients: connections that break off while a worker closes them are no news."""
    for name in _CLIENTS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Log what ended a thread: Python would write it as text of many lines between those of JSON."""
    if failure.exc_type is SystemExit or failure.exc_value is None:
        return
    name = failure.thread.name if failure.thread is not None else None
    structlog.get_logger(__name__).error(
        "thread_failed", thread=name, error=repr(failure.exc_value), exc_info=failure.exc_value
    )
