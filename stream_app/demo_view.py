"""The demo's live terminal view: one pure function from the demo's state to something rich can draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.layout import Layout
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stream_app.demo_state import StepStatus
from stream_app.demo_words import clock, number, percent, seconds, shop_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from stream_app.demo_state import DemoState, Gauge, ShownHit, ShownSlate, Step

BARS: Final = "▁▂▃▄▅▆▇█"
WIDE: Final = 104
"""From this many columns on, the slates stand beside the numbers; below it, under them."""

LEFT_COLUMNS: Final = 48
FLOW_ROWS: Final = 9
HITS_ROWS_NARROW: Final = 6
ITEMS_SHOWN: Final = 5
BASKET_SHOWN: Final = 3

ACCENT: Final = "cyan"
GOOD: Final = "green"
WARM: Final = "yellow"
FAINT: Final = "bright_black"
BORDER: Final = "grey37"


def sparkline(values: Sequence[float], columns: int) -> str:
    """Draw the newest ``columns`` values as bars from zero to the largest of them.

    >>> sparkline([0, 1, 2, 4], 4)
    '▁▂▄█'
    >>> sparkline([0, 0], 4)
    '▁▁'
    """
    shown = list(values)[-columns:] if columns > 0 else []
    top = max(shown, default=0.0)
    if top <= 0.0:
        return BARS[0] * len(shown)
    return "".join(BARS[min(len(BARS) - 1, int(max(0.0, value) / top * (len(BARS) - 1)))] for value in shown)


def render(state: DemoState, now_s: float, width: int, height: int) -> RenderableType:
    """Draw the whole screen.

    Parameters
    ----------
    state
        What the demo knows; only read.
    now_s
        The present, in seconds of the clock that the state's times come from.
    width, height
        Size of the terminal in columns and rows.
    """
    root = Layout()
    root.split_column(
        Layout(_header(state, now_s), name="header", size=3),
        Layout(name="body"),
        Layout(_footer(state), name="footer", size=1),
    )
    body_rows = max(4, height - 4)
    if not state.is_open:
        root["body"].update(_start_up(state, now_s))
    elif width >= WIDE:
        root["body"].split_row(Layout(name="left", size=LEFT_COLUMNS), Layout(name="right"))
        root["body"]["left"].split_column(
            Layout(_flow(state, LEFT_COLUMNS), size=FLOW_ROWS),
            Layout(_hits(state, now_s, LEFT_COLUMNS, body_rows - FLOW_ROWS)),
        )
        root["body"]["right"].update(_slates(state, now_s, width - LEFT_COLUMNS, body_rows))
    else:
        root["body"].split_column(
            Layout(_flow(state, width), size=FLOW_ROWS),
            Layout(_slates(state, now_s, width, max(4, body_rows - FLOW_ROWS - HITS_ROWS_NARROW))),
            Layout(_hits(state, now_s, width, HITS_ROWS_NARROW), size=HITS_ROWS_NARROW),
        )
    return root


def _header(state: DemoState, now_s: float) -> RenderableType:
    title = Text.assemble((" crossaisle ", f"bold black on {ACCENT}"), ("  real purchases in, cross-aisle slates out", ""))
    table = Table.grid(expand=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    when = Text(clock(now_s - state.started_s), style=FAINT)
    if state.shop_time_ms is not None:
        when = Text.assemble(("in the shop: ", FAINT), (shop_time(state.shop_time_ms), "bold"), "   ", when)
    table.add_row(title, when)
    table.add_row(_status_line(state), Text(""))
    return table


def _status_line(state: DemoState) -> Text:
    line = Text(" ")
    if state.bootstrap_servers:
        line.append("● ", GOOD).append("Apache Kafka ").append(state.bootstrap_servers, "bold").append("   ")
    for worker in state.workers:
        if worker.pid is None:
            line.append("○ ", "red").append(f"worker {worker.number} is down   ")
            continue
        line.append("● ", GOOD if worker.ready else WARM).append(f"worker {worker.number} ")
        line.append(f"pid {worker.pid}", "bold").append("" if worker.ready else " starting").append("   ")
    return line


def _footer(state: DemoState) -> Text:
    if state.notices:
        return Text.assemble((" ! ", f"bold {WARM}"), (state.notices[-1], WARM))
    if state.closing:
        return Text(" closing the shop: letting the worker commit, stopping everything", style=WARM)
    if state.all_sent:
        return Text(" all events of the file are sent · Ctrl-C ends the demo and shows a summary", style=FAINT)
    return Text(" Ctrl-C ends the demo and shows a summary", style=FAINT)


def _panel(body: RenderableType, title: str, note: str = "") -> Panel:
    heading = Text.assemble((title, f"bold {ACCENT}"), (f"  {note}" if note else "", FAINT))
    return Panel(body, title=heading, title_align="left", border_style=BORDER, padding=(0, 1))


def _start_up(state: DemoState, now_s: float) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=2)
    table.add_column(no_wrap=True)
    table.add_column(style=FAINT)
    for step in state.steps.values():
        table.add_row(_step_mark(step, now_s), _step_name(step), step.note)
    return _panel(Group(Text(""), table), "opening the shop", "the first time takes a few minutes, later some seconds")


def _step_mark(step: Step, now_s: float) -> RenderableType:
    if step.status is StepStatus.DONE:
        return Text("✓", style=f"bold {GOOD}")
    if step.status is StepStatus.WAITING:
        return Text("·", style=FAINT)
    return Spinner("dots", style=WARM).render(now_s)


def _step_name(step: Step) -> Text:
    return Text(step.name, style=FAINT if step.status is StepStatus.WAITING else "bold")


def _flow(state: DemoState, width: int) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, style=FAINT)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    columns = max(4, width - 36)
    table.add_row("events in", number(state.n_events), _rate(state.events_per_s), _curve(state.events_per_s, columns))
    table.add_row("learned", number(state.n_learned), "", Text("committed, each once", style=FAINT))
    table.add_row("slates out", number(state.n_slates), _rate(state.slates_per_s), _curve(state.slates_per_s, columns))
    for stage, lag in sorted(state.stage_lag.items(), reverse=True):
        table.add_row(f"{stage} stage lag", number(lag.now), "", _curve(lag, columns, WARM))
    table.add_row("fresh in", _bold(seconds(state.freshness_p50_s)), "", _freshness_tail(state))
    return _panel(table, "flow", f"{number(state.n_households)} households, {number(state.n_baskets)} baskets")


def _freshness_tail(state: DemoState) -> Text:
    return Text(f"half of the slates; 95 % in {seconds(state.freshness_p95_s)}", style=FAINT)


def _rate(gauge: Gauge) -> Text:
    return Text(f"{number(gauge.now)}/s", style="bold")


def _bold(words: str) -> Text:
    return Text(words, style="bold")


def _curve(gauge: Gauge, columns: int, style: str = ACCENT) -> Text:
    return Text(sparkline(gauge.curve, columns), style=style)


def _hits(state: DemoState, now_s: float, width: int, rows: int) -> RenderableType:
    lines: list[RenderableType] = [
        Text.assemble(
            (f"{percent(state.hit_rate)} ", f"bold {GOOD}"),
            f"{number(state.n_hits)} of {number(state.n_scored)} purchases were",
        ),
        Text("on the slate that the household had", style=FAINT),
    ]
    room = (rows - 2 - len(lines)) // 2
    for hit in list(state.hits)[::-1][: max(0, room)]:
        lines.extend(_hit_lines(hit, now_s, width - 4))
    return _panel(Group(*lines), "hits")


def _hit_lines(hit: ShownHit, now_s: float, width: int) -> Iterable[Text]:
    fresh = now_s - hit.at_s < 2.0  # noqa: PLR2004  # seconds for which a new hit stands out
    title = Text.assemble(("✓ ", f"bold {GOOD}"), (hit.title, f"bold {GOOD}" if fresh else "bold"))
    title.truncate(width, overflow="ellipsis")
    where = Text(f"  household {hit.user_id}, place {hit.slot + 1} · {hit.reason}", style=FAINT)
    where.truncate(width, overflow="ellipsis")
    return title, where


def _slates(state: DemoState, now_s: float, width: int, rows: int) -> RenderableType:
    blocks: list[RenderableType] = []
    room = rows - 2
    for slate in reversed(state.slates):
        block = _slate_lines(slate, now_s, width - 4)
        if len(block) > room:
            break
        blocks.extend(block)
        room -= len(block)
    if not blocks:
        blocks = [Text("waiting for the first one", style=FAINT)]
    return _panel(Group(*blocks), "newest slates", "what each household is shown, from other aisles than its basket")


def _slate_lines(slate: ShownSlate, now_s: float, width: int) -> list[Text]:
    fresh = now_s - slate.at_s < 1.0
    head = Text.assemble((f"household {slate.user_id}", f"bold {ACCENT}" if fresh else "bold"), ("  ", ""))
    head.append("in the basket: ", FAINT).append(_basket_words(slate.basket))
    if slate.age_s is not None:
        head.append(f"  {seconds(slate.age_s)}", FAINT)
    head.truncate(width, overflow="ellipsis")
    lines = [head]
    title_columns = max(16, width // 2 - 4)
    for place, item in enumerate(slate.items[:ITEMS_SHOWN], start=1):
        line = Text.assemble((f"  {place} ", FAINT))
        name = Text(item.title)
        name.truncate(title_columns, overflow="ellipsis", pad=True)
        line.append_text(name).append("  ").append(item.reason, FAINT)
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    lines.append(Text(""))
    return lines


def _basket_words(basket: Sequence[str]) -> str:
    if not basket:
        return "nothing yet"
    shown = ", ".join(basket[::-1][:BASKET_SHOWN])
    more = len(basket) - BASKET_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
