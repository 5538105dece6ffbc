"""The panels of the demo's live view: flow, hits, slates, what to try; pure functions of the state."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_app.demo.words import number, percent, seconds
from stream_app.sparkline import sparkline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from stream_app.demo.state import DemoState, Gauge, ShownHit, ShownItem, ShownSlate

ACCENT: Final = "cyan"
GOOD: Final = "green"
WARM: Final = "yellow"
NEW: Final = "magenta"
FAINT: Final = "grey58"
BORDER: Final = "grey37"

FLOW_ROWS: Final = 8
TIPS_ROWS: Final = 7
ITEMS_SHOWN: Final = 5
BASKET_SHOWN: Final = 3
PART_ROWS: Final = 4
"""A slate is cut to the rows that are left, if there are so many: whose it is, the basket, two items."""

NEW_HIT_S: Final = 2.0
"""For so many seconds a hit stands out."""

_PADDING_COLUMNS = 4
_FLOW_WORDS_COLUMNS = 35


def panel(body: RenderableType, title: str, note: str = "") -> Panel:
    """Frame a part of the screen."""
    heading = Text.assemble((title, f"bold {ACCENT}"), (f"  {note}" if note else "", FAINT))
    return Panel(body, title=heading, title_align="left", border_style=BORDER, padding=(0, 1))


def flow(state: DemoState, width: int) -> RenderableType:
    """Draw what goes in and out, how far the stages are behind, and how fresh slates are; ``FLOW_ROWS`` rows."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, style=FAINT)
    table.add_column(justify="right", no_wrap=True, min_width=7)
    table.add_column(justify="right", no_wrap=True, min_width=7)
    table.add_column(ratio=1, no_wrap=True)
    columns = max(4, width - _FLOW_WORDS_COLUMNS)
    table.add_row("events in", number(state.n_events), _rate(state.events_per_s), _curve(state.events_per_s, columns))
    table.add_row("slates out", number(state.n_slates), _rate(state.slates_per_s), _curve(state.slates_per_s, columns))
    for stage, lag in sorted(state.stage_lag.items(), reverse=True):
        table.add_row(Text(f"{stage} stage lag"), "", Text(number(lag.now), "bold"), _curve(lag, columns, WARM))
    lines = Table.grid(padding=(0, 1))
    learned = Text.assemble((number(state.n_learned), "bold"), (" and committed, each once", FAINT))
    lines.add_row(Text("learned       ", FAINT), learned)
    fresh = Text.assemble((seconds(state.freshness_p50_s), "bold"), (" (p50), ", FAINT))
    fresh.append(seconds(state.freshness_p95_s), "bold").append(" (p95)", FAINT)
    lines.add_row(Text("fresh in      ", FAINT), fresh)
    note = f"{number(state.n_households)} households, {number(state.n_baskets)} baskets"
    return panel(Group(table, lines), "flow", note)


def _rate(gauge: Gauge) -> Text:
    return Text(f"{number(gauge.now)}/s", style="bold")


def _curve(gauge: Gauge, columns: int, style: str = ACCENT) -> Text:
    return Text(sparkline(gauge.curve, columns), style=style)


def hits(state: DemoState, now_s: float, width: int, rows: int) -> RenderableType:
    """Draw the hit rate and, as far as ``rows`` go, the newest hits."""
    lines = [
        Text.assemble(
            (percent(state.hit_rate), f"bold {GOOD}"),
            f" of purchases: {number(state.n_hits)} of {number(state.n_scored)}",
        )
    ]
    room = rows - len(lines) - 2
    for hit in reversed(state.hits):
        block = _hit_lines(hit, now_s)
        if len(block) > room:
            break
        lines.extend(block)
        room -= len(block)
    for line in lines:
        line.truncate(width - _PADDING_COLUMNS, overflow="ellipsis")
    return panel(Group(*lines), "hits", "bought what was on the slate before")


def _hit_lines(hit: ShownHit, now_s: float) -> list[Text]:
    is_new = now_s - hit.at_s < NEW_HIT_S
    return [
        Text.assemble(("✓ ", f"bold {GOOD}"), (hit.title, f"bold {GOOD}" if is_new else "bold")),
        Text(f"  household {hit.user_id}, place {hit.slot + 1}: {hit.reason}", style=FAINT),
    ]


def slates(state: DemoState, now_s: float, width: int, rows: int) -> RenderableType:
    """Draw the newest slates as far as ``rows`` go."""
    lines: list[Text] = []
    room = rows - 2
    columns = width - _PADDING_COLUMNS
    for slate in reversed(state.slates):
        if lines and room < PART_ROWS:
            break
        block = _slate_lines(slate, now_s, columns)
        lines.extend(block[:room])
        room -= len(block)
    if not lines:
        lines = [Text("waiting for the first one", style=FAINT)]
    return panel(Group(*lines), "newest slates", "from other aisles than the basket")


def _slate_lines(slate: ShownSlate, now_s: float, columns: int) -> list[Text]:
    is_new = now_s - slate.at_s < 1.0
    head = Text.assemble((f"household {slate.user_id}", f"bold {ACCENT}" if is_new else "bold"))
    if slate.age_s is not None:
        head.append(f"  {seconds(slate.age_s)}", FAINT)
    basket = Text.assemble(("  in the basket: ", FAINT), _basket_words(slate.basket))
    lines = [head, basket, *(_item_line(place, item, columns) for place, item in enumerate(_shown(slate.items), 1))]
    for line in lines:
        line.truncate(columns, overflow="ellipsis")
    return [*lines, Text("")]


def _shown(items: Sequence[ShownItem]) -> list[ShownItem]:
    """Return the first items; the last of them gives way to the first new one when none of them is new."""
    shown = list(items[:ITEMS_SHOWN])
    fresh = next((item for item in items if item.is_new), None)
    if fresh is not None and shown and not any(item.is_new for item in shown):
        shown[-1] = fresh
    return shown


def _item_line(place: int, item: ShownItem, columns: int) -> Text:
    name = Text(item.title)
    name.truncate(max(16, columns // 2 - 4), overflow="ellipsis", pad=True)
    return Text.assemble((f"  {place} ", FAINT), name, "  ", (item.reason, NEW if item.is_new else FAINT))


def _basket_words(basket: Sequence[str]) -> str:
    if not basket:
        return "nothing yet"
    shown = ", ".join(basket[::-1][:BASKET_SHOWN])
    more = len(basket) - BASKET_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def tips(state: DemoState) -> list[tuple[str, str]]:
    """Return what can be tried in a second terminal while the demo runs: why, and the command."""
    crossaisle = f"CROSSAISLE_BOOTSTRAP_SERVERS={state.bootstrap_servers} {shlex.quote(state.command)}"
    pid = next((worker.pid for worker in state.workers if worker.pid is not None), None)
    found = [("how far behind", f"{crossaisle} lag --watch"), ("what is learned", f"{crossaisle} inspect totals")]
    if pid is not None:
        found.insert(0, ("nothing is lost", f"kill -9 {pid}"))
    if state.household is not None:
        found.insert(0, ("one household", f"{crossaisle} watch --user {shlex.quote(state.household)}"))
    return found


def tips_panel(state: DemoState) -> RenderableType:
    """Draw what can be tried; ``TIPS_ROWS`` rows."""
    prefix = f"CROSSAISLE_BOOTSTRAP_SERVERS={state.bootstrap_servers}"
    rows = [(command.removeprefix(f"{prefix} "), why) for why, command in tips(state)]
    table = Table.grid(padding=(0, 2))
    table.add_column(style=ACCENT, no_wrap=True, min_width=max(len(command) for command, _ in rows))
    table.add_column(style=FAINT, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(words) for words in row))
    export = Text(f"export {prefix}", style=ACCENT, no_wrap=True, overflow="ellipsis")
    return panel(Group(export, table), "try it", "in a second terminal")
