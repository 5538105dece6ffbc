"""Models in a process of their own, beside the others: what they need of the interpreter costs these nothing.

The product is the slowest model and keeps one core busy. The baselines are plain Python, which only one thread of a
process can run at a time. So they get a second process: it is sent the same events, answers and counts, writes its
lists, and hands back what it has counted.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import IO, TYPE_CHECKING, Any, Final, Self

from stream_app.evaluation.models import open_model
from stream_app.evaluation.run import Evaluation, Outcome, Plan
from stream_app.evaluation.source import Catalog, EvaluationError, EventLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stream_app.settings import Settings

SENT_AT_ONCE: Final = 20_000
"""Events of a message to the process, so that nobody holds a year of them twice."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the process does.

    Attributes
    ----------
    log, catalog, plan
        As of :class:`~stream_app.evaluation.run.Evaluation`.
    slate_files
        Where the lists of each model go, by its name; existing files are overwritten.
    settings, replica_lag
        As of :func:`~stream_app.evaluation.models.open_model`.
    """

    log: EventLog
    catalog: Catalog
    plan: Plan
    slate_files: dict[str, Path]
    settings: Settings
    replica_lag: int

    def run(self, connection: Connection) -> Outcome:
        """Evaluate here and now; send how many events are done from time to time."""
        models = [
            open_model(name, self.catalog, self.settings, replica_lag=self.replica_lag) for name in self.slate_files
        ]
        with contextlib.ExitStack() as stack:
            files: dict[str, IO[bytes]] = {
                name: stack.enter_context(path.open("wb")) for name, path in self.slate_files.items()
            }
            return Evaluation(self.log, self.catalog, self.plan, models).run(files, connection.send)


class Beside:
    """The process, which begins where a ``with`` block does, and is gone when that ends, whatever the reason.

    Parameters
    ----------
    task
        What it does.

    Attributes
    ----------
    n_done
        Events that it had done when it was last looked at.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._outcome: Outcome | None = None
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks as they happen to be
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), name="models-beside", daemon=True)
        self._theirs = theirs
        self.n_done = 0

    def __enter__(self) -> Self:
        resource_tracker.ensure_running()  # else the start of the process starts it, which unblocks SIGINT
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the process inherits it: Ctrl-C is for us
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._theirs.close()
        try:
            _send(self._connection, self._task)
        except OSError:
            error = self._ended_early()
            self.__exit__()
            raise error from None
        except BaseException:  # Ctrl-C, too
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def look(self) -> None:
        """Take what it has sent; do not wait for more.

        Raises
        ------
        EvaluationError, OSError
            The process could not go on.
        """
        while self._outcome is None and self._connection.poll():
            self._take()

    def outcome(self, on_progress: Callable[[int], None]) -> Outcome:
        """Wait for the end, and return what was counted; raise what :meth:`look` does.

        Parameters
        ----------
        on_progress
            Called with how many events are done.
        """
        while self._outcome is None:
            self._take()
            on_progress(self.n_done)
        return self._outcome

    def _take(self) -> None:
        try:
            message: Any = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended_early() from None
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Outcome):
            self._outcome = message
        else:
            self.n_done = message

    def _ended_early(self) -> EvaluationError:
        self._process.join()  # its end of the pipe is closed
        names = ", ".join(self._task.slate_files)
        return EvaluationError(
            f"the process of {names} ended early (exit code {self._process.exitcode}; -9 is often a lack of memory); "
            "its own words, if any, are above; give it more memory, or evaluate fewer models with --model"
        )


def joined(names: Sequence[str], here: Outcome, beside: Outcome) -> Outcome:
    """Return the outcome of all models as if one process had run them.

    Parameters
    ----------
    names
        Of the models, in their order.
    here, beside
        Outcomes over the same events; they stay as they are.

    Raises
    ------
    EvaluationError
        They number items differently, as one of the models listed an item that is in no file.
    """
    if here.numbering.item_ids != beside.numbering.item_ids:
        message = f"one of {', '.join(names)} listed an item that is in no file; this is a defect of the model"
        raise EvaluationError(message)
    tallies, ratings = here.tallies | beside.tallies, here.ratings | beside.ratings
    weights = here.weights | beside.weights
    return replace(
        here,
        tallies={name: tallies[name] for name in names},
        ratings={name: ratings[name] for name in names},
        weights={name: weights[name] for name in names},
    )


def _send(connection: Connection, task: Task) -> None:
    """Send a task, its events by parts."""
    values = task.log.values
    connection.send(replace(task, log=replace(task.log, values=[])))
    for start in range(0, len(values), SENT_AT_ONCE):
        connection.send(values[start : start + SENT_AT_ONCE])
    connection.send(None)


def _receive(connection: Connection) -> Task:
    """Receive what :func:`_send` sends."""
    task: Task = connection.recv()
    while (values := connection.recv()) is not None:
        task.log.values += values
    return task


def _work(connection: Connection) -> None:
    """Do what is sent. Ctrl-C is for the process that started this one; it ends this one, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError, EOFError):  # nobody waits for this any more
        task = _receive(connection)
        try:
            outcome = task.run(connection)
        except BrokenPipeError:
            raise
        except (EvaluationError, OSError) as error:
            connection.send(error)
        else:
            connection.send(outcome)
