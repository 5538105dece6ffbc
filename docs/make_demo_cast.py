"""Records the demo's live view from a real run into an SVG picture, for the README.

Run it from the project's root: ``python docs/make_demo_cast.py``. It starts the demo, kills nothing, lets the shop run
for a while, and writes what the terminal shows then to ``docs/demo.svg``.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stream_app.demo.options import DemoOptions
from stream_app.demo.run import Demo
from stream_app.demo.view import render

if TYPE_CHECKING:
    from stream_app.demo.state import DemoState, StepStatus

COLUMNS, ROWS = 132, 38


class Recorder:
    """Keeps the last picture of the open shop, as a view of the demo."""

    every_s = 0.25

    def __init__(self) -> None:
        self.svg: str | None = None
        self._seen: dict[str, StepStatus] = {}

    def show(self, state: DemoState, now_s: float) -> None:
        """Draw the state into memory, and say on the terminal how far the start-up is."""
        for name, step in state.steps.items():
            if self._seen.get(name) is not step.status:
                self._seen[name] = step.status
                print(f"{name}: {step.status.value}")
        if state.is_open and not state.closing:
            console = Console(record=True, width=COLUMNS, height=ROWS, file=io.StringIO(), force_terminal=True)
            console.print(render(state, now_s, COLUMNS, ROWS), height=ROWS)
            self.svg = console.export_svg(title="crossaisle demo")


async def record(seconds: float, rate: float) -> str:
    """Run the demo and return the picture of its end.

    Raises
    ------
    DemoError
        The demo cannot run; the message names the remedy.
    RuntimeError
        It ended before the shop was open.
    """
    recorder = Recorder()
    began_s = time.monotonic()
    await Demo(DemoOptions(duration_s=seconds, rate=rate), recorder).run()
    if recorder.svg is None:
        message = f"the demo ended after {time.monotonic() - began_s:.0f} s, before the shop was open"
        raise RuntimeError(message)
    return recorder.svg


def main() -> None:
    """Record and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="how long the shop is open")
    parser.add_argument("--rate", type=float, default=150.0, help="events per second")
    parser.add_argument("--out", type=Path, default=Path("docs/demo.svg"), help="picture to write")
    arguments = parser.parse_args()
    arguments.out.write_text(asyncio.run(record(arguments.seconds, arguments.rate)), encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
