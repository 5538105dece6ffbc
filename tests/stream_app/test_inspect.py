"""How inspected state is drawn for people: within the terminal, times as dates, titles as they are."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from stream_app.cli.inspect import MOST_ROWS, draw

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
