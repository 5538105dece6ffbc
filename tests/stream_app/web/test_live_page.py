"""The page in a real Chromium: what people see, with no error in the console, and usable without a mouse or eyes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

    from stream_app.broker import EmbeddedBroker
    from tests.stream_app.web.conftest import Pair

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 60_000
SILENT_MS = 6_000
"""After so long without a word the page takes its worker for dead."""


@pytest.fixture(scope="module")
def browser(pair: Pair) -> Iterator[Browser]:
    """Return a real Chromium, started after the workers: Playwright keeps an event loop in this thread."""
    del pair
    if CHROMIUM is None:
        pytest.skip("Chromium is not here: apt-get install chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a tab that fails the test when anything is printed to its console or asked of another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    trouble: list[str] = []
    page.on("console", lambda message: "404" in message.text or trouble.append(message.text))  # Chromium tells each one
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: "127.0.0.1" in request.url or trouble.append(request.url))
    yield page
    context.close()
    assert trouble == []


def opened(page: Page, pair: Pair, fragment: str = "") -> None:
    """Open the page at the second worker, and wait until it shows slates and the state."""
    page.goto(pair.url(1, "/" + fragment))
    pair.send(12)
    page.wait_for_selector("#slates li")
    page.wait_for_selector("#lags tr")


def test_people_see_what_goes_on(page: Page, pair: Pair) -> None:
    """Health in words, rates, slates with titles, partitions with owners, workers, rejects with reasons."""
    opened(page, pair)
    expect(page.locator("#health")).to_contain_text("Everything is learned")
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#slates")).to_contain_text("Thing item-")
    expect(page.locator("#lags tr")).to_have_count(2 * harness.N_PARTITIONS)
    for worker in (0, 1):
        expect(page.locator("#workers")).to_contain_text(pair.url(worker).removeprefix("http://"))
    expect(page.locator("#rejects")).to_contain_text("not_json")
    expect(page.locator("#rejects td").first).to_have_css("white-space", "nowrap")
    expect(page.locator("#types")).to_contain_text("purchase")
    expect(page.locator("svg.spark[aria-label*='Events learned']")).to_be_visible()


def test_a_page_that_is_opened_anew_shows_what_it_showed(page: Page, pair: Pair) -> None:
    """The slates of before are there at once, each once, and so are the rejects, though nothing new comes."""
    opened(page, pair)
    harness.wait_for(lambda: page.locator("#rejects tr").count() > 0, "the rejects")
    n_rejects = page.locator("#rejects tr").count()
    for _ in range(2):
        page.goto("about:blank")
        page.goto(pair.url(1, "/"))
        page.wait_for_selector("#slates li")
        harness.wait_for(lambda: page.evaluate("state !== null && points.length > 3"), "some states")
        assert page.locator("#no-slates").is_hidden()
        slates = page.evaluate("[...document.querySelectorAll('#slates > li')].map((row) => row.dataset.slate)")
        assert len(set(slates)) == len(slates) > 0
        assert page.locator("#rejects tr").count() == n_rejects


def test_a_user_and_an_item_are_looked_up_with_the_keyboard(page: Page, pair: Pair) -> None:
    """Type an id, press Enter, follow a recommendation with Enter; the address keeps what is shown."""
    opened(page, pair)
    expect(page.locator("#found")).to_contain_text("User user-")  # somebody stands as an example until one is asked for
    page.locator("#id").focus()
    page.keyboard.type("user-1")
    page.keyboard.press("Enter")
    found = page.locator("#found")
    expect(found.locator("h3")).to_have_text("User user-1")
    expect(found).to_contain_text("Recommended now")
    expect(found).to_contain_text("What they did")
    expect(found).to_contain_text(re.compile(r"\d %"))
    found.locator("ol .link").first.focus()
    page.keyboard.press("Enter")
    expect(found).to_contain_text("Goes with")
    expect(found).to_contain_text(re.compile(r"As of \d{4}-\d\d-\d\d, when the newest event"))
    assert "#item=" in page.url
    page.go_back()
    expect(found.locator("h3")).to_have_text("User user-1")
    page.locator("#id").fill("<img src=x onerror=alert(1)>")
    page.locator("#kind").select_option("item")
    page.keyboard.press("Tab")
    page.locator("form.look button").press("Enter")
    expect(found).to_contain_text("no event about it was learned")
    assert page.locator("#found img").count() == 0


def test_things_of_one_name_are_told_apart(page: Page, pair: Pair) -> None:
    """Two items of a slate with the same title have their ids behind it; others have the title alone."""
    opened(page, pair)
    items = [{"item_id": "a", "title": "Milk"}, {"item_id": "b", "title": "Milk"}, {"item_id": "c", "title": "Eggs"}]
    assert page.evaluate("(items) => items.map((item) => told(item, items))", items) == ["Milk (a)", "Milk (b)", "Eggs"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_nothing(page: Page, pair: Pair, width: int, scheme: str) -> None:
    """No violation of accessibility at desktop and phone width, light and dark; nothing sticks out of the screen."""
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    opened(page, pair, "#user=user-1")
    expect(page.locator("#found")).to_contain_text("Recommended now")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme


def test_the_theme_can_be_chosen_and_the_feed_paused(page: Page, pair: Pair) -> None:
    """The choice outlives a visit; a paused feed stands still."""
    opened(page, pair)
    page.locator("#theme").press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#pause").press("Enter")
    before = page.locator("#slates").inner_text()
    points = page.evaluate("points.length")
    pair.send(12)
    harness.wait_for(lambda: page.evaluate("points.length") >= points + 3, "three more states")
    assert page.locator("#slates").inner_text() == before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_worker_that_hangs_shows_on_the_page_of_the_other(page: Page, pair: Pair) -> None:
    """Its partitions' lag grows there, and the health says which worker does not answer."""
    opened(page, pair)
    address = pair.url(0).removeprefix("http://")
    theirs = page.locator("#lags tr", has_text=address).filter(has_text="events")
    expect(theirs).to_have_count(len(pair.owned(0)))
    pair.workers[0].signal(signal.SIGSTOP)
    try:
        expect(page.locator("#health")).to_contain_text(f"Worker {address} does not answer")
        before = 0
        for _ in range(2):
            pair.send(200)
            harness.wait_for(lambda: shown_lag(theirs) > before, "the page to show the lag grow")  # noqa: B023 - at once
            before = shown_lag(theirs)
    finally:
        pair.workers[0].signal(signal.SIGCONT)
    expect(page.locator("#health")).to_contain_text("Everything is learned")


def test_a_page_whose_own_worker_hangs_does_not_look_well(page: Page, pair: Pair) -> None:
    """What stands on it is old: the health says so in red, and all is well again once the worker answers."""
    opened(page, pair)
    expect(page.locator("#health")).to_contain_text("Everything is learned")
    pair.workers[1].signal(signal.SIGSTOP)
    try:
        expect(page.locator("#health")).to_contain_text("This page's worker does not answer. What is shown is from")
        assert page.locator("#health").get_attribute("data-level") == "bad"
        assert page.title().startswith("! ")
    finally:
        pair.workers[1].signal(signal.SIGCONT)
    expect(page.locator("#health")).to_contain_text("Everything is learned")
    expect(page.locator("#link")).to_have_text("live")


def test_a_broker_that_is_away_is_named_and_not_the_worker(page: Page, pair: Pair, broker: EmbeddedBroker) -> None:
    """The page says since when Kafka does not answer, also to who opens it then, and all is well again afterwards."""
    opened(page, pair)
    expect(page.locator("#health")).to_contain_text("Everything is learned")
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            expect(page.locator("#health")).to_contain_text("Kafka does not answer (since 20")
            expect(page.locator("#link")).to_have_text("Kafka does not answer")
            page.wait_for_timeout(SILENT_MS)  # it is silence that makes the page call a worker dead
            expect(page.locator("#health")).not_to_contain_text("worker does not answer")
            n_points = page.evaluate("points.length")
            assert len(set(page.evaluate("points.map((point) => point.at_ms)"))) == n_points
            status, state = pair.get(1, "/state")
            assert (status, state["kafka_answers"]) == (200, False)
            assert state["now_ms"] - state["at_ms"] > SILENT_MS / 2
            page.reload()
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    expect(page.locator("#health")).to_contain_text("Everything is learned")
    expect(page.locator("#link")).to_have_text("live")


def test_an_address_that_cannot_be_read_is_said_so(page: Page, pair: Pair) -> None:
    """What is no percent-encoded UTF-8 gives a sentence, and the next id is looked up."""
    for fragment in ("#user=%ZZ", "#item=%FF", "#user=%"):
        page.goto("about:blank")
        opened(page, pair, fragment)
        expect(page.locator("#found")).to_contain_text("is not percent-encoded UTF-8")
    page.locator("#id").fill("user-1")
    page.locator("form.look button").press("Enter")
    expect(page.locator("#found h3")).to_have_text("User user-1")


def test_ids_that_a_browser_cannot_ask_for_are_said_so(page: Page, pair: Pair) -> None:
    """Dots are taken for a way up the address, however they are written: the page says so, and who can tell."""
    opened(page, pair)
    for user in (".", ".."):
        page.locator("#id").fill(user)
        page.locator("form.look button").press("Enter")
        expect(page.locator("#found")).to_contain_text(f"crossaisle inspect user {user} tells what is known")


def test_an_unknown_user_is_told_in_words_for_readers(page: Page, pair: Pair) -> None:
    """What a program could ask for instead is of no use to them; that the id may be misspelt is."""
    opened(page, pair, "#user=nobody")
    expect(page.locator("#found")).to_contain_text("Check the id")
    expect(page.locator("#found")).not_to_contain_text("fallback")


def test_the_policy_fits_the_narrowest_phones(page: Page, pair: Pair) -> None:
    """Nothing of it sticks out of a screen of 320 pixels, whatever the arms earn and are called."""
    page.set_viewport_size({"width": 320, "height": 640})
    opened(page, pair)
    arm = {"low": 0.1, "high": 0.9, "reward": 0.5, "n_slates": 123_456}
    arms = [
        {**arm, "name": "cascade-dr", "standing": 0.5, "standing_low": 0.25, "standing_high": 0.75},
        {**arm, "name": "greedy-with-a-name-that-never-ends"},
    ]
    width = page.evaluate(
        "(arms) => { state.arms = arms; drawArms(); return document.documentElement.scrollWidth; }", arms
    )
    assert width <= 320


@pytest.mark.parametrize("width", [360, 1280])
def test_long_names_take_two_lines(page: Page, pair: Pair, width: int) -> None:
    """A title, an id or a category of any length leaves the page in shape; all of it stands on hover."""
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, pair)
    long = {"broken": "Extra virgin olive oil " * 28 + "end", "whole": "x" * 640}
    items = [
        {
            "item_id": name,
            "title": title,
            "category": title,
            "score": 0.5,
            "propensity": 1,
            "reason": f"together:{title}",
        }
        for name, title in long.items()
    ]
    slate = {"slate_id": "9-9", "user_id": "u" * 256, "context_categories": [*long.values()], "items": items}
    slate |= {"policy": "greedy", "source": "published", "emitted_at_ms": 1}
    did = [{**item, "count": 1, "last_ms": 1} for item in items]
    user = {"user_id": "u" * 256, "n_events": 1, "last_event_ms": 1, "repeat_rate": 0, "slate": slate, "items": did}
    item = {"title": items[0]["title"], "item_id": "i", "category": [*long.values()], "is_available": True}
    item |= {"popularity": {"1 d": 1, "7 d": 1, "30 d": 1}, "n_interactions": 1, "n_repeat": 0}
    item |= {"n_events": 1, "as_of_ms": 1, "trend": "rising"}
    item |= {"neighbours": [{**each, "share": 0.5} for each in items]}
    page.evaluate("(slate) => drawSlates([slate])", slate)
    page.locator("#pause").press("Enter")
    for view in (f"userView({json.dumps(user)})", f"itemView({json.dumps(item)})"):
        page.evaluate(f"$('found').replaceChildren(...{view})")
        heights = page.evaluate(
            "[...document.querySelectorAll('.clamp')].map((name) =>"
            " name.getBoundingClientRect().height / parseFloat(getComputedStyle(name).lineHeight))"
        )
        assert max(heights) == pytest.approx(2.0, abs=0.1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for title in long.values():
            assert page.locator(f".clamp[title='{title}']").count() > 0
    height = page.evaluate("document.querySelector('#slates > li').getBoundingClientRect().height")
    assert height < width  # a slate of two such items is not a screen high


def shown_lag(rows: Locator) -> int:
    """Return the lag in events that rows of the table of partitions show, added up."""
    return sum(int(row.locator("td").nth(2).inner_text().replace(",", "")) for row in rows.all())
