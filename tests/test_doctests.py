"""The examples in docstrings: all of them run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)
MODULES = sorted(
    path.relative_to(ROOT)
    for package in ("operators", "state", "stream_app")
    for path in (ROOT / package).rglob("*.py")
    if EXAMPLE.search(path.read_text(encoding="utf-8"))
)


def test_examples_are_found() -> None:
    """Modules of every layer have some."""
    assert {path.parts[0] for path in MODULES} == {"operators", "state", "stream_app"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_of_a_module(path: Path) -> None:
    """None fails, and none is passed over."""
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    found = doctest.testmod(module)
    n_examples = len(EXAMPLE.findall((ROOT / path).read_text(encoding="utf-8")))
    assert (found.failed, found.attempted) == (0, n_examples)
