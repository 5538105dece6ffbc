"""Says why a broker did not start or has ended: from its exit code and the end of its own log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from stream_app.broker.config import LOG_NAME, OUTPUT_NAME
from stream_app.broker.files import BrokerError

if TYPE_CHECKING:
    from pathlib import Path

_N_TAIL_LINES: Final = 15
_MAX_READ_BYTES: Final = 256 << 10
_MAX_LINE: Final = 300

_FULL: Final = "its disk is full: make room, and start it again"
_KNOWN: Final = (
    (r"No space left on device|Disk quota exceeded", _FULL),
    (
        r"Address already in use|BindException",
        "its port was taken meanwhile: stop what listens there, or choose another one with --port",
    ),
    (
        r"Failed to acquire lock on file .*\.lock",
        "another broker uses this data: stop it, or choose another directory with --data",
    ),
    (
        r"OutOfMemoryError|insufficient memory for the Java Runtime",
        "its memory was used up: end other programs, then start it again",
    ),
    (
        r"Too many open files",
        "it may not open so many files: raise the limit (ulimit -n 65536), then start it again",
    ),
    (
        r"ClassNotFoundException|NoClassDefFoundError|NoSuchMethodError|ClassFormatError|Could not find or load main",
        "its jars do not fit together: reinstall crossaisle, and start it again",
    ),
    (
        r"metadata\.version|Corrupt|Inconsistent|meta\.properties|InconsistentClusterId",
        "its data cannot be read: choose another directory with --data, or delete this one (its topics are then lost)",
    ),
)
_UNKNOWN: Final = "the log tells more; with another directory (--data) it starts from nothing"


def ended_error(directory: Path, exit_code: int, when: str) -> BrokerError:
    """Return the error of a broker that has ended by itself.

    Parameters
    ----------
    directory
        Its data directory.
    exit_code
        What it ended with; negative for a signal.
    when
        Words for the moment, as in "while starting".
    """
    lines = _own_words(directory)
    text = "\n".join(lines)
    how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    why = next((remedy for pattern, remedy in _KNOWN if re.search(pattern, text)), _UNKNOWN)
    return BrokerError(f"Apache Kafka {how} {when}; {why}{_quoted(directory, lines)}")


def late_error(directory: Path, timeout_s: float) -> BrokerError:
    """Return the error of a broker that did not come up within so many seconds."""
    return BrokerError(
        f"Apache Kafka did not accept connections within {timeout_s:g} s: end other programs if the machine is busy, "
        f"then start it again{_quoted(directory, _own_words(directory))}"
    )


def _own_words(directory: Path) -> list[str]:
    """Return what it has logged and printed since its start, the newest last."""
    return [*_lines(directory / LOG_NAME), *_lines(directory / OUTPUT_NAME)]


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MAX_READ_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _quoted(directory: Path, lines: list[str]) -> str:
    heading = f"\nIts log is {directory / LOG_NAME}"
    if not lines:
        return f"{heading}, and empty."
    # Of a stack trace the first lines say most.
    told = [line for line in lines if not re.match(r"\s+at ", line)][-_N_TAIL_LINES:]
    return "\n  ".join([f"{heading}; it ends with:", *(line[:_MAX_LINE] for line in told)])
