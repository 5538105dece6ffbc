"""The demo in plain lines, and its summary."""

from __future__ import annotations

from pathlib import Path

from stream_app.demo.report import PlainView, summary_lines
from stream_app.demo.state import DemoState, Notice, ShownItem, ShownSlate, Step, WorkerState


def make_state() -> DemoState:
    """Make the state of a demo that has sent 100 events."""
    state = DemoState({"Apache Kafka": Step("Apache Kafka")}, [WorkerState(1, pid=4242)])
    state.opened_s = 10.0
    state.n_events, state.n_learned, state.n_slates = 100, 100, 80
    state.n_scored, state.n_hits = 50, 4
    state.freshness_p50_s, state.freshness_p95_s = 0.15, 0.3
    state.household = "1823"
    return state


def summary(state: DemoState, totals: dict[str, int] | None) -> str:
    """Return the summary as text."""
    lines = summary_lines(state, totals=totals, port=19_092, data_dir=Path("/data/demo"), now_s=100.0)
    return "\n".join(line.plain for line in lines)


def test_plain_lines_say_each_step_once() -> None:
    """A step of the start-up is printed when it changes, not each time."""
    state = make_state()
    state.opened_s = None
    lines: list[str] = []
    view = PlainView(lines.append)
    view.show(state, 0.0)
    assert lines == []
    state.begin("Apache Kafka", "downloading")
    view.show(state, 1.0)
    view.show(state, 2.0)
    state.finish("Apache Kafka")
    view.show(state, 63.0)
    assert lines == ["00:01  Apache Kafka: ... (downloading)", "01:03  Apache Kafka: done"]


def test_plain_lines_hold_the_numbers_and_each_slate_once() -> None:
    """Once the shop is open every call prints the numbers; a slate and a notice are printed when they are new."""
    state = make_state()
    state.slates.append(ShownSlate("77", ("Tea",), (ShownItem("Milk", "had before"),), 50.0, 0.2))
    state.notices.append(Notice("worker 1 was ended", 60.0))
    lines: list[str] = []
    view = PlainView(lines.append)
    view.show(state, 60.0)
    view.show(state, 62.0)
    assert lines[0] == "01:00  ! worker 1 was ended"
    assert "events 100 " in lines[1]
    assert "hits 4 of 50 (8.0 %)" in lines[1]
    assert lines[2] == "01:00  household 77, in the basket: Tea -> Milk (had before)"
    assert len(lines) == 4
    assert lines[3].startswith("01:02  events 100 ")


def test_the_summary_proposes_commands_that_can_be_copied() -> None:
    """The commands hold the port, the household and the folder of this run."""
    text = summary(make_state(), None)
    assert "01:30" in text
    assert "crossaisle demo --port 19092" in text
    assert "CROSSAISLE_BOOTSTRAP_SERVERS=127.0.0.1:19092 crossaisle watch --user 1823" in text
    assert "CROSSAISLE_BOOTSTRAP_SERVERS=127.0.0.1:19092 crossaisle lag --watch" in text
    assert "crossaisle broker --port 19092 --data /data/demo/broker" in text


def test_the_summary_says_exactly_once_only_when_it_is_so() -> None:
    """Every event must be found in the committed totals, learned, repeated or rejected, before the claim is made."""
    state = make_state()
    assert "100 of 100, each exactly once" in summary(state, {"n_events": 100})
    assert "97 of 100 (1 sent twice, 2 rejected), each exactly once" in summary(
        state, {"n_events": 97, "n_duplicates": 1, "n_rejected": 2}
    )
    assert "97 of 100 (3 asked to forget a household), each exactly once" in summary(
        state, {"n_events": 97, "n_forgotten": 3}
    )
    for n_events in (99, 101):
        assert "exactly once" not in summary(state, {"n_events": n_events})
    assert "exactly once" not in summary(state, None)


def test_the_summary_says_that_a_kill_was_survived() -> None:
    """When a worker was killed during the run, the summary says that nothing was lost all the same."""
    state = make_state()
    state.workers[0].n_restarts = 1
    assert "although a worker was ended 1 time" in summary(state, {"n_events": 100})


def test_a_demo_that_never_opened_has_no_numbers() -> None:
    """Stopped during the start-up, the demo says just that."""
    state = make_state()
    state.opened_s = None
    assert summary(state, None) == "The demo was stopped before the shop was open."
