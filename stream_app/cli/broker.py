"""``crossaisle broker``: runs the embedded Apache Kafka in the foreground."""

from pathlib import Path
from typing import Annotated

import typer


def broker(
    *,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1; 9092 if not given.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory for its data; kept between runs.")] = None,
) -> None:
    """Run the embedded Apache Kafka until Ctrl-C or SIGTERM; print its address when it accepts connections."""
    import signal
    import threading

    from rich.console import Console

    from stream_app.broker import DEFAULT_PORT, EmbeddedBroker

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    errors = Console(stderr=True)
    embedded = EmbeddedBroker(data, port if port is not None else DEFAULT_PORT, errors.print)
    embedded.start()
    try:
        typer.echo(embedded.bootstrap_servers)
        errors.print(f"Apache Kafka runs, data in {embedded.data_dir}; Ctrl-C stops it", style="dim")
        while not done.wait(0.5):
            embedded.check()
    finally:
        embedded.stop()
