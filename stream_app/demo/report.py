"""The demo in plain lines, for pipes and CI, and its summary with what to try next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from rich.text import Text

from stream_app.demo.folder import BROKER
from stream_app.demo.state import StepStatus
from stream_app.demo.words import clock, number, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stream_app.demo.state import DemoState, Notice, ShownSlate

ITEMS_IN_LINE = 3
_NOT_LEARNED: Final = (
    ("n_duplicates", "sent twice"),
    ("n_rejected", "rejected"),
    ("n_forgotten", "asked to forget a household"),
)
"""Counts of events that are judged and are not among ``n_events``, and words for them."""


class PlainView:
    """Prints a line for whatever is new, and the numbers every few seconds.

    Parameters
    ----------
    write
        Takes each line.
    every_s
        Seconds from one line of numbers to the next.
    """

    def __init__(self, write: Callable[[str], None], every_s: float = 2.0) -> None:
        self.every_s = every_s
        self._write = write
        self._seen: dict[str, tuple[StepStatus, str]] = {}
        self._shown: ShownSlate | None = None
        self._notice: Notice | None = None

    def show(self, state: DemoState, now_s: float) -> None:
        """Print what is new since the last call."""
        for line in self._lines(state, now_s):
            self._write(line)

    def _lines(self, state: DemoState, now_s: float) -> Iterator[str]:
        at = clock(now_s - state.started_s)
        for name, step in state.steps.items():
            seen = (step.status, step.note)
            if step.status is not StepStatus.WAITING and self._seen.get(name) != seen:
                self._seen[name] = seen
                mark = "done" if step.status is StepStatus.DONE else "..."
                yield f"{at}  {name}: {mark}{f' ({step.note})' if step.note else ''}"
        if state.notices and state.notices[-1] is not self._notice:
            self._notice = state.notices[-1]
            yield f"{at}  ! {self._notice.words}"
        if state.is_open:
            yield f"{at}  {numbers_line(state)}"
            if state.slates and state.slates[-1] is not self._shown:
                self._shown = state.slates[-1]
                yield f"{at}  {slate_line(self._shown)}"


def numbers_line(state: DemoState) -> str:
    """Write the numbers of the moment in one line."""
    lags = ", ".join(f"{stage} {number(lag.now)}" for stage, lag in sorted(state.stage_lag.items(), reverse=True))
    return (
        f"events {number(state.n_events)} ({number(state.events_per_s.now)}/s)  learned {number(state.n_learned)}  "
        f"slates {number(state.n_slates)} ({number(state.slates_per_s.now)}/s)  lag {lags}  "
        f"fresh in p50 {seconds(state.freshness_p50_s)}, p95 {seconds(state.freshness_p95_s)}  "
        f"hits {number(state.n_hits)} of {number(state.n_scored)} ({percent(state.hit_rate)})"
    )


def slate_line(slate: ShownSlate) -> str:
    """Write a slate in one line: whose it is, what lies in the basket, the first items and why."""
    basket = ", ".join(slate.basket[-ITEMS_IN_LINE:]) or "nothing yet"
    items = "; ".join(f"{item.title} ({item.reason})" for item in slate.items[:ITEMS_IN_LINE])
    return f"household {slate.user_id}, in the basket: {basket} -> {items}"


def summary_lines(  # the parts of a summary, one by one
    state: DemoState, *, totals: dict[str, int] | None, port: int, data_dir: Path, now_s: float
) -> Iterator[Text]:
    """Yield the summary: what came of the run, and what to try next with commands to copy.

    Parameters
    ----------
    state
        The last state.
    totals
        What the committed state holds, as `inspect totals` says; ``None`` if it could not be read.
    port
        The broker's port.
    data_dir
        The run's folder.
    now_s
        When it ended.
    """
    if state.opened_s is None:
        yield Text("The demo was stopped before the shop was open.")
        return
    yield Text.assemble(("The demo ran for ", "bold"), (clock(now_s - state.opened_s), "bold"))
    for name, words in _results(state, totals):
        yield Text.assemble(f"  {name:<12}", words)
    yield Text("")
    yield Text("Try next", style="bold")
    for why, commands in _proposals(state, port, data_dir):
        yield Text(f"  {why}", style="bright_black")
        for command in commands:
            yield Text(f"    {command}", style="cyan")


def _results(state: DemoState, totals: dict[str, int] | None) -> Iterator[tuple[str, str]]:
    who = f"{number(state.n_households)} households in {number(state.n_baskets)} baskets"
    yield "events", f"{number(state.n_events)} purchases of {who}"
    if totals is None:
        yield "learned", f"{number(state.n_learned)} committed"
    else:
        yield "learned", _learned(state, totals)
    yield "slates", f"{number(state.n_slates)} published and read"
    share = f"{number(state.n_hits)} of {number(state.n_scored)} purchases ({percent(state.hit_rate)})"
    yield "hits", f"{share} were on the slate that the household had"
    ages = f"{seconds(state.freshness_p50_s)} (p50), {seconds(state.freshness_p95_s)} (p95)"
    yield "fresh in", f"{ages}, from the event sent to the slate read"


def _learned(state: DemoState, totals: dict[str, int]) -> str:
    n_judged = totals["n_events"] + sum(totals.get(name, 0) for name, _ in _NOT_LEARNED)
    other = ", ".join(f"{number(totals[name])} {words}" for name, words in _NOT_LEARNED if totals.get(name))
    words = f"{number(totals['n_events'])} of {number(state.n_events)}{f' ({other})' if other else ''}"
    n_kills = sum(worker.n_restarts for worker in state.workers)
    if n_judged == state.n_events:
        survived = f", although a worker was ended {n_kills} time{'' if n_kills == 1 else 's'}" if n_kills else ""
        return f"{words}, each exactly once{survived}"
    if n_judged > state.n_events:
        return f"{words}: another program has sent events, too"
    return f"{words}; the rest was still waiting in Kafka when the demo ended"


def _proposals(state: DemoState, port: int, data_dir: Path) -> Iterator[tuple[str, list[str]]]:
    crossaisle = shlex.quote(state.command)
    here = f"CROSSAISLE_BOOTSTRAP_SERVERS=127.0.0.1:{port} {crossaisle}"
    user = shlex.quote(state.household) if state.household else "USER"
    yield "start it again, and beside it in a second terminal:", [f"{crossaisle} demo --port {port}"]
    yield "watch one household", [f"{here} watch --user {user}"]
    yield (
        "kill the worker (the view shows its pid), see it come back, and count: nothing is lost",
        [
            "kill -9 PID",
            f"{here} inspect totals",
        ],
    )
    yield "look at lag", [f"{here} lag --watch"]
    yield (
        "or look at what this run has learned",
        [
            f"{crossaisle} broker --port {port} --data {shlex.quote(str(data_dir / BROKER))}",
            f"{here} inspect user {user}",
        ],
    )
