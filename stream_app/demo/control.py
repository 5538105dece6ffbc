"""Ends a demo in order: signals that ask for it, threads that notice it, errors that cause it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Final, TypeVar

from aiokafka.errors import KafkaError

from stream_app.broker import BrokerError
from stream_app.dataset import DatasetError
from stream_app.demo.options import DemoError
from stream_app.demo.workers import WorkerError
from stream_app.lag import LagError
from stream_app.reading import ReadingError
from stream_app.sender import ProduceError
from stream_app.topics import TopicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_FAILURES: Final = (BrokerError, DatasetError, LagError, ProduceError, ReadingError, TopicError, WorkerError)


def failure(error: BaseException) -> BaseException:
    """Return what is to be raised for what failed first: a `DemoError` where a user can do something about it."""
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, _FAILURES):
        return DemoError(str(first))
    if isinstance(first, (KafkaError, OSError)):
        return DemoError(f"{first or type(first).__name__}; run `crossaisle demo` again, it starts from nothing")
    return first


class EndedError(Exception):
    """Work in a thread ends because the demo does."""


class Threads:
    """Runs work in threads that can be asked to end.

    Parameters
    ----------
    put_note
        Takes the name of a step and words for it; called from the threads.
    """

    def __init__(self, put_note: Callable[[str, str], None]) -> None:
        self._put_note = put_note
        self._is_ending = False

    def end(self) -> None:
        """Ask all work to end at its next note."""
        self._is_ending = True

    def noting(self, step: str) -> Callable[[str], None]:
        """Return a callback for work in a thread: it puts words to a step, and raises once the work is to end."""

        def note(words: str) -> None:
            if self._is_ending:
                raise EndedError
            self._put_note(step, words)

        return note

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread. When this is cancelled, all work is asked to end, and this piece is waited for."""
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.end()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()
            raise


@contextlib.contextmanager
def signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at Ctrl-C, SIGTERM and a closed terminal, while this is open."""
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
