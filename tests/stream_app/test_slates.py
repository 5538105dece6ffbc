"""Slates of long names: within what their topic takes, with as many context categories as there is room for."""

from __future__ import annotations

import json

import pytest

from operators.rank import MAX_LISTED_CATEGORIES
from stream_app.record_size import EMPTY_BATCH_BYTES, TOPIC_BYTES, record_bytes
from stream_app.records import AsOf, Slate, SlateItem, decode_slate
from stream_app.settings import Settings
from stream_app.slates import MOST_LABEL_CHARACTERS, SLATE_BYTES, fitting
from tests.stream_app.test_user_stage import NOW_MS, Record, World, event

LEVELS = 32
MOST_ID_BYTES = 4_096


def a_slate(contexts: list[str], labels: list[str], text: str = "x") -> Slate:
    """Return a slate with ids of this text."""
    items = [SlateItem(text, label, 0.123456, 0.123456, f"together:{text}") for label in labels]
    return Slate(
        "99999-9223372036854775807", text, AsOf(99999, 2**63 - 1), NOW_MS, NOW_MS, "explore", 9, contexts, items
    )


@pytest.mark.parametrize("letter", ["a", "é", "\x01", '"'])
def test_context_categories_are_cut_to_the_room(letter: str) -> None:
    """The first ones stay, whole, and one more would have been too many; all else is as it was."""
    contexts = [f"{k} {letter * 8_000}" for k in range(256)]
    labels = [letter * 8_000] * 10
    value = fitting(a_slate(contexts, labels))
    slate = decode_slate(value)
    n = len(slate.context_categories)
    assert 0 < n < 256
    assert slate.context_categories == contexts[:n]
    assert [item.category for item in slate.items] == labels
    one_more = len(json.dumps(contexts[n], ensure_ascii=False).encode())
    assert SLATE_BYTES - one_more - 1 <= len(value) <= SLATE_BYTES


def test_a_slate_that_fits_is_whole() -> None:
    """Two hundred and fifty-six categories with names as people give them all stay."""
    contexts = [f"GROCERY / AISLE {k}" for k in range(256)]
    assert decode_slate(fitting(a_slate(contexts, ["PRODUCE / FRUIT"] * 10))).context_categories == contexts


def test_the_largest_slate_fits() -> None:
    """With the longest ids that a setting allows, of characters that take six bytes, labels are cut off, too."""
    worst = "\x01" * MOST_ID_BYTES
    assert Settings.model_fields["max_id_bytes"].metadata[1].le == MOST_ID_BYTES
    value = fitting(a_slate([worst], [" / ".join([worst] * LEVELS)] * 10, worst))
    assert record_bytes(worst.encode(), value, []) + EMPTY_BATCH_BYTES < TOPIC_BYTES
    slate = decode_slate(value)
    assert slate.context_categories == []
    assert {len(item.category) for item in slate.items} == {MOST_LABEL_CHARACTERS}
    assert len(slate.items) == 10


def test_a_shop_of_long_categories_gets_slates() -> None:
    """A user who walks through categories whose names take 46 KB of JSON each gets a slate that the topic takes."""
    world = World()
    names = [f"i{k}" for k in range(100)]
    entries = [
        {"item_id": name, "category": [f"{name}-{level}" + "\x01" * 240 for level in range(LEVELS)]} for name in names
    ]
    world.replica.apply_catalog([Record(e["item_id"].encode(), json.dumps(e).encode()) for e in entries])
    assert len(world.replica.listed) == len(names)
    world.users.process([event(k, "bob", name, session_id="b") for k, name in enumerate(names[50:])], NOW_MS)
    world.commit()
    world.users.process([event(k, "ann", name, session_id="s") for k, name in enumerate(names[:50])], NOW_MS)
    world.commit()
    value = world.slates[-1]
    assert SLATE_BYTES - 50_000 < len(value) <= SLATE_BYTES
    slate = decode_slate(value)
    assert len(slate.items) == 10
    assert 0 < len(slate.context_categories) < MAX_LISTED_CATEGORIES
    assert not {item.category for item in slate.items} & set(slate.context_categories)
