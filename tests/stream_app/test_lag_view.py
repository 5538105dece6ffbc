"""What ``crossaisle lag`` draws: sparklines, workers that hang, restores, narrow terminals."""

from __future__ import annotations

import msgspec
from rich.console import Console

from stream_app.cli.lag_view import HISTORY, History, render
from stream_app.lag_workers import WorkerLag, with_owners
from stream_app.partition_lag import PartitionLag
from stream_app.sparkline import BLOCKS


def lag(partition: int, n_events: int) -> PartitionLag:
    """Return a partition of the user stage that is so far behind."""
    return PartitionLag(
        stage="user",
        group="g",
        topic="events",
        partition=partition,
        end=100,
        committed=100 - n_events,
        lag_events=n_events,
        lag_s=n_events / 10,
        lag_event_s=3600.0 * n_events,
    )


def drawn(*args: object, width: int = 120) -> str:
    """Return what a terminal of this width would show."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(render(*args, width=width))  # type: ignore[arg-type]  # as render takes them
    return capture.get()


def test_history_shows_the_latest_measurements() -> None:
    """A partition's line grows to its length and then moves on."""
    history = History()
    for n_events in range(HISTORY + 5):
        history.add([lag(0, n_events)])
    assert len(history.line(lag(0, 0))) == HISTORY
    assert history.line(lag(1, 0)) == ""
    assert BLOCKS[-1] in drawn([lag(0, 3)], (), history)


def test_owners_and_positions_are_joined() -> None:
    """Each partition gets its owner, and the position where the owner answered."""
    workers = [WorkerLag(worker="a:1", answers=True, ready=True, owns={"user": [0]})]
    first, second = with_owners([lag(0, 1), lag(1, 2)], workers, {("user", 0): 99})
    assert (first.owner, first.position) == ("a:1", 99)
    assert (second.owner, second.position) == (None, None)


def test_workers_say_how_they_are() -> None:
    """One that hangs, one that restores, one that is up to date."""
    restore = {"stage": "user", "partition": 0, "n_left": 1200, "left_s": 4.0}
    text = drawn(
        [lag(0, 5)],
        [
            WorkerLag(worker="a:1", answers=False, ready=False, owns={"user": [0, 1]}),
            WorkerLag(worker="b:1", answers=True, ready=False, owns={}, replica_lag_events=3, restores=[restore]),
            WorkerLag(worker="c:1", answers=True, ready=True, owns={}, replica_lag_events=0),
        ],
    )
    for words in ("does not answer", "user 0, 1", "restores 1,200 records, 4.0 s left", "up to date", "5 h", "0.5 s"):
        assert words in text


def test_a_narrow_terminal_keeps_the_numbers() -> None:
    """Without room positions go, lags stay."""
    text = drawn([lag(0, 57)], width=80)
    assert "57" in text
    assert "position" not in text


def test_a_very_narrow_terminal_cuts_no_word() -> None:
    """At 60 columns, with sparklines or without, what is shown is whole: how far each partition is behind."""
    history = History()
    for n_events in range(HISTORY):
        history.add([lag(0, n_events)])
    far = msgspec.structs.replace(lag(0, 57), end=1_234_567, committed=1_234_510)
    for text in (drawn([far], width=60), drawn([far], (), history, width=60)):
        assert "…" not in text
        for words in ("stage", "no.", "1,234,567", "57", "5.7 s"):
            assert words in text
    assert "event time" in drawn([far], width=80)
    assert "…" not in drawn([far], (), history, width=80)


def test_brackets_are_text() -> None:
    """The problem of a partition and the address of a worker are shown as they are."""
    broken = msgspec.structs.replace(lag(0, 1), problem="the end of [/x] is gone")
    text = drawn([broken], [WorkerLag(worker="[::1]:6066", answers=True, ready=True, owns={"[/b]": [0]})])
    for words in ("the end of [/x] is gone", "[::1]:6066", "[/b] 0"):
        assert words in text
