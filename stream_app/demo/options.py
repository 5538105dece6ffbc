"""What a demo run takes and gives: its options, its summary, its view, its error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import platformdirs

from stream_app.demo.data import cache_dir

if TYPE_CHECKING:
    from stream_app.demo.state import DemoState

DEFAULT_RATE: Final = 150.0


class DemoError(Exception):
    """The demo cannot go on. The message ends with the remedy."""


class View(Protocol):
    """Shows the state to whoever watches."""

    every_s: float

    def show(self, state: DemoState, now_s: float) -> None:
        """Show it; called every ``every_s`` seconds."""


def _data_dir() -> Path:
    return platformdirs.user_data_path("crossaisle") / "demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a demo runs with.

    Attributes
    ----------
    events, catalog
        Own files, both or neither; the real purchases if neither.
    duration_s
        Seconds of open shop after which the demo ends by itself; ``None``: until it is stopped.
    ends_with_events
        Whether it also ends when all events are sent and learned.
    port
        The broker's; the workers' HTTP servers take the ports after it. ``None``: any that are free.
    rate
        Events per second, above 0.
    n_workers
        Worker processes, at least 1.
    worker_command
        What to run as a worker; this Python's ``crossaisle worker`` if ``None``.
    opens_browser
        Whether to show the first worker's web page, where it has one.
    command
        How the command is called in a shell, for the proposals of what to try.
    data_dir
        Everything that a run writes, wiped at the start; kept after the end, to be looked at.
    cache_dir
        Where the real purchases are kept between runs.
    """

    events: Path | None = None
    catalog: Path | None = None
    duration_s: float | None = None
    ends_with_events: bool = False
    port: int | None = None
    rate: float = DEFAULT_RATE
    n_workers: int = 1
    worker_command: tuple[str, ...] | None = None
    opens_browser: bool = False
    command: str = "crossaisle"
    data_dir: Path = field(default_factory=_data_dir)
    cache_dir: Path = field(default_factory=cache_dir)


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run.

    Attributes
    ----------
    state
        The last state.
    totals
        `inspect totals` of the committed state after the workers had ended; ``None`` if it could not be read.
    port, data_dir, ended_s
        The broker's port, the run's folder, and when it ended.
    """

    state: DemoState
    totals: dict[str, Any] | None
    port: int
    data_dir: Path
    ended_s: float
