"""Small event and catalogue files for the tests of the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS = 1_900_000_000_000
START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def event(number: int, user: str, item: str, **fields: Any) -> dict[str, Any]:
    """Return a purchase, one minute after the one with the number before."""
    base = {"event_id": f"e{number}", "type": "purchase", "user_id": user, "item_id": item}
    return {**base, "event_time_ms": START_MS + 60_000 * number, **fields}


def write_lines(path: Path, records: list[Any]) -> Path:
    """Write records as JSON Lines; text as it stands."""
    lines = [record.encode() if isinstance(record, str) else msgspec.json.encode(record) for record in records]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def write_catalog(path: Path, n_items: int, n_categories: int) -> Path:
    """Write a catalogue whose item ``i7`` lies in category ``c{7 % n_categories}``."""
    entries = [{"item_id": f"i{k}", "category": ["shop", f"c{k % n_categories}"]} for k in range(n_items)]
    return write_lines(path, entries)
