"""What the doctor finds."""

from enum import StrEnum
from typing import Final

import msgspec


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """As it must be."""
    WARNING = "warning"
    """A worker runs with it, but not as one would wish."""
    ERROR = "error"
    """A worker cannot run with it, or would lose what it must keep."""
    SKIPPED = "skipped"
    """Could not be looked at; the finding says why."""


CHECKS: Final = {
    "settings": "the environment and the `.env` file: values, names, and whether they fit together",
    "versions": "Python and the libraries",
    "disk": "the directory of the local stores: writable, free space",
    "web": "the worker's web port and who can reach it",
    "embedded": "Java and the jars of the embedded broker, where the broker is on this machine",
    "broker": "each address and each broker behind it: reachable, access granted, protocol new enough",
    "memory": "memory against what `hot_rows` may take",
    "topics": "each topic: there, partitions, replicas in sync, configuration",
    "changelogs": "the topics of the state: nothing cut off, and none made anew since the state was committed",
    "rights": "what the user may do with topics and groups",
    "transactions": "whether a transaction can be begun, with the timeout that is set",
    "offsets": "committed offsets against what the topics hold",
    "workers": "whether workers alone are in their groups, with the same settings as this shell where they must be",
    "state": "the newest checkpoint of each partition, and pages beside it: what a worker would refuse to go on from",
    "clock": "this machine's clock against the broker's (with `--probe`) and against the newest events",
}
"""What is looked at, in this order."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes
    ----------
    check
        One of :data:`CHECKS`.
    severity
        How bad it is.
    found
        What is there.
    wanted
        What should be there.
    remedy
        What to do; empty when nothing is to be done.
    """

    check: str
    severity: Severity
    found: str
    wanted: str
    remedy: str = ""


def ok(check: str, found: str, wanted: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(check=check, severity=Severity.OK, found=found, wanted=wanted)


def warning(check: str, found: str, wanted: str, remedy: str) -> Finding:
    """Return a finding that a worker can live with."""
    return Finding(check=check, severity=Severity.WARNING, found=found, wanted=wanted, remedy=remedy)


def error(check: str, found: str, wanted: str, remedy: str) -> Finding:
    """Return a finding that a worker cannot live with."""
    return Finding(check=check, severity=Severity.ERROR, found=found, wanted=wanted, remedy=remedy)


def skipped(check: str, why: str) -> Finding:
    """Return the finding that something could not be looked at."""
    return Finding(check=check, severity=Severity.SKIPPED, found=why, wanted="a look at it")
