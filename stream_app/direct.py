"""Asks web servers of this machine, past the proxy that the environment may name for all others."""

from __future__ import annotations

import http.client
import urllib.request
from typing import Final, NamedTuple

_READ_BYTES: Final = 1_000


class Page(NamedTuple):
    """What a server has answered."""

    content_type: str
    begin: bytes
    """Its first bytes, at most 1,000."""


def ask(url: str, timeout_s: float) -> Page | None:
    """Return what a web server answers, ``None`` where none answers, it answers with an error, or it speaks no HTTP.

    Parameters
    ----------
    url
        An address of this machine.
    timeout_s
        How long to wait for a connection, and for each part of the answer.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            return Page(str(answer.headers.get_content_type()), bytes(answer.read(_READ_BYTES)))
    except (OSError, http.client.HTTPException):  # a URLError is an OSError
        return None
