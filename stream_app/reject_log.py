"""Says in the log that events are rejected: at the first one, and then at most once a minute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY_MS: Final = 60_000

log = structlog.get_logger(__name__)


def where_rejects_are(topic: str) -> str:
    """Return the sentence that tells an operator where rejected records are to be read."""
    return f"read topic {topic}: each record is there with a sentence"


class RejectLog:
    """Counts the rejects of a partition between two lines of the log.

    Parameters
    ----------
    partition
        Of the events.
    topic
        Of the rejects.
    """

    def __init__(self, partition: int, topic: str) -> None:
        self._partition, self._topic = partition, topic
        self._waiting: Counter[str] = Counter()
        self._told_ms: int | None = None

    def note(self, codes: Sequence[str], now_ms: int) -> None:
        """Note the rejects of a batch by their codes, and tell of those that wait when it is time."""
        self._waiting.update(codes)
        if not self._waiting or (self._told_ms is not None and 0 <= now_ms - self._told_ms < EVERY_MS):
            return
        remedy = where_rejects_are(self._topic)
        if "bad_time" in self._waiting:
            remedy += "; of bad_time see whether this machine's clock is right: crossaisle doctor --probe"
        log.warning(
            "events_rejected",
            partition=self._partition,
            n_records=self._waiting.total(),
            by_code=dict(sorted(self._waiting.items())),
            remedy=remedy,
        )
        self._waiting.clear()
        self._told_ms = now_ms
