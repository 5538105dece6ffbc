"""Fetches the embedded broker's jars in a process of its own, so that Ctrl-C ends a slow download at once."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_FETCH: Final = "from stream_app.broker_classpath import class_path; class_path(lambda line: print(line, flush=True))"


async def fetch_kafka(note: Callable[[str], None]) -> None:
    """Bring Apache Kafka into the cache if it is not there.

    A failure is left to the broker's start, which comes upon it again and says what to do.

    Parameters
    ----------
    note
        Called with a line of text now and then.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _FETCH,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        if process.stdout is not None:
            async for line in process.stdout:
                note(line.decode(errors="replace").strip())
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
