"""Opens the worker's web page in a browser, where there is a page and a screen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import webbrowser
from pathlib import PurePath
from typing import Final

from stream_app.broker.ports import HOST
from stream_app.direct import ask

_TIMEOUT_S: Final = 2.0
_TEXT_BROWSERS: Final = frozenset({"www-browser", "links", "links2", "elinks", "lynx", "w3m"})
"""Programs that would draw into the terminal in which the demo is shown."""


async def open_page(port: int) -> bool:
    """Tell a browser to open the page at ``/`` of a worker, unless there is no page or nobody could see it.

    Some browsers keep whoever starts them until their window is closed. So nothing waits for this one, and what becomes
    of it is not known.

    Returns
    -------
    bool
        Whether a browser is being told to.
    """
    url = page_url(port)
    if not has_screen() or not await asyncio.to_thread(serves_page, url):
        return False
    browser = await asyncio.to_thread(graphical_browser)
    if browser is None:
        return False
    # No thread of the event loop's: those are waited for at the end.
    threading.Thread(target=_tell, args=(browser, url), name="browser", daemon=True).start()
    return True


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
    page = ask(url, _TIMEOUT_S)
    return page is not None and page.content_type == "text/html"


def graphical_browser() -> webbrowser.BaseBrowser | None:
    """Return the user's browser, ``None`` where they have none, or one that draws into the terminal."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return None
    # What is of this class exactly runs in the terminal's foreground.
    is_text = type(browser) is webbrowser.GenericBrowser and PurePath(browser.name).name in _TEXT_BROWSERS
    return None if is_text else browser


def _tell(browser: webbrowser.BaseBrowser, url: str) -> None:
    with contextlib.suppress(OSError, webbrowser.Error):  # the view shows the address as well
        browser.open(url)
