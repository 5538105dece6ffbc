"""An interval's item updates as records: names go to their shards, and what is large is cut into several records.

An item task applies the records of an update one after the other and ends up with the very same rows as from one
record: each entity's counts and gradients stand in one of them, its pairs keep their order, and the time that decayed
sums are as of is the same in all. Only an entity whose pairs alone fill a record goes on in the next one, with counts
of 0, which change nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from state.ids import item_shard
from state.updates import COUNTS, GRADIENTS, HEADER, PAIRS, ItemUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from state.arrays import Int64s, Rows

UPDATE_BYTES: Final = 500_000
"""Most bytes of one record: an eighth of what the topic takes, and with what is around it one batch."""

_EMPTY_BYTES: Final = HEADER.itemsize + 5
"""Of an update without entities and names."""
_NAME_BYTES: Final = 14
"""Most bytes of a name beside its text."""


def with_names(updates: Mapping[int, ItemUpdate], names: Mapping[int, str], n_shards: int) -> dict[int, ItemUpdate]:
    """Return updates by shard, each with the names of the ids of its shard."""
    ids = np.fromiter(names, np.uint64, len(names))
    of_shard: dict[int, dict[int, str]] = {}
    for (item_id, name), shard in zip(names.items(), item_shard(ids, np.uint64(n_shards)).tolist(), strict=True):
        of_shard.setdefault(shard, {})[item_id] = name
    return {shard: update._replace(names=of_shard.get(shard, {})) for shard, update in updates.items()}


def split_update(update: ItemUpdate, most_bytes: int = UPDATE_BYTES) -> list[ItemUpdate]:
    """Return updates that, applied in their order, do the very same as one, none of them larger than asked for.

    Parameters
    ----------
    update
        Each id stands in it once.
    most_bytes
        Bytes of an encoded update; room for one entity without its pairs and for one name at least.
    """
    room = most_bytes - _EMPTY_BYTES
    if _content_bytes(update) <= room:
        return [update]
    ordered = update._replace(
        targets=_by_entity(update.targets, "at"),
        contexts=_by_entity(update.contexts, "at"),
        pairs=_by_entity(update.pairs, "a"),
    )
    parts: list[ItemUpdate] = []
    for begin, end in pairwise(_cuts(_entity_bytes(ordered), room)):
        part = _part(ordered, begin, end)
        parts += [part] if _content_bytes(part) <= room else _with_fewer_pairs(part, room)
    return [*parts, *_other_names(ordered, room)]


def _by_entity(section: Rows, field: str) -> Rows:
    """Return a section in the order of its entities, each one's records in the order that they had."""
    return section[np.argsort(section[field], kind="stable")]


def _content_bytes(update: ItemUpdate) -> int:
    """Return the bytes of the sections and the most bytes of the names."""
    return sum(section.nbytes for section in update[1:5]) + sum(map(_name_bytes, update.names.values()))


def _name_bytes(name: str) -> int:
    return _NAME_BYTES + len(name.encode())


def _entity_bytes(update: ItemUpdate) -> Int64s:
    """Return what each entity takes: counts, gradients, pairs and name."""
    n = update.counts.size
    sizes = np.full(n, COUNTS.itemsize, np.int64)
    for at in (update.targets["at"], update.contexts["at"]):
        sizes += GRADIENTS.itemsize * np.bincount(at, minlength=n)
    sizes += PAIRS.itemsize * np.bincount(update.pairs["a"], minlength=n)
    names = (update.names.get(entity) for entity in update.counts["id"].tolist())
    return sizes + np.fromiter((0 if name is None else _name_bytes(name) for name in names), np.int64, n)


def _cuts(sizes: Int64s, room: int) -> list[int]:
    """Return where parts begin, and the end: each has as many as there is room for, and one at least."""
    ends = np.cumsum(sizes)
    cuts, taken = [0], 0
    while cuts[-1] < sizes.size:
        end = max(cuts[-1] + 1, int(np.searchsorted(ends, taken + room, side="right")))
        cuts.append(end)
        taken = int(ends[end - 1])
    return cuts


def _part(update: ItemUpdate, begin: int, end: int) -> ItemUpdate:
    """Return the entities from ``begin`` to ``end`` with all that is theirs; sections are in their order."""
    counts = update.counts[begin:end]
    return ItemUpdate(
        update.as_of_s,
        counts,
        _moved(update.targets, "at", begin, end),
        _moved(update.contexts, "at", begin, end),
        _moved(update.pairs, "a", begin, end),
        {entity: update.names[entity] for entity in counts["id"].tolist() if entity in update.names},
    )


def _moved(section: Rows, field: str, begin: int, end: int) -> Rows:
    """Return what belongs to the entities from ``begin`` to ``end``, which are counted from 0 on."""
    first, last = np.searchsorted(section[field], (begin, end))
    part = section[first:last].copy()
    part[field] -= begin
    return part


def _with_fewer_pairs(update: ItemUpdate, room: int) -> Iterator[ItemUpdate]:
    """Yield one entity with as many pairs as there is room for, then the rest of its pairs."""
    pairs = update.pairs
    n = max(1, (room - _content_bytes(update._replace(pairs=pairs[:0]))) // PAIRS.itemsize)
    yield update._replace(pairs=pairs[:n])
    counts = np.zeros_like(update.counts)
    counts[["id", "kind"]] = update.counts[["id", "kind"]]
    rest = ItemUpdate(update.as_of_s, counts, update.targets[:0], update.contexts[:0], pairs[:0], {})
    for at in range(n, pairs.size, n):
        yield rest._replace(pairs=pairs[at : at + n])


def _other_names(update: ItemUpdate, room: int) -> Iterator[ItemUpdate]:
    """Yield the names of ids that the update does not count; they go last, when all entities are known."""
    counted = set(update.counts["id"].tolist())
    others = {entity: name for entity, name in update.names.items() if entity not in counted}
    sizes = np.fromiter(map(_name_bytes, others.values()), np.int64, len(others))
    nothing = _part(update, 0, 0)
    for begin, end in pairwise(_cuts(sizes, room)):
        yield nothing._replace(names=dict(list(others.items())[begin:end]))
