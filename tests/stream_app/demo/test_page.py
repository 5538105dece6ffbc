"""The demo's page is opened where somebody sees it, and nothing waits for the browser."""

from __future__ import annotations

import threading
import webbrowser

import pytest

from stream_app.demo import page
from stream_app.demo.page import graphical_browser, open_page, page_url, serves_page
from tests.stream_app.test_direct import HTML, answering


class FakeBrowser(webbrowser.BaseBrowser):
    """A browser that keeps whoever starts it until it is let go."""

    def __init__(self) -> None:
        super().__init__("fake")
        self.urls: list[str] = []
        self.told = threading.Event()
        self.closed = threading.Event()

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        """Note the address, and wait for the window to be closed."""
        del new, autoraise
        self.urls.append(url)
        self.told.set()
        self.closed.wait()
        raise webbrowser.Error


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there are a screen, and a page at every address."""
    monkeypatch.setattr(page, "has_screen", lambda: True)
    monkeypatch.setattr(page, "serves_page", lambda _url: True)


@pytest.mark.usefixtures("screen")
async def test_the_browser_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stays in the foreground holds up neither the demo nor its end."""
    browser = FakeBrowser()
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    before = set(threading.enumerate())
    assert await open_page(6066)
    browser.told.wait()
    assert browser.urls == [page_url(6066)]
    (thread,) = [found for found in threading.enumerate() if found not in before and found.name == "browser"]
    assert thread.daemon
    browser.closed.set()
    thread.join()


@pytest.mark.usefixtures("screen")
async def test_without_a_browser_for_a_window_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that would draw into the demo's terminal are left alone, by whatever name they were found."""
    in_terminal = [webbrowser.GenericBrowser("www-browser"), webbrowser.GenericBrowser(["/usr/bin/w3m", "%s"])]
    for browser in in_terminal:
        monkeypatch.setattr(webbrowser, "get", lambda found=browser: found)
        assert not await open_page(6066)

    def find_none() -> None:
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "get", find_none)
    assert not await open_page(6066)


def test_a_browser_with_a_window_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it starts in the background or not, and as what the user has set."""
    for name in ("google-chrome %s", "xdg-open %s &", "firefox %s"):
        monkeypatch.setenv("BROWSER", name)
        monkeypatch.setattr(webbrowser, "_tryorder", None)
        assert graphical_browser() is not None
    for browser in (webbrowser.BackgroundBrowser("xdg-open"), webbrowser.BackgroundBrowser("links")):
        monkeypatch.setattr(webbrowser, "get", lambda found=browser: found)
        assert graphical_browser() is browser


def test_only_html_is_a_page() -> None:
    """A server that speaks another protocol, or answers with something else, has none."""
    for words, is_page in ((HTML, True), (b"SSH-2.0-OpenSSH_9.6\r\n", False), (b"HTTP/1.0 200 OK\r\n\r\n{}", False)):
        with answering(words) as url:
            assert serves_page(url) is is_page
