"""Runs what asks a broker, and says on stderr when that does not answer for some seconds."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from stream_app.settings import Settings

_Found = TypeVar("_Found")


def say(words: str) -> None:
    """Write a line on stderr."""
    typer.echo(words, err=True)


def run_telling(settings: "Settings", asking: Coroutine[Any, Any, _Found], tell: Callable[[str], None] = say) -> _Found:
    """Run a coroutine to its end; say once that the broker is silent, and once that it answers again."""
    from stream_app.silence import silence_told

    async def run() -> _Found:
        async with silence_told(settings, tell):
            return await asking

    return asyncio.run(run())
