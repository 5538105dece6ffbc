"""What this worker's local stores hold of item-state: its replica starts there, and the tail reads only what is newer.

A local store of the item stage has the same pages as the newest records of its partition, up to its position. Reading
them from disk takes a fifth of the time that all records of the topic take, and a worker that restarts has most of
them. The store is a cache here, too: where it is missing, held by another process, damaged, of another version, or not
at a place between the ends of the log, or filled from a former topic, the topic is read from its beginning, and nothing
is lost but time. What was applied before damage was met does no harm: each page comes again, the newest last. Its age
does not matter here: pages of items are replaced, and never removed.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import structlog

from state.codec import LayoutError
from state.store import PageStore, StoreError
from stream_app.recovery import store_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.settings import Settings

_log = structlog.get_logger(__name__)


class StoredItems:
    """The local stores of the item stage, read before its tasks open them.

    Parameters
    ----------
    settings
        Of the application.
    apply
        Takes over pages by key.

    Attributes
    ----------
    pages_at_once
        So many are handed over in one call.
    """

    def __init__(self, settings: Settings, apply: Callable[[dict[bytes, bytes]], None]) -> None:
        self._settings = settings
        self._apply = apply
        self.pages_at_once = 20_000

    def restore(self, partition: int, begin: int, end: int, topic_id: str | None = None) -> int | None:
        """Hand over the pages of one shard; called in the replica's thread.

        Parameters
        ----------
        partition
            Of item-state.
        begin, end
            First offset of its log, and the offset after the last committed record.
        topic_id
            The broker's id of item-state, None where it tells none.

        Returns
        -------
        int or None
            Offset to read the topic from, None if that is its beginning.
        """
        started = time.monotonic()
        path = store_folder(self._settings, "item", partition)
        if not path.exists():
            return None
        try:
            with closing(PageStore(path)) as store:
                position, origin = store.position, store.origin
                if position is None or not begin <= position <= end:
                    return None
                if origin and topic_id and origin.topic_id not in (None, topic_id):
                    return None
                n_pages = self._hand_over(store)
        except (StoreError, LayoutError) as error:
            _log.warning("stored_items_passed_over", error=str(error), remedy="none needed: reads the topic instead")
            return None
        took_ms = round((time.monotonic() - started) * 1000, 1)
        _log.info("stored_items_read", partition=partition, position=position, n_pages=n_pages, took_ms=took_ms)
        return position

    def _hand_over(self, store: PageStore) -> int:
        n_pages = 0
        with closing(store.batches(self.pages_at_once)) as batches:
            for pages in batches:
                self._apply(pages)
                n_pages += len(pages)
        return n_pages
