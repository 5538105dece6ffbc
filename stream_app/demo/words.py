"""Numbers, times and titles as the demo writes them; used by its live view, its plain lines and its summary."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

NOTHING_YET = "-"


def number(value: float) -> str:
    """Write a count with thousands separators and no decimals.

    >>> number(1234567.4)
    '1,234,567'
    """
    return f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Write a share in ``[0, 1]`` as a percentage.

    >>> percent(0.0314), percent(None)
    ('3.1 %', '-')
    """
    return NOTHING_YET if share is None else f"{share * 100:.1f} %"


def seconds(value_s: float | None) -> str:
    """Write a short time: milliseconds below a second, seconds above.

    >>> seconds(0.1234), seconds(2.345), seconds(None)
    ('123 ms', '2.3 s', '-')
    """
    if value_s is None:
        return NOTHING_YET
    value_ms = round(value_s * 1_000)
    return f"{value_ms} ms" if value_ms < 1_000 else f"{value_s:.1f} s"  # noqa: PLR2004  # ms in a second


def clock(value_s: float) -> str:
    """Write a duration as minutes and seconds, with hours when there are some.

    >>> clock(75.9), clock(3_725)
    ('01:15', '1:02:05')
    """
    minutes, rest = divmod(int(max(0.0, value_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def shop_time(event_time_ms: int) -> str:
    """Write the moment in the data that the replay has reached, in UTC.

    >>> shop_time(1_483_272_000_000)
    'Sun 1 Jan 2017 12:00'
    """
    moment = datetime.fromtimestamp(event_time_ms / 1_000, tz=UTC)
    return f"{moment:%a} {moment.day} {moment:%b %Y %H:%M}"


def readable(title: str) -> str:
    """Turn a till's capitals into words; titles that are written normally stay as they are.

    >>> readable("FLUID MILK WHITE ONLY"), readable("Oat drink 1 L")
    ('Fluid milk white only', 'Oat drink 1 L')
    """
    words = " ".join(title.split())
    return words.capitalize() if words.isupper() else words


def short(title: str) -> str:
    """Drop the package size from the end of a title.

    >>> short("Butter, 1 lb"), short("Soup, Chunky"), short("7 Up")
    ('Butter', 'Soup, Chunky', '7 Up')
    """
    name, comma, rest = title.rpartition(", ")
    return name if comma and rest[:1].isdigit() else title


def command_name(program: str, search_path: str | None = None) -> str:
    """Return how to call this program from the present directory: by its name alone if the shell finds the same file.

    Parameters
    ----------
    program
        Path by which it was called, as in ``sys.argv[0]``.
    search_path
        Where a shell looks for programs; ``PATH`` if None.
    """
    path = Path(program)
    if path.stem != "crossaisle" or not path.is_file():
        return "crossaisle"  # run as a module: the usual name is the best that can be said
    found = shutil.which(path.name, path=search_path)
    if found is not None and Path(found).resolve() == path.resolve():
        return path.name
    whole = path.absolute()
    here = Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
