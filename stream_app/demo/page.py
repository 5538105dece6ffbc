"""Opens the worker's web page in a browser, where there is a page and a screen."""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.error
import urllib.request
import webbrowser
from typing import Final

from stream_app.broker.ports import HOST

_TIMEOUT_S: Final = 2.0


async def open_page(port: int) -> bool:
    """Open the page at ``/`` of a worker, unless the worker serves none or nobody could see it.

    Returns
    -------
    bool
        Whether a browser was told to.
    """
    url = page_url(port)
    if not has_screen() or not await asyncio.to_thread(serves_page, url):
        return False
    return await asyncio.to_thread(webbrowser.open, url)


def page_url(port: int) -> str:
    """Return the address of a worker's page."""
    return f"http://{HOST}:{port}/"


def has_screen() -> bool:
    """Whether a browser would open a window, rather than take over the terminal."""
    if sys.platform in {"win32", "darwin"}:
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def serves_page(url: str) -> bool:
    """Whether the address answers with HTML."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - an address of this module
            return str(response.headers.get_content_type()) == "text/html"
    except (urllib.error.URLError, TimeoutError, OSError):
        return False
