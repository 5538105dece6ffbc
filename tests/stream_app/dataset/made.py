"""Wheels that tests make, in the shape of the real ones, and a way to read what was written."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_app.dataset import Wheel

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file."""
    with path.open("rb") as lines:
        return [json.loads(line) for line in lines]


def make_wheel(folder: Path, package: str, files: Mapping[str, bytes]) -> tuple[Wheel, Path]:
    """Write version 1.0 of a package that pip takes for one, and return it with its file."""
    path = folder / f"{package}-1.0-py3-none-any.whl"
    facts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        for name, text in facts.items():
            wheel.writestr(f"{package}-1.0.dist-info/{name}", text)
    return Wheel(package, "1.0", hashlib.sha256(path.read_bytes()).hexdigest()), path
