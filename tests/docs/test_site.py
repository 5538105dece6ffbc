"""The documentation as a whole: it builds strictly, loads nothing from elsewhere, and no link in it is dead."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stream_app.settings import PREFIX, Settings
from tests.docs.pages import DOCS, PAGES, ROOT, anchors, name_of

NO_SETTINGS = {"CROSSAISLE_FAULT"}
"""Variables that tests set."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site; building fails on any warning."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(DOCS / "site" / "mkdocs.yml")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([*command, "-d", str(out)], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return out


class _Loaded(HTMLParser):
    """Collects what a page makes the browser load, and what its links lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"script", "img", "source", "iframe", "object"}:
            self.loaded.append(values.get("src") or values.get("data") or "")
        if tag == "link" and values.get("rel") in {"stylesheet", "preload", "icon", "preconnect", "dns-prefetch"}:
            self.loaded.append(values.get("href") or "")


def test_every_page_is_built(site: Path) -> None:
    """Each Markdown file of docs is a page of the site."""
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").exists(), page


def test_the_examples_are_on_their_page(site: Path) -> None:
    """Each file of docs/examples that is included is there with its code, and no mark of an inclusion is left."""
    source = (DOCS / "how-to" / "connect.md").read_text(encoding="utf-8")
    included = re.findall(r'--8<-- "(.+)"', source)
    assert len(included) == 8
    page = re.sub(r"<[^>]+>", "", (site / "how-to" / "connect.html").read_text(encoding="utf-8"))
    assert "--8" not in page
    for name in included:
        code = max((DOCS / name).read_text(encoding="utf-8").splitlines(), key=len).strip()
        assert code in html.unescape(page), name


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Fonts, scripts, styles and images come with the site."""
    n_loaded = 0
    for page in site.rglob("*.html"):
        found = _Loaded()
        found.feed(page.read_text(encoding="utf-8"))
        n_loaded += len(found.loaded)
        assert [address for address in found.loaded if re.match(r"(https?:)?//", address)] == [], page
    assert n_loaded
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_pictures_load_nothing_and_say_what_they_show() -> None:
    """Drawings have a title and a description, and no outside resources."""
    drawings = sorted((DOCS / "images").glob("*.svg"))
    assert drawings
    for drawing in drawings:
        text = drawing.read_text(encoding="utf-8")
        assert "<title" in text, drawing
        assert not re.search(r"(href|src)=[\"']?https?:|@import|url\((?!#)", text), drawing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_dead(page: Path) -> None:
    """Relative links lead to files that are there, and to headings that are in them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor and target.suffix == ".md" and "reference/topics" not in str(target):
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_variable_is_a_setting(page: Path) -> None:
    """No page names a variable that does nothing."""
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8"))) - NO_SETTINGS
    assert {variable.removeprefix(PREFIX).lower() for variable in named} <= set(Settings.model_fields)
