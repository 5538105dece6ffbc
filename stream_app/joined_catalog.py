"""The catalogue, joined to the rows of its items: where they stand, what describes them, since when they are listed."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np

from operators.arrays import N_ATTRIBUTE_NUMBERS
from operators.attributes import attribute_numbers, tag_numbers
from operators.popular import list_new, update_top, withdraw_from_category
from operators.serving import N_ATTRIBUTES, count_attributes
from operators.signatures import signatures
from operators.weights import N_CATEGORY_VECTORS
from state.arrays import Int32s, UInt64s
from state.ids import hash_category, hash_ids
from state.layout import EPOCH_2000_S, KIND_CATEGORY
from stream_app.entity_arrays import EntityArrays
from stream_app.records import CatalogEntry, EventLimits, decode_catalog, path_label

if TYPE_CHECKING:
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

_Place = TypeVar("_Place")

_NO_ATTRIBUTES = (0,) * N_ATTRIBUTES


class ListedItem(msgspec.Struct, frozen=True):
    """What the catalogue says of an item, as far as slates and people need it."""

    item_id: str
    category: tuple[str, ...]
    title: str | None
    label: str
    """The category as one text."""
    n_components: int = 0
    """Components of its content vector, 0 without one."""


class BadRecords(NamedTuple):
    """Where the catalogue has records that could not be read."""

    places: dict[int, tuple[int, int]]
    """First and last offset by partition, of those met since it was asked before; readable ones may lie between."""
    by_code: dict[str, int]
    """How many have been met in all."""


def widen(places: "dict[_Place, tuple[int, int]]", place: "_Place", first: int, last: int) -> None:
    """Let what is noted of a place, its first and its last offset, hold these two as well."""
    before = places.get(place, (first, last))
    places[place] = (min(first, before[0]), max(last, before[1]))


class _Listing(NamedTuple):
    """When a batch of the catalogue lists an item: the time of its first entry in it after its last tombstone in it."""

    time_ms: int
    is_anew: bool
    """Whether there is a tombstone before that: what was listed before the batch does not count."""


def _listings(entries: "Iterable[tuple[str, CatalogEntry | None]]", times_ms: "Iterable[int]") -> "dict[str, _Listing]":
    """Return the listing of each item, whatever follows it in the batch: how batches are cut makes no difference."""
    found: dict[str, _Listing] = {}
    ended: set[str] = set()
    for (item_id, entry), time_ms in zip(entries, times_ms, strict=True):
        if entry is None or item_id in ended or item_id not in found:
            found[item_id] = _Listing(time_ms, entry is None or item_id in ended)
        if entry is None:
            ended.add(item_id)
        else:
            ended.discard(item_id)
    return found


class JoinedCatalog(EntityArrays):
    """Entities and what the catalogue says of them.

    Parameters
    ----------
    settings
        ``category_depth`` and the limits of catalogue records are taken from it.
    """

    def __init__(self, settings: "Settings") -> None:
        super().__init__()
        self._depth = settings.category_depth
        self._limits = EventLimits.of(settings)
        self.listed: dict[int, ListedItem] = {}
        self.category_paths: list[tuple[str, ...]] = []
        self._dense: dict[tuple[str, ...], int] = {}
        self.n_collisions = 0
        self._bad: dict[int, tuple[int, int]] = {}
        self.catalog_rejects: Counter[str] = Counter()
        """Catalogue records met that could not be read, by code."""
        self.embeddings: dict[int, int] = {}
        """Items with a content vector, by its number of components."""

    def apply_catalog(self, records: "Sequence[KafkaRecord]") -> None:
        """Take over a batch of catalogue records; of what cannot be read :meth:`take_bad_records` tells the place."""
        decoded = decode_catalog(records, limits=self._limits)
        for rejection in decoded.rejections:
            record = records[rejection.index]
            widen(self._bad, record.partition, record.offset, record.offset)
        self.catalog_rejects.update(r.code for r in decoded.rejections)
        latest = dict(decoded.entries)
        if not latest:
            return
        bad = {r.index for r in decoded.rejections}
        stamps = (record.timestamp for index, record in enumerate(records) if index not in bad)
        listings = _listings(decoded.entries, stamps)
        ids = hash_ids(latest, len(latest))
        if np.unique(ids).size < ids.size:
            self.n_collisions += 1
            names = dict(zip(ids.tolist(), latest, strict=True))
            latest = {name: latest[name] for name in names.values()}
            ids = hash_ids(latest, len(latest))
        entries = list(latest.values())
        paths = [self._path_of(entry) for entry in entries]
        with self._lock.write_lock():
            rows = self.ensure(ids)
            self._place(rows, paths, entries)
            self._list(rows, ids, [listings[item_id] for item_id in latest], entries)
            self._describe(rows, paths, entries)
            self._inform(ids, paths, latest)
            update_top(self.entities(), rows)
            list_new(self.entities(), rows, self._listed_s[rows])

    def _path_of(self, entry: CatalogEntry | None) -> tuple[str, ...]:
        path = tuple(entry.category) if entry is not None else ()
        return path[: self._depth] if self._depth > 0 else path

    def _place(
        self, rows: Int32s, paths: "Sequence[tuple[str, ...]]", entries: "Sequence[CatalogEntry | None]"
    ) -> None:
        """Put items into the categories of their catalogue entries, out of those that they were in."""
        new = np.array([self._dense_category(path) if path else -1 for path in paths], np.int32)
        old = self._category[rows]
        for k in np.flatnonzero((old != -1) & (old != new)).tolist():
            withdraw_from_category(self.entities(), rows[k], old[k])
        self._category[rows] = new
        self._available[rows] = (new >= 0) & np.array([entry is not None and entry.available for entry in entries])

    def _describe(
        self, rows: Int32s, paths: "Sequence[tuple[str, ...]]", entries: "Sequence[CatalogEntry | None]"
    ) -> None:
        """Give items the attributes of their catalogue entries; their events count for these from now on."""
        events = self.table.headers.records["n"][rows].astype(np.float64)
        self._count_attributes(rows, -events)
        self._serving[0]["attributes"][rows] = [
            attribute_numbers(path, entry.brand, entry.price, entry.title) if entry is not None else _NO_ATTRIBUTES
            for path, entry in zip(paths, entries, strict=True)
        ]
        self._tags[rows] = [tag_numbers(entry.tags if entry is not None else None) for entry in entries]
        self._serving[0]["tagged"][rows] = self._tags[rows, 0] > 0
        self._embed(rows, entries)
        for lines in self._serving[1:]:
            lines[rows] = self._serving[0][rows]
        self._count_attributes(rows, events)

    def _embed(self, rows: Int32s, entries: "Sequence[CatalogEntry | None]") -> None:
        """Give items the signatures of their content vectors."""
        embedded = self._serving[0]["embedded"]
        self.totals[2] -= np.count_nonzero(embedded[rows])
        self._serving[0]["signature"][rows], embedded[rows] = signatures(
            [entry.embedding if entry is not None else None for entry in entries]
        )
        self.totals[2] += np.count_nonzero(embedded[rows])

    def _count_attributes(self, rows: Int32s, events: np.ndarray) -> None:
        count_attributes(self._serving[0], self._tags, rows, events, self._attribute_totals, N_ATTRIBUTE_NUMBERS)

    def _list(
        self, rows: Int32s, ids: UInt64s, listings: "Sequence[_Listing]", entries: "Sequence[CatalogEntry | None]"
    ) -> None:
        """Note when items were listed: at the first entry since they were not in the catalogue."""
        times_ms = np.array([listing.time_ms for listing in listings], np.int64)
        seconds = np.clip(times_ms // 1000 - EPOCH_2000_S, 0, np.iinfo(np.uint32).max)
        stays = (
            item_hash in self.listed and not listing.is_anew
            for item_hash, listing in zip(ids.tolist(), listings, strict=True)
        )
        known = np.fromiter(stays, np.bool_, ids.size)
        gone = np.fromiter((entry is None for entry in entries), np.bool_, ids.size)
        self._listed_s[rows] = np.where(gone, 0, np.where(known, self._listed_s[rows], seconds))

    def _inform(
        self, ids: UInt64s, paths: "Sequence[tuple[str, ...]]", latest: "Mapping[str, CatalogEntry | None]"
    ) -> None:
        """Keep what people read of the items, and count those that share their id with another one."""
        for item_hash, path, (item_id, entry) in zip(ids.tolist(), paths, latest.items(), strict=True):
            known = self.listed.get(item_hash)
            if known is not None:
                self.n_collisions += known.item_id != item_id
                self._count_embedding(known.n_components, -1)
            if entry is not None:
                label, n_components = sys.intern(path_label(path)), len(entry.embedding or ())
                self.listed[item_hash] = ListedItem(item_id, path, entry.title, label, n_components)
                self._count_embedding(n_components, 1)
            elif known is not None:
                del self.listed[item_hash]

    def _count_embedding(self, n_components: int, n: int) -> None:
        if n_components:
            self.embeddings[n_components] = self.embeddings.get(n_components, 0) + n
            if not self.embeddings[n_components]:
                del self.embeddings[n_components]

    def _dense_category(self, path: tuple[str, ...]) -> int:
        dense = self._dense.get(path)
        if dense is None:
            dense = self._dense[path] = self._new_category(path)
        return dense

    def _new_category(self, path: tuple[str, ...]) -> int:
        """Return the dense number of a path that is met for the first time; two that share an id share it."""
        row = int(self.ensure(np.array([hash_category(path)], np.uint64))[0])
        dense = int(self._category_of_row[row])
        if dense < 0:
            dense = len(self.category_paths)
            if dense >= self.n_categories:
                self._size_categories(2 * self.n_categories)
            self.category_paths.append(path)
            self._category_of_row[row] = dense
            self._category_rows[dense] = row
            self._category_vectors[dense] = hash_category(path) % N_CATEGORY_VECTORS
            self._n_categories[0] = dense + 1
            self.table.headers.records[row]["kind"] = KIND_CATEGORY
        return dense

    def take_bad_records(self) -> BadRecords:
        """Return where catalogue records could not be read since the last call."""
        places, self._bad = self._bad, {}
        return BadRecords(places, dict(self.catalog_rejects))

    def category_path(self, category_hash: int) -> tuple[str, ...]:
        """Return the path of a category, empty where the catalogue does not know it."""
        with self._lock.read_lock():
            row = self.table.index.get(category_hash)
            dense = int(self._category_of_row[row]) if row >= 0 else -1
        return self.category_paths[dense] if dense >= 0 else ()
