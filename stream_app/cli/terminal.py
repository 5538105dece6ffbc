"""Texts of others on a terminal: what would steer it is written out, and what it cannot have meant is refused."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from stream_app.cli import CommandError


def printable(text: str) -> str:
    r"""Return a text whose control characters are written as escapes: they could move, colour or turn around the line.

    Ids and titles come from whoever produces records; a terminal obeys what is in them.

    Examples
    --------
    >>> print(printable("ann\x1b[31m"))
    ann\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def local_time(moment_ms: int) -> str:
    """Return the time of day of a moment, here; one that no calendar has as its number.

    >>> local_time(99_999_999_999_999_999)
    '99999999999999999'
    """
    try:
        return f"{datetime.fromtimestamp(moment_ms / 1_000, tz=UTC).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(moment_ms)


def check_text(text: str, what: str) -> None:
    """Refuse an argument whose bytes are no UTF-8: no id is like that.

    Raises
    ------
    CommandError
        It has such bytes.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"{what} {printable(text)}: not UTF-8 at character {error.start}; ids are UTF-8, type it anew"
        raise CommandError(message) from error


def folder(text: str) -> Path:
    """Return the folder that an option names; an empty name, as of a variable that is not set, is none.

    Raises
    ------
    typer.BadParameter
        The name is empty.
    """
    if not text.strip():
        message = "an empty name is no folder; give a folder, or . for this one"
        raise typer.BadParameter(message)
    return Path(text)


def drop_stdout() -> None:
    """Let the interpreter flush into nothing: the reader of our pipe has gone, which is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def counted(n: int, noun: str) -> str:
    """Return a number and what it counts.

    Examples
    --------
    >>> counted(1, "event"), counted(2_000, "event")
    ('1 event', '2,000 events')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
