"""The item stage's state and operators: the single writer of the items and categories of one shard."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from operators.items import apply_contexts, apply_counts, apply_pairs, apply_targets
from operators.numeric import start_entities
from operators.params import MAX_NEIGHBOURS, LearnParams
from state.arrays import Int32s
from state.codec import KIND_NAME, page_key
from state.layout import ENTITY_HEADER, ENTITY_NEIGHBOURS, ENTITY_PAGES, KIND_ITEM, N_SLOTS
from state.table import RowTable
from state.updates import ItemUpdate, UpdateError, decode_update
from stream_app.processor import Flush, Output

if TYPE_CHECKING:
    from state.store import Store
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings


NOTHING = np.zeros(0, np.int32)
_MOST_TOUCHED = 100_000
"""Rows that updates of one interval touch, repeats counted, before it is committed early: about 100 MB of pages."""


def _decoded(record: "KafkaRecord", value: bytes) -> ItemUpdate:
    try:
        return decode_update(value)
    except UpdateError as error:
        where = f"{record.topic}, partition {record.partition}, offset {record.offset}"
        message = (
            f"{where}: {error}. Only workers of this application may write there, all of one version: see to that; "
            f"then delete the records before offset {record.offset + 1} of that partition (kafka-delete-records.sh), "
            "which loses this one only, and start the worker again"
        )
        raise UpdateError(message) from error


class ItemProcessor:
    """Applies summed updates to the entities of one shard.

    Parameters
    ----------
    settings
        ``hot_rows`` bounds the rows in memory.
    shard, n_shards
        The partition of item-updates it owns, and how many there are.
    store
        The local pages of this shard.
    """

    def __init__(self, settings: "Settings", shard: int, n_shards: int, store: "Store") -> None:
        self._hot_rows = settings.hot_rows
        self._rate = LearnParams().rate
        self.shard, self.n_shards = shard, n_shards
        self._store = store
        self.table = RowTable(ENTITY_HEADER, ENTITY_PAGES)
        self._touched: list[Int32s] = []
        self._names: list[tuple[bytes, bytes | None]] = []
        self._tick = 0
        self.n_items = 0
        self.item_events = 0
        self.n_collisions = 0

    def restore(self, checkpoint: bytes | None) -> None:
        """Take the counters from the last committed checkpoint; rows come from the store when they are needed."""
        state: dict[str, Any] = msgspec.json.decode(checkpoint)["state"] if checkpoint else {}
        self.n_items = int(state.get("n_items", 0))
        self.item_events = int(state.get("item_events", 0))
        self.n_collisions = int(state.get("n_collisions", 0))

    @property
    def stretch(self) -> int:
        """Always 1: an item stage that commits less often would keep from users what was learned."""
        return 1

    @property
    def is_full(self) -> bool:
        """Whether very many rows have changed."""
        return sum(rows.size for rows in self._touched) >= _MOST_TOUCHED

    def process(self, records: "Sequence[KafkaRecord]", now_ms: int, n_waiting: int = 0) -> None:
        """Apply item updates in their order.

        Raises
        ------
        state.updates.UpdateError
            A record is not an update of this version; the message says where it is and what to do.
        """
        del now_ms, n_waiting
        for record in records:
            if record.value is not None:
                self._apply(_decoded(record, record.value))

    def _apply(self, update: ItemUpdate) -> None:
        rows, created = self.table.ensure(update.counts["id"].copy(), self._store.get_many)
        headers = self.table.headers.records
        start_entities(headers, created)
        before = headers["n_events"][rows]
        apply_counts(headers, rows, update.counts, update.as_of_s, self._rate)
        targets, contexts = update.targets, update.contexts
        apply_targets(
            headers, rows[targets["at"]], targets["gradient"].astype(np.float32), targets["square"].copy(), self._rate
        )
        apply_contexts(
            headers,
            rows[contexts["at"]],
            contexts["gradient"].astype(np.float32),
            contexts["square"].copy(),
            self._rate,
        )
        self._apply_pairs(rows, update)
        items = headers["kind"][rows] == KIND_ITEM
        self.n_items += int(np.count_nonzero(items & (before == 0) & (headers["n_events"][rows] > 0)))
        self.item_events += int(update.counts["n_events"][items].sum())
        self._tick += 1
        headers["tick"][rows] = self._tick
        self._touched.append(rows)
        self._learn_names(update.names)

    def _apply_pairs(self, rows: Int32s, update: ItemUpdate) -> None:
        slab = self.table.pages[ENTITY_NEIGHBOURS]
        of_row = np.bincount(update.pairs["a"], minlength=rows.size)
        slab.reserve(int(np.minimum(of_row // N_SLOTS + 1, MAX_NEIGHBOURS // N_SLOTS)[of_row > 0].sum()))
        apply_pairs(
            self.table.headers.records,
            slab.records,
            slab.free,
            slab.n_free,
            rows[update.pairs["a"]],
            update.pairs["b"].copy(),
            update.pairs["weight"].copy(),
        )

    def _learn_names(self, names: dict[int, str]) -> None:
        ids = np.fromiter(names, np.uint64, len(names))
        rows = self.table.index.get_many(ids)
        named = self.table.headers.records["named"]
        known = [row >= 0 and bool(named[row]) for row in rows.tolist()]
        earlier = self._store.get_many(
            [page_key(i, KIND_NAME) for i, is_known in zip(names, known, strict=True) if is_known]
        )
        before = iter(earlier)
        for (item_id, name), row, is_known in zip(names.items(), rows.tolist(), known, strict=True):
            if is_known:
                stored = next(before)
                self.n_collisions += stored is not None and stored != name.encode()
            elif row >= 0:
                named[row] = 1
                self._names.append((page_key(item_id, KIND_NAME), name.encode()))

    def prompt(self, now_ms: int) -> list[Output]:
        """Return nothing: items go out with their pages."""
        del now_ms
        return []

    def flush(self, now_ms: int) -> Flush:
        """Return the changed pages; they are the changelog and the broadcast at once."""
        del now_ms
        pages = self.table.changed(np.unique(np.concatenate([*self._touched, NOTHING])))
        pages.singles += self._names
        state = {"n_items": self.n_items, "item_events": self.item_events, "n_collisions": self.n_collisions}
        return Flush(outputs=[], pages=pages, state=state)

    def committed(self) -> None:
        """Forget what is written, and evict rows beyond the bound."""
        self._touched.clear()
        self._names.clear()
        self.table.evict(self._hot_rows)
