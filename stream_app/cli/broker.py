"""``crossaisle broker``: runs the embedded Apache Kafka in the foreground."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

if TYPE_CHECKING:
    from rich.console import Console

_CHECK_EVERY_S = 0.2
_SAY_EVERY_S = 5.0


def broker(
    *,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1; 9092 if not given.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory for its data; kept between runs.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="Print the address and more as a line of JSON.")] = False,
) -> None:
    """Run the embedded Apache Kafka until Ctrl-C or SIGTERM; print its address when it accepts connections.

    The first time it downloads Apache Kafka, 45 MB. It is for one machine: it has no replicas and asks for no password.
    """
    import json

    from rich.console import Console

    from stream_app.broker import DEFAULT_PORT, EmbeddedBroker

    console = Console(stderr=True, highlight=False, markup=False)
    stop = _StopRequest()
    with _Progress(console) as progress:

        def note(words: str) -> None:
            stop.raise_if_made()
            progress.say(words)

        embedded = EmbeddedBroker(data, port if port is not None else DEFAULT_PORT, note)
        embedded.start()
    address = embedded.bootstrap_servers
    facts = {"bootstrap_servers": address, "pid": embedded.pid, "data_dir": str(embedded.data_dir)}
    try:
        typer.echo(json.dumps(facts) if json_lines else address)
        console.print(f"Apache Kafka runs, data in {embedded.data_dir}; Ctrl-C stops it", style="dim", soft_wrap=True)
        while not stop.is_made:
            embedded.check(_CHECK_EVERY_S)
    finally:
        embedded.stop()


class _StopRequest:
    """Remembers that Ctrl-C, SIGTERM or a closed terminal asked for the end."""

    def __init__(self) -> None:
        import signal

        self.is_made = False
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._make)

    def _make(self, *_: object) -> None:
        self.is_made = True

    def raise_if_made(self) -> None:
        from stream_app.cli import CommandError

        if self.is_made:
            message = "stopped before the broker accepted connections; start it again, it goes on from there"
            raise CommandError(message)


class _Progress:
    """Shows what a start is at: in place on a terminal, else a line now and then."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._status = console.status("starting") if console.is_terminal else None
        self._said_at_s = 0.0
        self._said = ""

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, words: str) -> None:
        from rich.markup import escape

        if self._status is not None:
            self._status.update(escape(words))
            return
        subject = words.partition(":")[0].partition("(")[0].strip()
        if subject != self._said or time.monotonic() - self._said_at_s > _SAY_EVERY_S:
            self._said, self._said_at_s = subject, time.monotonic()
            self._console.print(words, soft_wrap=True)
