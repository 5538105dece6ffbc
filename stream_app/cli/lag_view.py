"""Draws what ``crossaisle lag`` has measured: partitions with the history of their lag, and workers."""

from collections import deque
from typing import TYPE_CHECKING

from stream_app.sparkline import sparkline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from stream_app.lag_workers import WorkerLag
    from stream_app.partition_lag import PartitionLag

HISTORY = 16
"""Measurements that a sparkline shows."""

WIDE = 100
"""Columns from which on positions are shown."""

NARROW = 70
"""Columns below which neither committed offsets nor event times are shown; sparklines need room besides."""

_NARROW_HISTORY = 10
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def span_words(seconds: float | None) -> str:
    """Return a span of time in its largest fitting unit.

    >>> [span_words(s) for s in (None, 0.24, 75, 5400, 200_000)]
    ['?', '0.2 s', '75 s', '90 min', '56 h']
    """
    if seconds is None:
        return "?"
    if seconds < 10:  # noqa: PLR2004 - below, a tenth of a second counts
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 3 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"


class History:
    """The lags of the latest measurements, by stage and partition."""

    def __init__(self) -> None:
        self._lags: dict[tuple[str, int], deque[int]] = {}

    def add(self, lags: "Sequence[PartitionLag]") -> None:
        """Take a measurement."""
        for lag in lags:
            self._lags.setdefault((lag.stage, lag.partition), deque(maxlen=HISTORY)).append(lag.lag_events)

    def line(self, lag: "PartitionLag") -> str:
        """Return the sparkline of a partition."""
        return sparkline(self._lags.get((lag.stage, lag.partition), ()))


def render(
    lags: "Sequence[PartitionLag]",
    workers: "Sequence[WorkerLag]" = (),
    history: History | None = None,
    width: int = WIDE,
) -> "RenderableType":
    """Draw the lags as a table, with problems and workers below it.

    Parameters
    ----------
    history
        What sparklines are drawn from; without it there are none.
    width
        Columns of the terminal; a narrow one gets no positions, a very narrow one only ends and lags.
    """
    from rich.console import Group

    parts: list[RenderableType] = [_partitions(lags, history, width)]
    if workers:
        parts.append(_workers(workers))
    return Group(*parts)


def _partitions(lags: "Sequence[PartitionLag]", history: History | None, width: int) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    problems = "\n".join(
        f"{found.stage} stage, partition {found.partition}: {found.problem}" for found in lags if found.problem
    )
    caption = Text(problems, style="red") if problems else None
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("stage", no_wrap=True)
    wide, narrow = width >= WIDE, width < NARROW + (HISTORY + 2 if history is not None else 0)
    names = {
        "no." if narrow else "partition": True,
        "end": True,
        "committed": not narrow,
        "position": wide,
        "lag": True,
        "oldest": True,
        "event time": not narrow,
    }
    for name in (name for name, shown in names.items() if shown):
        table.add_column(name, justify="right", no_wrap=True)
    if history is not None:
        table.add_column("lag before", no_wrap=True)
    for found in lags:
        style = "red" if found.problem else None if found.lag_events else "green"
        numbers = (
            str(found.partition),
            f"{found.end:,}",
            "-" if found.committed is None else f"{found.committed:,}",
            "-" if found.position is None else f"{found.position:,}",
            f"{found.lag_events:,}",
            span_words(found.lag_s),
            span_words(found.lag_event_s),
        )
        cells = [found.stage, *(cell for cell, shown in zip(numbers, names.values(), strict=True) if shown)]
        if history is not None:
            cells.append(history.line(found)[-_NARROW_HISTORY if narrow else 0 :])
        table.add_row(*cells, style=style)
    return table


def _workers(workers: "Sequence[WorkerLag]") -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from stream_app.cli.terminal import printable

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("worker", "state", "owns", "item replica"):
        table.add_column(name, overflow="fold")
    for worker in workers:
        style = None if worker.ready else "yellow" if worker.answers else "red"
        cells = (worker.worker, _state(worker), _owned(worker), _replica(worker))
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    return table


def _state(worker: "WorkerLag") -> str:
    from stream_app.cli.terminal import counted

    if not worker.answers:
        return "does not answer"
    if worker.restores:
        n_left = sum(restore["n_left"] for restore in worker.restores)
        left_s = max((restore["left_s"] or 0.0 for restore in worker.restores), default=0.0)
        return f"restores {counted(n_left, 'record')}, {span_words(left_s)} left"
    return "ready" if worker.ready else "not ready"


def _owned(worker: "WorkerLag") -> str:
    parts = [f"{stage} {', '.join(map(str, numbers))}" for stage, numbers in worker.owns.items() if numbers]
    return "; ".join(parts) or "nothing"


def _replica(worker: "WorkerLag") -> str:
    if worker.replica_lag_events is None:
        return "?"
    if not worker.replica_lag_events:
        return "up to date"
    return f"{worker.replica_lag_events:,} behind, {span_words(worker.replica_staleness_s)}"
