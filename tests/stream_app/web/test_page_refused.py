"""The page in a real Chromium at a server that refuses it: it says why, and goes on once it is let in again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from playwright.async_api import async_playwright, expect

from stream_app import application
from stream_app.application import create_app
from stream_app.broker.ports import free_port
from stream_app.settings import Settings
from stream_app.web.hub import MAX_WATCHERS, Hub
from tests.stream_app.web.test_live_page import CHROMIUM, FLAGS, WAIT_MS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Page

HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def serving(folder: Path, port: int, token: str | None = None) -> AsyncIterator[Hub]:
    """Run a worker's server, and nothing else of the worker; yield the hub behind its page."""
    hubs: list[Hub] = []

    def make_hub(*args: Any) -> Hub:
        hubs.append(Hub(*args))
        return hubs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "Hub", make_hub)
        patch.setattr(application, "configure_logging", lambda _: None)
        driver: Any = create_app(Settings(state_dir=folder, web_port=port, web_token=token)).web
    await driver._runner.setup()
    await web.TCPSite(driver._runner, HOST, port).start()
    try:
        yield hubs[0]
    finally:
        await driver._runner.cleanup()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """Yield a tab that fails the test when a script of the page fails."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not here: apt-get install chromium")
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(WAIT_MS)
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        yield page
        await browser.close()
    assert trouble == []


async def log_in(page: Page, token: str) -> None:
    """Type a token where the page asks for one."""
    await page.locator("#token").fill(token)
    await page.locator("form button").click()


async def test_a_page_that_is_one_too_many_says_so_and_goes_on_once_there_is_room(page: Page, tmp_path: Path) -> None:
    """A browser closes a refused stream for good: the page makes it again."""
    port = free_port()
    async with serving(tmp_path, port) as hub:
        others = [hub.watch() for _ in range(MAX_WATCHERS)]
        for other in others:
            await anext(other)
        await page.goto(f"http://{HOST}:{port}/")
        await expect(page.locator("#health")).to_contain_text(f"{MAX_WATCHERS} pages are open at this worker; close")
        await others.pop().aclose()
        await expect(page.locator("#link")).to_have_text("live")
        for other in others:
            await other.aclose()


async def test_a_page_whose_token_no_longer_holds_leads_to_the_login_and_back(page: Page, tmp_path: Path) -> None:
    """The user that was looked up is asked for again after the login, also after a token that was wrong."""
    port = free_port()
    async with serving(tmp_path / "1", port, "the first one"):
        await page.goto(f"http://{HOST}:{port}/#user=clock")
        await log_in(page, "the first one")
        await expect(page.locator("#link")).to_have_text("live")
        assert page.url.endswith("/#user=clock")
        assert await page.locator("#id").input_value() == "clock"
    async with serving(tmp_path / "2", port, "another one"):
        await log_in(page, "the first one")
        await expect(page.locator("[role=alert]")).to_contain_text("CROSSAISLE_WEB_TOKEN")
        await log_in(page, "another one")
        await expect(page.locator("#link")).to_have_text("live")
        assert page.url.endswith("/#user=clock")


async def test_a_look_up_without_a_valid_token_leads_to_the_login(page: Page, tmp_path: Path) -> None:
    """The page does not tell its reader to send a header."""
    async with serving(tmp_path, port := free_port(), "the one"):
        await page.goto(f"http://{HOST}:{port}/")
        await log_in(page, "the one")
        await expect(page.locator("#link")).to_have_text("live")
        await page.context.clear_cookies()
        await page.locator("#id").fill("clock")
        await page.locator("#id").press("Enter")
        await log_in(page, "the one")
        await expect(page.locator("#link")).to_have_text("live")
        assert page.url.endswith("/#user=clock")
