"""The demo's views: they fit every terminal, and say what the state says."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from stream_app.demo.panels import ITEMS_SHOWN, tips
from stream_app.demo.state import DemoState, Gauge, Notice, ShownHit, ShownItem, ShownSlate, Step, WorkerState
from stream_app.demo.view import render

STEPS = ("Apache Kafka", "worker")


def make_state(*, is_open: bool = True) -> DemoState:
    """Make the state of a demo that has run for a while."""
    state = DemoState({name: Step(name) for name in STEPS}, [WorkerState(1, pid=4242, ready=True)])
    state.bootstrap_servers = "127.0.0.1:19092"
    state.begin("worker", "the first start compiles the kernels, two to four minutes")
    state.finish("Apache Kafka")
    state.opened_s = 10.0 if is_open else None
    state.shop_time_ms = 1_483_272_000_000
    state.n_events, state.n_learned, state.n_slates = 12_345, 12_340, 9_876
    state.household = "1823"
    state.events_per_s.set(148.0)
    state.stage_lag = {"item": Gauge(7.0), "user": Gauge(5.0)}
    state.freshness_p50_s, state.freshness_p95_s = 0.143, 2.5
    state.n_scored, state.n_hits = 1_000, 31
    items = tuple(ShownItem(f"Product {place}", "had before") for place in range(9))
    state.slates.append(
        ShownSlate(
            "77", ("Bananas", "Eggs", "Milk", "Tea"), (*items, ShownItem("Fig", "popular", is_new=True)), 99.5, 0.2
        )
    )
    state.hits.append(ShownHit("88", "Oat drink", 3, "goes with Bananas", 99.0, 1.5))
    return state


def draw(state: DemoState, width: int = 140, height: int = 40, now_s: float = 100.0) -> list[str]:
    """Draw the state as text, one string a row."""
    console = Console(file=StringIO(), width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(render(state, now_s, width, height), height=height)
    return capture.get().rstrip("\n").split("\n")


@given(st.integers(min_value=20, max_value=220), st.integers(min_value=6, max_value=80), st.booleans())
def test_the_view_fits_every_terminal(width: int, height: int, is_open: bool) -> None:  # drawn
    """Whatever the size, as many rows come out as the terminal has, and none is wider than it."""
    rows = draw(make_state(is_open=is_open), width, height)
    assert len(rows) <= height
    assert max(cell_len(row) for row in rows) <= width


@pytest.mark.parametrize(("width", "height"), [(140, 40), (80, 40)])
def test_the_open_shop_shows_the_numbers_a_slate_and_a_hit(width: int, height: int) -> None:
    """Wide and narrow terminals show the same: rates, lag, freshness, hits, a basket and why an item is there."""
    text = "\n".join(draw(make_state(), width, height))
    for words in (
        "12,345", "148/s", "user stage lag", "143 ms (p50)", "2.5 s (p95)", "3.1 %", "31 of 1,000",
        "household 77", "in the basket: Tea, Milk, Eggs and 1 more", "Product 0", "had before",
        "Oat drink", "household 88, place 4: goes with Bananas", "pid 4242", "Sun 1 Jan 2017 12:00",
    ):  # fmt: skip
        assert words in text


def test_a_new_item_is_shown_even_from_a_low_place() -> None:
    """Of a slate whose first items are all repeats, the last line shows the first discovery."""
    text = "\n".join(draw(make_state()))
    assert f"{ITEMS_SHOWN} Fig" in text
    assert f"Product {ITEMS_SHOWN - 1}" not in text


def test_the_start_up_says_what_takes_so_long() -> None:
    """Before the shop is open the steps are shown, with the note of the running one."""
    text = "\n".join(draw(make_state(is_open=False)))
    assert "✓  Apache Kafka" in text
    assert "compiles the kernels" in text
    assert "12,345" not in text


def test_a_notice_and_the_closing_take_the_last_row() -> None:
    """What happened to a worker is said in the last row, and there the closing is said, too."""
    state = make_state()
    state.notices.append(Notice("worker 1 (pid 4242) was killed", 95.0))
    assert "was killed" in draw(state)[-1]
    assert "was killed" not in draw(state, now_s=1_000.0)[-1]
    state.closing = True
    assert "closing" in draw(state)[-1]


def test_a_worker_that_was_started_again_is_catching_up() -> None:
    """A worker that is not ready says whether it starts for the first time or goes on."""
    state = make_state()
    state.workers[0].ready = False
    assert "starting" in draw(state)[1]
    state.workers[0].n_restarts = 1
    assert "catching up" in draw(state)[1]


def test_tips_are_commands_to_copy() -> None:
    """Each tip has the broker's address where the command needs it, the household, and the worker's pid."""
    commands = [command for _, command in tips(make_state())]
    assert "CROSSAISLE_BOOTSTRAP_SERVERS=127.0.0.1:19092 crossaisle watch --user 1823" in commands
    assert "kill -9 4242" in commands
    assert all(command.startswith(("CROSSAISLE_BOOTSTRAP_SERVERS=", "kill")) for command in commands)


def test_brackets_are_text() -> None:
    """The path of a file of events and a household's id are shown as they are."""
    state = make_state(is_open=False)
    state.finish("Apache Kafka", "of [/tmp]/[red]events.jsonl")
    assert any("of [/tmp]/[red]events.jsonl" in row for row in draw(state))
    shop = make_state()
    shop.household = "[/x]"
    assert any("--user '[/x]'" in row for row in draw(shop))
