"""A way to read what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file."""
    with path.open("rb") as lines:
        return [json.loads(line) for line in lines]
