"""The generated reference: current, and complete."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from stream_app.channels import CHANNELS
from stream_app.records import REJECT_CODES
from stream_app.settings import PREFIX, Settings
from stream_app.web.answer import PROBLEMS
from stream_app.web.guard import Guard
from stream_app.web.pages import Pages
from tests.docs.pages import DOCS, ROOT

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """Return docs/make_reference.py as a module."""
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_current(generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is what the script writes, whatever the environment says; `make reference` renews them."""
    monkeypatch.setenv("CROSSAISLE_APP_ID", "another")
    for name, text in generator.pages().items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, f"{name} is stale: run `make reference`"


def test_no_page_is_left_over(generator: Any) -> None:
    """Each file of the folder is one that the script writes."""
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(generator.pages())


def test_everything_is_documented() -> None:
    """Each setting, topic, reject code and code of a problem stands on its page."""
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")}
    for name in Settings.model_fields:
        assert f"`{PREFIX}{name.upper()}`" in pages["settings"]
    for channel in CHANNELS:
        assert f"`CROSSAISLE_TOPIC_{channel.topic.upper()}`" in pages["topics"]
    for code in REJECT_CODES:
        assert f"`{code}`" in pages["reject-codes"]
    for code in PROBLEMS:
        assert f"`{code}`" in pages["http"]


def test_every_metric_in_the_code_is_documented() -> None:
    """Each name of a metric that the source writes down is on the page, whoever reports it."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "stream_app").rglob("*.py"))
    names = set(re.findall(r'"(crossaisle_[a-z_]+)"', source))
    assert len(names) > 10
    page = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(crossaisle_[a-z_]+?)(?:_total|_info)?`", page))
    assert names <= documented


def test_every_route_is_documented(generator: Any) -> None:
    """Each path that the worker's server knows is on the page."""
    known = dict.fromkeys(("runtime", "metrics", "lookup", "popular", "items", "hub"))
    server = web.Application()
    Pages(Settings(), guard=Guard(Settings()), **known).add_to(server)  # type: ignore[arg-type] # not asked here
    page = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")
    paths = {resource.canonical for resource in server.router.resources()}
    assert {"/", "/metrics"} <= paths
    for path in paths:
        assert f"GET {path}\n" in page or path in generator.PAGES_FOR_PEOPLE, path


def test_the_document_for_machines_is_valid_json() -> None:
    """The AsyncAPI document that the site offers is JSON and of version 3."""
    document = json.loads((DOCS / "reference" / "asyncapi.json").read_text(encoding="utf-8"))
    assert document["asyncapi"].startswith("3.")
