"""How a demo ends: signals, threads that notice it, and errors for the user."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from stream_app.broker import BrokerError
from stream_app.demo.control import EndedError, Threads, failure, signals
from stream_app.demo.options import DemoError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_stop_once_each_and_are_given_back(number: signal.Signals) -> None:
    """While it is open a signal calls the function; afterwards the former handler is in place."""
    stopped = asyncio.Event()
    before = signal.getsignal(number)
    with signals(stopped.set):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stopped.wait(), timeout=60)
    assert signal.getsignal(number) is before


async def test_cancelled_work_ends_at_its_next_note() -> None:
    """Work in a thread that is cancelled ends by itself, and is waited for."""
    notes: list[tuple[str, str]] = []
    threads = Threads(lambda step, words: notes.append((step, words)))
    note = threads.noting("step")
    started = threading.Event()
    ended = threading.Event()

    def work() -> None:
        try:
            while True:
                note("working")
                started.set()
        finally:
            ended.set()

    running = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(started.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    assert notes[0] == ("step", "working")
    with pytest.raises(EndedError):
        note("after the end")


async def test_work_that_fails_raises_its_own_error() -> None:
    """An error in a thread comes out as it is, and its result if there is none."""
    threads = Threads(lambda _step, _words: None)
    assert await threads.run(lambda: 7) == 7

    def fail() -> None:
        message = "no Java"
        raise BrokerError(message)

    with pytest.raises(BrokerError, match="no Java"):
        await threads.run(fail)


def test_a_known_error_becomes_one_sentence_and_a_defect_stays() -> None:
    """What a user can mend is a `DemoError` with the same words, however deep it is; a defect is raised as it is."""
    inner = ExceptionGroup("inner", [BrokerError("no Java: install one")])
    found = failure(ExceptionGroup("outer", [inner]))
    assert isinstance(found, DemoError)
    assert str(found) == "no Java: install one"
    defect = ZeroDivisionError("a defect")
    assert failure(ExceptionGroup("outer", [defect])) is defect
