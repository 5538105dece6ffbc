"""B5: the same events in large commits and in small ones."""

from __future__ import annotations

import msgspec

from benchmarks.b5_bytes import bytes_with_commits
from benchmarks.offline import record
from stream_app.records import CatalogEntry, Event

N = 60
T0_MS = 1_700_000_000_000


def test_small_commits_write_more() -> None:
    """The same rows come of it; a page that several events change is written once for each commit."""
    catalog = [
        record("catalog", k, f"i{k}".encode(), msgspec.json.encode(CatalogEntry(f"i{k}", ["shop", f"c{k % 3}"])))
        for k in range(10)
    ]
    events = [
        record(
            "events", k, b"ann", msgspec.json.encode(Event(f"e{k}", "purchase", "ann", T0_MS + 1_000 * k, f"i{k % 10}"))
        )
        for k in range(N)
    ]
    large, small = (bytes_with_commits(catalog, events, batch) for batch in (N, 5))
    assert (large["batch"], small["batch"]) == (N, 5)
    for kind in ("user", "item"):
        assert large[kind]["rows"] == small[kind]["rows"]
        assert large[kind]["changelog_bytes_per_event"] < small[kind]["changelog_bytes_per_event"]
