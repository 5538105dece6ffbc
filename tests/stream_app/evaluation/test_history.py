"""The truth before an event: contexts, what was had, and what a forget leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.evaluation.history import UNKNOWN, History, Numbering
from stream_app.evaluation.source import read_catalog
from stream_app.records import Event
from stream_app.settings import Settings
from tests.stream_app.evaluation.files_of import HOUR_MS, START_MS, event, write_catalog

if TYPE_CHECKING:
    from pathlib import Path


def history_of(tmp_path: Path) -> History:
    """Return an empty history over twelve items in four categories."""
    return History(Numbering(read_catalog(write_catalog(tmp_path / "catalog.jsonl", 12, 4), Settings())))


def a(number: int, item: str, **fields: Any) -> Event:
    """Return an event of user u."""
    return msgspec.convert(event(number, "u", item, **fields), Event)


def names(history: History, numbers: frozenset[int]) -> set[str]:
    """Return item ids for numbers."""
    return {history.numbering.item_ids[number] for number in numbers}


def test_session_is_the_context(tmp_path: Path) -> None:
    """With a session the context is its items, however long ago, and nothing of other sessions."""
    history = history_of(tmp_path)
    history.learn(a(0, "i1", session_id="s1"))
    history.learn(a(1, "i2", session_id="s2"))
    before = history.before(a(5_000, "i5", session_id="s1"))
    assert names(history, before.context) == {"i1"}
    assert not before.crosses
    assert history.before(a(5_001, "i6", session_id="s1")).crosses


def test_last_ten_events_within_a_day(tmp_path: Path) -> None:
    """Without a session the context is the last ten events of at most 24 hours ago."""
    history = history_of(tmp_path)
    for k in range(12):
        history.learn(a(k, f"i{k}"))
    at = START_MS + 60_000 * 12
    now = a(12, "i0", event_time_ms=at)
    assert names(history, history.before(now).context) == {f"i{k}" for k in range(2, 12)}
    later = a(12, "i0", event_time_ms=START_MS + 60_000 * 8 + 24 * HOUR_MS)
    assert names(history, history.before(later).context) == {"i8", "i9", "i10", "i11"}


def test_had_and_new_category(tmp_path: Path) -> None:
    """Had and new category look at all that the user did before; impressions are not deeds."""
    history = history_of(tmp_path)
    history.learn(a(0, "i1"))
    history.learn(a(1, "i2", type="impression"))
    same, sibling, shown = (history.before(a(9, item, session_id="s")) for item in ("i1", "i5", "i2"))
    assert (same.had, same.had_category, same.n_events, same.n_item_events) == (True, True, 1, 1)
    assert (sibling.had, sibling.had_category) == (False, True)
    assert (shown.had, shown.had_category) == (False, False)


def test_unknown_items_do_not_cross(tmp_path: Path) -> None:
    """An item that the catalogue does not know has no category: no list can be measured on it but O."""
    history = history_of(tmp_path)
    before = history.before(a(0, "nobody knows"))
    assert before.category == UNKNOWN
    assert not before.crosses


def test_forget_erases(tmp_path: Path) -> None:
    """After a forget the user is nobody, and the items keep their counts."""
    history = history_of(tmp_path)
    history.learn(a(0, "i1"))
    history.learn(msgspec.convert({**event(1, "u", "i1"), "type": "forget", "item_id": None}, Event))
    before = history.before(a(2, "i1"))
    assert (before.had, before.n_events, before.n_item_events) == (False, 0, 1)
    assert history.n_users == 0
