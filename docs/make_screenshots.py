"""Takes the pictures in docs/images: starts the demo with two workers and a Prometheus, and looks with a real Chromium.

Of the page at desktop and phone width and in the dark, while all is well and while a worker hangs on purpose; and of
the graphs that Prometheus itself draws. Run it in a checkout with the development tools, on Linux, with the packages
chromium and prometheus: ``.venv/bin/python docs/make_screenshots.py``. It takes four minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
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
PROMETHEUS_PORT = 23_590
READY_S = 600
HANGS_S = 25
GRAPHS = [
    "sum by (type) (rate(crossaisle_events_total[20s]))",
    "max by (stage, partition) (crossaisle_lag_seconds)",
    'histogram_quantile(0.95, sum by (le) (rate(crossaisle_latency_seconds_bucket{stage="user"}[20s])))',
]


@contextlib.contextmanager
def demo(seconds: int) -> Iterator[str]:
    """Run the demo with two workers; give the address of the first one's page when it has run for a while."""
    command = [str(Path(sys.executable).with_name("crossaisle")), "demo", "--workers", "2", "--port", str(PORT)]
    command += ["--rate", "40", "--no-browser"]
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


@contextlib.contextmanager
def prometheus() -> Iterator[str]:
    """Run a Prometheus that scrapes both workers once a second; give its address."""
    program = shutil.which("prometheus") or sys.exit("prometheus is not here: apt-get install prometheus")
    address = f"127.0.0.1:{PROMETHEUS_PORT}"
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "docs" / "monitoring" / "rules.yml")],
            "scrape_configs": [
                {
                    "job_name": "crossaisle",
                    "static_configs": [{"targets": [f"127.0.0.1:{PORT + n}" for n in (1, 2)]}],
                }
            ],
        }
        (Path(folder) / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")  # YAML reads JSON
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        process = subprocess.Popen([*command, f"--web.listen-address={address}", "--log.level=error"])  # noqa: S603
        try:
            yield f"http://{address}"
        finally:
            process.kill()
            process.wait()


def second_worker() -> int:
    """Return the process id of the demo's second worker."""
    wanted = f"CROSSAISLE_WEB_PORT={PORT + 2}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in environ.read_bytes().split(b"\0"):
                return int(environ.parent.name)
    sys.exit("the demo has no second worker")


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Freeze a worker meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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
    """Take one picture of the page; at a phone, of what two screens show."""
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
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()


def take_hanging(browser: Browser, url: str, name: str, pid: int) -> None:
    """Take the picture of the page soon after the other worker was frozen; it is frozen a while longer."""
    page = browser.new_page(viewport={"width": 1280, "height": 560}, device_scale_factor=1.5)
    page.goto(url)
    page.wait_for_selector("#slates li")
    with hanging(pid):
        began_s = time.monotonic()
        page.locator("#health", has_text="does not answer").wait_for()
        page.wait_for_timeout(3_000)
        page.screenshot(path=IMAGES / f"{name}.png")
        time.sleep(max(0.0, HANGS_S - (time.monotonic() - began_s)))
    page.close()


def take_item(browser: Browser, url: str, name: str) -> None:
    """Take the picture of an item's page: the first one that is recommended to the user of the address."""
    page = browser.new_page(viewport={"width": 1280, "height": 1500}, device_scale_factor=1.5)
    page.goto(url)
    page.locator("#found ol.items.full li").first.locator("a, button").first.click()
    page.locator("#found h4", has_text="Goes with").wait_for()
    page.wait_for_timeout(3_000)
    page.locator("section", has=page.locator("#found")).last.screenshot(path=IMAGES / f"{name}.png")
    page.close()


def take_graphs(browser: Browser, url: str, name: str) -> None:
    """Take the picture of the graphs that Prometheus draws."""
    query = {}
    for n, expression in enumerate(GRAPHS):
        query |= {f"g{n}.expr": expression, f"g{n}.tab": "0", f"g{n}.range_input": "2m"}
    page = browser.new_page(viewport={"width": 1100, "height": 2_300})
    page.goto(f"{url}/graph?{urllib.parse.urlencode(query)}")
    for n in range(len(GRAPHS)):
        page.locator(".rickshaw_graph svg").nth(n).wait_for()  # a flat line counts as hidden
    page.add_style_tag(content=".navbar { position: absolute !important; }")  # else it hangs over the graphs
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(2_000)
    page.screenshot(path=IMAGES / f"{name}.png")
    page.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description="Take the pictures in docs/images.")
    parser.add_argument("--seconds", type=int, default=75, help="how long the demo runs before the pictures")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with prometheus() as graphs, demo(options.seconds) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        at_user = f"{url}/#user={a_user(url)}"
        take(browser, at_user, "page-desktop", width=1280, height=1500, scheme="light", wait_s=6)
        take(browser, at_user, "page-dark", width=1280, height=1500, scheme="dark", wait_s=4)
        take(browser, at_user, "page-phone", width=390, height=1500, scheme="light", wait_s=4)
        take_item(browser, at_user, "page-item")
        take_hanging(browser, url, "page-hanging", second_worker())
        time.sleep(HANGS_S)
        take_graphs(browser, graphs, "prometheus")
        browser.close()


if __name__ == "__main__":
    main()
