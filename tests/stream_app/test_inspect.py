"""What inspecting committed state finds, and how that is drawn for people: times as dates, titles as they are."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from state.codec import KIND_HEADER, page_key
from state.ids import hash_id
from state.layout import ENTITY_HEADER, EPOCH_2000_S, USER_HEADER, disk_layout
from stream_app.changelog import CHECKPOINT_KEY
from stream_app.cli import CommandError
from stream_app.cli.inspect import MOST_ROWS, draw
from stream_app.cli.main import app
from stream_app.inspect import inspect_item
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings

USER: dict[str, Any] = {
    "user_id": "ann",
    "n_events": 12_345,
    "last_event_ms": 1_483_568_705_000,
    "repeat_rate": 0.25,
    "items": [
        {
            "item_id": f"item-{k}",
            "title": "Soup [b]very[/b] hot, with a title that is rather long",
            "count": k,
            "decayed_14d": 0.5,
            "decayed_90d": 0.75,
            "first_ms": 1_483_568_705_000,
            "last_ms": 1_483_568_705_000,
            "bought": True,
            "disliked": False,
        }
        for k in range(MOST_ROWS + 5)
    ],
    "categories": [{"category": ["FOOD", "SOUP"], "n_sessions": 2, "last_ms": 1_483_568_705_000}],
    "last_slate": ["item-1", None],
}


def drawn(found: dict[str, Any], width: int) -> str:
    """Return what is printed on a terminal of some width."""
    console = Console(file=io.StringIO(), width=width)
    for part in draw(found):
        console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_facts_are_readable() -> None:
    """Times are dates, counts have separators, a title's brackets are no markup, and what is left out is counted."""
    text = drawn(USER, 200)
    assert "12,345" in text
    assert "2017-01-04" in text
    assert "1483568705000" not in text
    assert "Soup [b]very[/b] hot" in text
    assert "FOOD / SOUP" in text
    assert "and 5 more: --json has all of them" in text


def test_a_narrow_terminal_keeps_numbers_whole() -> None:
    """At 80 columns every count and date stays whole; only texts break."""
    lines = drawn(USER, 80).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert sum("2017-01-04" in line for line in lines) == MOST_ROWS + 2
    assert not any("\u2026" in line for line in lines if "2017" in line)


def test_totals_and_nothing() -> None:
    """Sums by type are listed in words; empty lists are told."""
    text = drawn({"n_events": 3, "by_type": {"cart": 1, "view": 2}, "last_slate": [], "items": []}, 80)
    assert "cart 1, view 2" in text
    assert "none" in text


def test_a_title_cannot_give_orders_to_the_terminal() -> None:
    """Control characters are written out, in facts and in tables."""
    text = drawn({"user_id": "a\x1b[2J", "last_slate": ["b\x1b[2J"], "items": [{"title": "c\x1b[2J"}]}, 80)
    assert "\x1b" not in text
    assert text.count(r"\x1b[2J") == 3


def header(layout: np.dtype, name: str) -> tuple[bytes, bytes]:
    """Return the changelog record of a row without events."""
    record = np.zeros(1, disk_layout(layout))
    record["id"] = hash_id(name)
    return page_key(hash_id(name), KIND_HEADER), record.tobytes()


@pytest.mark.parametrize(
    ("subject", "topic", "layout"), [("user", "user_state", USER_HEADER), ("item", "item_state", ENTITY_HEADER)]
)
def test_state_of_another_format_is_told(
    app_settings: Settings, monkeypatch: pytest.MonkeyPatch, subject: str, topic: str, layout: np.dtype
) -> None:
    """The error names the topic and says what to do; it is no traceback."""
    harness.make_topics(app_settings)
    name = str(getattr(app_settings, f"topic_{topic}"))
    key, value = header(layout, "ann")
    harness.send(app_settings, [(key, value + bytes(8))], topic=name)
    for variable, text in harness.environment(app_settings).items():
        monkeypatch.setenv(variable, text)
    done = CliRunner().invoke(app, ["inspect", subject, "ann"])
    assert isinstance(done.exception, CommandError)
    assert str(done.exception).startswith(f"topic {name}: page with fields")
    assert "another version wrote it" in str(done.exception)
    harness.send(app_settings, [(CHECKPOINT_KEY, b'{"format_version":0}')], topic=name)
    done = CliRunner().invoke(app, ["inspect", "totals"])
    assert isinstance(done.exception, CommandError)
    assert str(done.exception).startswith(f"topic {name}: a checkpoint cannot be read")


def test_a_title_is_what_the_newest_entry_says(app_settings: Settings) -> None:
    """Each entry says all of it: one without a title takes the title away, and so does a tombstone."""
    harness.make_topics(app_settings)
    harness.send(app_settings, [header(ENTITY_HEADER, "soup")], topic=app_settings.topic_item_state)
    entry = {"item_id": "soup", "category": ["FOOD"]}
    titled = json.dumps({**entry, "title": "Hot soup"}).encode()
    found = []
    for value in (titled, json.dumps(entry).encode(), titled, None):
        harness.send(app_settings, [(b"soup", value)], topic=app_settings.topic_catalog)
        found.append(asyncio.run(inspect_item(app_settings, "soup"))["title"])
    assert found == ["Hot soup", None, "Hot soup", None]


def test_an_items_popularity_is_as_of_the_newest_event(app_settings: Settings) -> None:
    """What is left of it by the time of the newest event of all items is told, as the page does."""
    harness.make_topics(app_settings)
    for name, t_s, popularity in (("soup", 1_000, 8.0), ("tea", 1_000 + 3 * 86_400, 1.0)):
        record = np.zeros(1, disk_layout(ENTITY_HEADER))
        record["id"], record["t_s"], record["popularity"] = hash_id(name), t_s, popularity
        value = (page_key(hash_id(name), KIND_HEADER), record.tobytes())
        harness.send(app_settings, [value], topic=app_settings.topic_item_state)
    found = asyncio.run(inspect_item(app_settings, "soup"))
    assert found["popularity"] == {"3d": 4.0, "14d": 6.896, "90d": 7.817}
    assert found["as_of_ms"] == (1_000 + 3 * 86_400 + EPOCH_2000_S) * 1_000
    assert found["trend"] == "rising"
