"""The layer rules bite: a forbidden import is an error of the linter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUFF = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"


def _findings(layer: str, code: str) -> str:
    command = [RUFF, "check", "--select", "TID251", "--stdin-filename", f"{layer}/example.py", "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, cwd=ROOT, check=False).stdout


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        ("state", "aiokafka"),
        ("state", "faust"),
        ("state", "operators.learn"),
        ("state", "stream_app.settings"),
        ("operators", "aiokafka"),
        ("operators", "faust"),
        ("operators", "rocksdict"),
        ("operators", "state.store"),
        ("operators", "state.memory_store"),
        ("operators", "stream_app.settings"),
    ],
)
def test_forbidden_import(layer: str, module: str) -> None:
    """The import is refused, with the reason."""
    assert "TID251" in _findings(layer, f"import {module}\n")


@pytest.mark.parametrize(
    ("layer", "module"), [("operators", "state.layout"), ("stream_app", "operators.learn"), ("state", "rocksdict")]
)
def test_allowed_import(layer: str, module: str) -> None:
    """An import along the layers is fine."""
    assert "TID251" not in _findings(layer, f"import {module}\n")
