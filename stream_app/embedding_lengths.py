"""Tells of content vectors of more than one length: vectors of two models have nothing in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from mode import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ONE_MODEL: Final = "use one model for all items, so that all vectors have as many components"
_EVERY_S = 10.0


def lengths_told(n_items: Mapping[int, int]) -> str:
    """Return how many items have vectors of which length, most first.

    Examples
    --------
    >>> lengths_told({3: 10, 384: 2_000})
    '2,000 items with 384 components, 10 items with 3 components'
    """
    by_number = sorted(n_items.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{n:,} items with {length:,} components" for length, n in by_number)


class EmbeddingLengths(Service):
    """Warn once when items of the catalogue have content vectors of several lengths, and again after it was well.

    Parameters
    ----------
    embeddings
        Returns the number of items with a content vector, by its number of components.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(self, embeddings: Callable[[], Mapping[int, int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._embeddings = embeddings
        self._log = structlog.get_logger(__name__)
        self._is_mixed = False

    def look(self) -> None:
        """Look at the catalogue as it is."""
        n_items = dict(self._embeddings())
        if len(n_items) > 1 and not self._is_mixed:
            self._log.warning("embeddings_of_several_lengths", found=lengths_told(n_items), remedy=ONE_MODEL)
        self._is_mixed = len(n_items) > 1

    @Service.task
    async def _look_now_and_then(self) -> None:
        while not self.should_stop:
            self.look()
            await self.sleep(_EVERY_S)
