"""Both stages and the replica in one thread, without Kafka: what a worker computes, for the scenarios about parts."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.structs import ConsumerRecord

from benchmarks.defaults import DefaultSettings
from state.store import PageStore
from stream_app.item_stage import ItemProcessor
from stream_app.packing import pack
from stream_app.replica import Replica
from stream_app.user_stage import UserProcessor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from state.pages import Pages

NOW_MS = 1_800_000_000_000


def record(topic: str, offset: int, key: bytes | None, value: bytes | None) -> ConsumerRecord:
    """Return a record as a consumer hands it over."""
    n_key, n_value = len(key or b""), len(value or b"")
    return ConsumerRecord(topic, 0, offset, NOW_MS, 0, key, value, None, n_key, n_value, ())


class _Key(msgspec.Struct):
    user_id: str | None = None
    item_id: str | None = None


def records(topic: str, lines: Iterable[bytes], key: str) -> list[ConsumerRecord]:
    """Return lines as records with the key that their field ``key`` holds."""
    decode = msgspec.json.Decoder(_Key).decode
    return [record(topic, k, getattr(decode(line), key).encode(), line) for k, line in enumerate(lines)]


class Stopwatch:
    """CPU seconds of this thread, by name of the part."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added up under a name."""

        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[name] += time.thread_time() - started

        return run

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Put a timed function in the place of one that a module or object holds."""
        setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))


class Offline:
    """One user task and one item shard with stores on disk, and the replica.

    Parameters
    ----------
    folder
        For the stores.
    settings
        Settings that differ from the defaults.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = DefaultSettings(**settings)
        self.folder = folder
        self.replica = Replica(self.settings)
        self.user_store, self.item_store = PageStore(folder / "user"), PageStore(folder / "item")
        self.users = UserProcessor(self.settings, 0, 1, 1, self.user_store, self.replica)
        self.items = ItemProcessor(self.settings, 0, 1, self.item_store)
        self.users.restore(None)
        self.items.restore(None)
        self.sizes: Counter[str] = Counter()
        self._position = 0

    def step(self, batch: Sequence[ConsumerRecord]) -> None:
        """Take a batch through one commit of both stages."""
        self.users.process(batch, NOW_MS)
        flush = self.users.flush(NOW_MS)
        self._store(self.user_store, flush.pages, "user")
        self.users.committed()
        updates = [o for o in flush.outputs if o.topic == self.settings.topic_item_updates]
        slates = [o for o in flush.outputs if o.topic == self.settings.topic_recommendations]
        self.sizes["events"] += len(batch)
        self.sizes["slates"] += len(slates)
        self.sizes["slate_bytes"] += sum(len(o.value or b"") for o in slates)
        self.sizes["update_bytes"] += sum(len(o.value or b"") for o in updates)
        self.items.process([record(o.topic, 0, o.key, o.value) for o in updates], NOW_MS)
        pages = self.items.flush(NOW_MS).pages
        self._store(self.item_store, pages, "item")
        self.items.committed()
        self.replica.apply_pages(pages)

    def _store(self, store: PageStore, pages: Pages, kind: str) -> None:
        self._position += 1
        self.sizes[f"{kind}_pages"] += len(pages)
        self.sizes[f"{kind}_changelog_bytes"] += sum(batch.size() for batch in pack(pages, NOW_MS))
        self.sizes[f"{kind}_page_bytes"] += sum(block.values.size for block in pages.blocks)
        store.write(pages, position=self._position, checkpoint=b"{}")

    def close(self) -> None:
        """Close the stores."""
        self.user_store.close()
        self.item_store.close()


def folder_bytes(path: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
