"""Keeps the site's table of contents and the pages that there are together, so that a page can be added by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Leave out of the table of contents what is not there, and put pages that it does not name at its end."""
    docs = Path(config["docs_dir"])
    named: set[str] = set()
    config["nav"] = _there(config["nav"], docs, named)
    others = sorted(str(path.relative_to(docs)) for path in docs.glob("*.md") if path.name not in named)
    if others:
        config["nav"].append({"More": others})
    return config


def _there(entries: list[Any], docs: Path, named: set[str]) -> list[Any]:
    kept = []
    for entry in entries:
        ((title, what),) = entry.items()
        if isinstance(what, list):
            kept.append({title: _there(what, docs, named)})
        elif (docs / what).exists():
            kept.append(entry)
            named.add(what)
    return kept
