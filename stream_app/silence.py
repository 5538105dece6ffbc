"""Says when the broker does not answer a command that waits for it, and when it answers again.

Clients of Kafka try again without a word, for half a minute or for ever. Someone who waits wants to know why.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from stream_app.probe import Answer, addresses, look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from stream_app.settings import Settings

LOOK_EVERY_S: Final = 2.0
"""From one look at the broker to the next."""
ANSWER_WITHIN_S: Final = 4.0
"""How long a broker may take to answer before it counts as silent."""


@asynccontextmanager
async def silence_told(settings: Settings, tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Look at the broker every few seconds for as long as the block runs.

    Parameters
    ----------
    settings
        Where the broker should be.
    tell
        Called with a sentence once when the broker falls silent, and once when it answers again.
    """
    listening = asyncio.create_task(_listen(settings, tell))
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(settings: Settings, tell: Callable[[str], None]) -> None:
    is_silent = False
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        was_silent, is_silent = is_silent, not await _answers(settings)
        if is_silent and not was_silent:
            tell(f"no broker answers at {settings.bootstrap_servers}; trying again")
        elif was_silent and not is_silent:
            tell(f"the broker at {settings.bootstrap_servers} answers again")


async def _answers(settings: Settings) -> bool:
    """Return whether an address answers, be it with a refusal: that, the command tells itself."""
    looks = [asyncio.create_task(look(settings, address)) for address in addresses(settings)]
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            for looking in asyncio.as_completed(looks):
                found = await looking
                if isinstance(found, Answer) or found.is_final:
                    return True
    except TimeoutError:
        pass
    finally:
        for each in looks:
            each.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
    return False
