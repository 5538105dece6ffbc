"""Takes the pictures of the page in docs/img: starts the demo with two workers and looks at it with a real Chromium.

Run it in a checkout with the development tools: ``.venv/bin/python docs/make_screenshots.py``. It takes two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "img"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PORT = 23_500
READY_S = 300


@contextlib.contextmanager
def demo(seconds: int) -> Iterator[str]:
    """Run the demo with two workers; give the address of the first one's page when it has run for a while."""
    command = [str(Path(sys.executable).with_name("crossaisle")), "demo", "--workers", "2", "--port", str(PORT)]
    command += ["--rate", "120", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - the project's own command
    url = f"http://127.0.0.1:{PORT + 1}"
    try:
        give_up_s = time.monotonic() + READY_S
        while not is_ready(url):
            if time.monotonic() > give_up_s or process.poll() is not None:
                sys.exit("the demo did not start; see what it printed")
            time.sleep(0.5)
        time.sleep(seconds)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def is_ready(url: str) -> bool:
    """Whether the worker runs and has learned something."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as response:  # noqa: S310 - of this script
            return bool(json.load(response)["learned"]["n_slates"])
    except (urllib.error.URLError, OSError):
        return False


def a_user(url: str) -> str:
    """Return the user of a slate that comes in now."""
    with urllib.request.urlopen(f"{url}/events/stream", timeout=30) as stream:  # noqa: S310 - of this script
        for line in stream:
            if line.startswith(b"data: [") and b'"slate_id"' in line:
                return str(json.loads(line[6:])[-1]["user_id"])
    sys.exit("no slate came in")


def take(browser: Browser, url: str, name: str, *, width: int, height: int, scheme: str, wait_s: float) -> None:
    """Take one picture of the page."""
    phone = width < 600  # noqa: PLR2004 - a phone's width
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=2 if phone else 1.5,
        is_mobile=phone,
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#slates li")
    page.wait_for_selector("#found h3")
    page.wait_for_timeout(1_000 * wait_s)
    page.screenshot(path=IMAGES / f"{name}.png", full_page=phone)
    context.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description="Take the pictures of the page in docs/img.")
    parser.add_argument("--url", help="a worker's page, instead of a demo started here")
    parser.add_argument("--seconds", type=int, default=100, help="how long the demo runs before the pictures")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    running = contextlib.nullcontext(options.url) if options.url else demo(options.seconds)
    with running as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        at_user = f"{url}/#user={a_user(url)}"
        take(browser, at_user, "page-desktop", width=1280, height=1180, scheme="light", wait_s=6)
        take(browser, at_user, "page-dark", width=1280, height=1180, scheme="dark", wait_s=4)
        take(browser, at_user, "page-phone", width=390, height=844, scheme="light", wait_s=4)
        browser.close()


if __name__ == "__main__":
    main()
