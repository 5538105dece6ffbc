"""The demo's live terminal view: one pure function from the demo's state to something rich can draw, and its screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from rich.console import Group
from rich.layout import Layout
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stream_app.demo.panels import (
    ACCENT,
    FAINT,
    FLOW_ROWS,
    GOOD,
    TIPS_ROWS,
    WARM,
    flow,
    hits,
    panel,
    slates,
    tips,
    tips_panel,
)
from stream_app.demo.state import StepStatus
from stream_app.demo.words import clock, shop_time

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from stream_app.demo.state import DemoState, Step

WIDE: Final = 112
"""From this many columns on, the slates stand beside the numbers; below it, under them."""

TALL: Final = 28
"""From this many rows on there is room for a panel with what to try; below it, the last row says it in turn."""

LEFT_COLUMNS: Final = 56
HITS_ROWS_NARROW: Final = 5
TIP_S: Final = 6.0
"""Without a panel for them, each tip is shown for so many seconds."""

NOTICE_S: Final = 20.0
"""For so many seconds a notice stays."""

_HEADER_ROWS = 3
_FOOTER_ROWS = 1


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
        Layout(_header(state, now_s), name="header", size=_HEADER_ROWS),
        Layout(name="body"),
        Layout(_footer(state, now_s, has_tips_panel=_has_tips_panel(width, height)), name="footer", size=_FOOTER_ROWS),
    )
    rows = max(1, height - _HEADER_ROWS - _FOOTER_ROWS)
    if not state.is_open:
        root["body"].update(_start_up(state, now_s))
    elif width >= WIDE:
        _wide(root["body"], state, now_s, width, rows)
    else:
        slate_rows = max(3, rows - FLOW_ROWS - HITS_ROWS_NARROW)
        root["body"].split_column(
            Layout(flow(state, width), size=FLOW_ROWS),
            Layout(slates(state, now_s, width, slate_rows)),
            Layout(hits(state, now_s, width, HITS_ROWS_NARROW), size=HITS_ROWS_NARROW),
        )
    return root


def _wide(body: Layout, state: DemoState, now_s: float, width: int, rows: int) -> None:
    has_tips = _has_tips_panel(width, rows + _HEADER_ROWS + _FOOTER_ROWS)
    hit_rows = max(3, rows - FLOW_ROWS - (TIPS_ROWS if has_tips else 0))
    left = [Layout(flow(state, LEFT_COLUMNS), size=FLOW_ROWS), Layout(hits(state, now_s, LEFT_COLUMNS, hit_rows))]
    if has_tips:
        left.append(Layout(tips_panel(state), size=TIPS_ROWS))
    body.split_row(Layout(name="left", size=LEFT_COLUMNS), Layout(slates(state, now_s, width - LEFT_COLUMNS, rows)))
    body["left"].split_column(*left)


def _has_tips_panel(width: int, height: int) -> bool:
    return width >= WIDE and height >= TALL


def _header(state: DemoState, now_s: float) -> RenderableType:
    title = Text.assemble((" crossaisle ", f"bold black on {ACCENT}"), "  real purchases in, cross-aisle slates out")
    when = Text(f"{clock(now_s - state.started_s)} ", style=FAINT)
    if state.shop_time_ms is not None and state.is_open:
        when = Text.assemble((shop_time(state.shop_time_ms), "bold"), (" in the shop  ", FAINT), when)
    table = Table.grid(expand=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_row(title, when)
    status = _status_line(state)
    status.no_wrap = True
    return Group(table, status)


def _status_line(state: DemoState) -> Text:
    line = Text(" ")
    if state.bootstrap_servers:
        line.append("● ", GOOD).append("Kafka ").append(state.bootstrap_servers, "bold").append("   ")
    for worker in state.workers:
        if worker.pid is None:
            continue
        line.append("● ", GOOD if worker.ready else WARM).append(f"worker {worker.number} pid ")
        line.append(str(worker.pid), "bold")
        line.append("" if worker.ready else " catching up" if worker.n_restarts else " starting", WARM).append("   ")
    if state.page_url:
        line.append("page ").append(state.page_url, "bold")
    return line


def _footer(state: DemoState, now_s: float, *, has_tips_panel: bool) -> Text:
    line = Text(" Ctrl-C ends it and shows a summary", style=FAINT)
    if state.closing:
        line = Text(" closing: the workers commit what is in hand, then everything is stopped", style=WARM)
    elif state.notices and now_s - state.notices[-1].at_s < NOTICE_S:
        line = Text.assemble((" ! ", f"bold {WARM}"), (state.notices[-1].words, WARM))
    elif state.all_sent:
        line = Text(" all events of the file are sent; Ctrl-C ends it and shows a summary", style=FAINT)
    elif state.is_open and not has_tips_panel:
        found = tips(state)
        why, command = found[int(now_s / TIP_S) % len(found)]
        line = Text.assemble((f" {why}: ", FAINT), (command, ACCENT))
    line.no_wrap = True
    line.overflow = "ellipsis"
    return line


def _start_up(state: DemoState, now_s: float) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(style=FAINT)
    for step in state.steps.values():
        table.add_row(_step_mark(step, now_s), _step_name(step), Text(step.note))
    body = Group(Text(""), table)
    return panel(body, "opening the shop", "the first time takes two to four minutes, later a few seconds")


def _step_mark(step: Step, now_s: float) -> RenderableType:
    if step.status is StepStatus.DONE:
        return Text("✓", style=f"bold {GOOD}")
    if step.status is StepStatus.WAITING:
        return Text("·", style=FAINT)
    return Spinner("dots", style=WARM).render(now_s)


def _step_name(step: Step) -> Text:
    return Text(step.name, style=FAINT if step.status is StepStatus.WAITING else "bold")


class LiveView:
    """Shows the state in the terminal, full screen, until closed."""

    every_s: float = 0.25

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        """Take the screen."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the screen back."""
        self._live.stop()

    def show(self, state: DemoState, now_s: float) -> None:
        """Draw the state."""
        width, height = self._live.console.size
        self._live.update(render(state, now_s, width, height), refresh=True)
