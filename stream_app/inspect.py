"""What the committed state holds, read from the changelogs alone: totals, one user, one item. No worker is needed."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import numpy as np
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from operators.numeric import FIXED_POINT
from operators.params import N_OVERALL, P_LONG, P_SHORT, POPULARITY_DAYS
from operators.trend import popularity_left, trend
from state.codec import KEY_BYTES, KIND_HEADER, KIND_NAME, LayoutError, page_key, split_key
from state.ids import hash_category, hash_id
from state.layout import (
    ENTITY_HEADER,
    ENTITY_NEIGHBOURS,
    ENTITY_PAGES,
    EPOCH_2000_S,
    FLAG_BITS,
    FLAG_BOUGHT,
    FLAG_DISLIKED,
    N_REPEATS,
    USER_CATEGORIES,
    USER_HEADER,
    USER_ITEMS,
    USER_PAGES,
    USER_REPEATS,
    disk_layout,
)
from state.table import RowTable
from stream_app.changelog import CHECKPOINT_KEY
from stream_app.decoding import UNREADABLE
from stream_app.kafka import started_consumer
from stream_app.records import Checkpoint, EventLimits, decode_catalog
from stream_app.rights import final_error, reading
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from stream_app.settings import Settings

_ON_DISK: Final = disk_layout(ENTITY_HEADER)


class UnknownIdError(LookupError):
    """No committed state holds this id."""


class OtherFormatError(ValueError):
    """Another version wrote the state; the message names the topic and the remedy."""


async def read_latest(settings: "Settings", topic: str) -> AsyncIterator[Any]:
    """Yield every committed record of a topic, from its beginning to its present end.

    Raises
    ------
    UnknownIdError
        The topic does not exist.
    stream_app.probe.AccessError
        It may not be read.
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    try:
        async for record in _read_latest(settings, topic):
            yield record
    except KafkaError as error:
        raise (await final_error(settings, error, reading(topic)) or error) from error


async def _read_latest(settings: "Settings", topic: str) -> AsyncIterator[Any]:
    facts = await fetch_topic_facts(settings, [topic])
    if topic not in facts:
        message = f"topic {topic}: it does not exist; make it with: crossaisle topics create"
        raise UnknownIdError(message)
    tps = [TopicPartition(topic, p) for p in range(facts[topic].n_partitions)]
    async with started_consumer(settings) as consumer:
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        left = {tp for tp in tps if ends[tp] > 0}
        while left:
            for records in (await consumer.getmany(*left, timeout_ms=50, max_records=5000)).values():
                for record in records:
                    yield record
            for tp in list(left):
                if await consumer.position(tp) >= ends[tp]:
                    left.discard(tp)


async def _checkpoints(settings: "Settings", topic: str) -> list[Checkpoint]:
    latest: dict[int, bytes] = {}
    async for record in read_latest(settings, topic):
        if record.key == CHECKPOINT_KEY and record.value is not None:
            latest[record.partition] = record.value
    try:
        return [msgspec.json.decode(raw, type=Checkpoint) for raw in latest.values()]
    except UNREADABLE as error:
        message = f"topic {topic}: a checkpoint cannot be read ({error}); run the version that wrote it"
        raise OtherFormatError(message) from error


async def inspect_totals(settings: "Settings") -> dict[str, Any]:
    """Return the sums over all partitions: events learned once each, users, items, types, and what was passed over.

    Raises
    ------
    OtherFormatError
        Another version wrote a checkpoint.
    """
    users = [c.state for c in await _checkpoints(settings, settings.topic_user_state)]
    items = [c.state for c in await _checkpoints(settings, settings.topic_item_state)]
    by_type: Counter[str] = Counter()
    for state in users:
        by_type.update(state.get("by_type", {}))
    names = ("n_duplicates", "n_late", "n_rejected", "n_slates", "n_forgotten")
    return {
        "n_events": sum(int(s.get("n_events", 0)) for s in users),
        "n_users": sum(int(s.get("n_users", 0)) for s in users),
        "n_items": sum(int(s.get("n_items", 0)) for s in items),
        "item_events": sum(int(s.get("item_events", 0)) for s in items),
        "by_type": dict(sorted(by_type.items())),
        **{name: sum(int(s.get(name, 0)) for s in users) for name in names},
        "n_collisions": sum(int(s.get("n_collisions", 0)) for s in items),
    }


async def _pages_of(
    settings: "Settings", topic: str, row_id: int, look: Callable[[bytes], None] | None = None
) -> dict[bytes, bytes]:
    """Return the pages of one row; ``look`` is shown the headers of all rows."""
    pages: dict[bytes, bytes] = {}
    async for record in read_latest(settings, topic):
        if record.key is None or len(record.key) != KEY_BYTES or record.key == CHECKPOINT_KEY:
            continue
        of_row, kind, _ = split_key(record.key)
        if look is not None and kind == KIND_HEADER and record.value is not None:
            look(record.value)
        if of_row == row_id:
            if record.value is None:
                pages.pop(record.key, None)
            else:
                pages[record.key] = record.value
    return pages


def _row(
    topic: str, row_id: int, pages: Mapping[bytes, bytes], header: np.dtype, chains: Sequence[np.dtype]
) -> tuple[RowTable, int]:
    """Return a table with the row of these pages, and which one it is."""
    table = RowTable(header, chains)
    try:
        rows, _ = table.ensure(np.array([row_id], np.uint64), lambda keys: [pages.get(key) for key in keys])
    except LayoutError as error:
        message = f"topic {topic}: {error}"
        raise OtherFormatError(message) from error
    return table, int(rows[0])


class Names(Protocol):
    """What people call the rows: strings for 64-bit ids."""

    def item(self, item_hash: int) -> str | None:
        """Return an item's id, None where it is not known."""

    def title(self, item_hash: int) -> str | None:
        """Return an item's title, None where it has none."""

    def category(self, category_hash: int) -> tuple[str, ...]:
        """Return a category's path, empty where it is not known."""


class _ReadNames:
    """Names read from the topics."""

    def __init__(self, ids: dict[int, str], titles: dict[int, str], categories: dict[int, tuple[str, ...]]) -> None:
        self._ids, self._titles, self._categories = ids, titles, categories

    def item(self, item_hash: int) -> str | None:
        return self._ids.get(item_hash)

    def title(self, item_hash: int) -> str | None:
        return self._titles.get(item_hash)

    def category(self, category_hash: int) -> tuple[str, ...]:
        return self._categories.get(category_hash, ())


async def _names(settings: "Settings") -> Names:
    """Read the strings of items and categories from item-state and the catalogue."""
    ids: dict[int, str] = {}
    titles: dict[int, str] = {}
    categories: dict[int, tuple[str, ...]] = {}
    limits = EventLimits.of(settings)
    async for record in read_latest(settings, settings.topic_item_state):
        if record.key is not None and len(record.key) == KEY_BYTES and record.value is not None:
            row_id, kind, _ = split_key(record.key)
            if kind == KIND_NAME:
                ids[row_id] = record.value.decode()
    async for record in read_latest(settings, settings.topic_catalog):
        for item_id, entry in decode_catalog([record], limits=limits).entries:
            row_id = hash_id(item_id)
            ids[row_id] = item_id
            if entry is not None:
                path = tuple(entry.category)
                path = path[: settings.category_depth] if settings.category_depth else path
                categories[hash_category(path)] = path
            if entry is not None and entry.title is not None:
                titles[row_id] = entry.title
            else:
                titles.pop(row_id, None)
    return _ReadNames(ids, titles, categories)


def _ms(t_s: int) -> int:
    return (int(t_s) + EPOCH_2000_S) * 1000


def _slots(table: RowTable, row: int, chain: int, n: int) -> list[tuple[Any, int]]:
    slots: list[tuple[Any, int]] = []
    at = int(table.headers.records[row]["heads"][chain])
    while at > 0 and len(slots) < n:
        page = table.pages[chain].records[at]
        n_per_page = page[page.dtype.names[0]].size
        slots += [(page, k) for k in range(min(n_per_page, n - len(slots)))]
        at = int(page["next"])
    return slots


def _id(table: RowTable, entity: np.int32) -> int:
    return int(table.numbering.ids[entity])


async def inspect_user(settings: "Settings", user_id: str) -> dict[str, Any]:
    """Return a user's items with counts, categories, and what was shown last.

    Raises
    ------
    UnknownIdError
        No event of this user has been learned and committed.
    OtherFormatError
        Another version wrote the state.
    """
    row_id = hash_id(user_id)
    pages = await _pages_of(settings, settings.topic_user_state, row_id)
    if page_key(row_id, KIND_HEADER) not in pages:
        message = f"user {user_id!r}: no committed state; no event of this user was learned, or the user was forgotten"
        raise UnknownIdError(message)
    table, row = _row(settings.topic_user_state, row_id, pages, USER_HEADER, USER_PAGES)
    return user_report(user_id, table, row, await _names(settings))


def _item_report(table: RowTable, page: Any, k: int, repeats: list[tuple[Any, int]], names: Names) -> dict[str, Any]:
    """Return what a user's row holds of one item; one that the user had once has no place among the repeats."""
    item, place = _id(table, page["entity"][k]), int(page["flags"][k]) >> FLAG_BITS
    count, fast, first_s = 1, page["slow"][k], page["last_s"][k]
    if place:
        more, j = repeats[place - N_REPEATS]
        count, fast, first_s = int(more["count"][j]), more["fast"][j], more["first_s"][j]
    return {
        "item_id": names.item(item),
        "title": names.title(item),
        "count": count,
        "decayed_14d": round(float(fast) / FIXED_POINT, 3),
        "decayed_90d": round(float(page["slow"][k]) / FIXED_POINT, 3),
        "first_ms": _ms(first_s),
        "last_ms": _ms(page["last_s"][k]),
        "bought": bool(page["flags"][k] & FLAG_BOUGHT),
        "disliked": bool(page["flags"][k] & FLAG_DISLIKED),
    }


def user_report(user_id: str, table: RowTable, row: int, names: Names) -> dict[str, Any]:
    """Return what a user's row holds: items with counts, categories, and what was shown last."""
    header = table.headers.records[row]
    repeats = _slots(table, row, USER_REPEATS, int(header["n_repeats"]))
    items = [
        _item_report(table, page, k, repeats, names)
        for page, k in _slots(table, row, USER_ITEMS, int(header["n_items"]))
    ]
    seen = [
        {
            "category": list(names.category(_id(table, page["entity"][k]))),
            "n_sessions": int(page["n_sessions"][k]),
            "last_ms": _ms(page["last_s"][k]),
        }
        for page, k in _slots(table, row, USER_CATEGORIES, int(header["n_categories"]))
    ]
    return {
        "user_id": user_id,
        "n_events": int(header["n_events"]),
        "last_event_ms": _ms(header["last_s"]),
        "repeat_rate": round(float(header["n_repeat_decayed"]) / max(float(header["n_decayed"]), 1e-9), 4),
        "items": sorted(items, key=lambda i: (-i["count"], str(i["item_id"]))),
        "categories": sorted(seen, key=lambda c: (-c["n_sessions"], c["category"])),
        "last_slate": [names.item(_id(table, entity)) for entity in header["shown"][: int(header["n_shown"])]],
    }


async def inspect_item(settings: "Settings", item_id: str) -> dict[str, Any]:
    """Return an item's counts, popularities as of the newest event of all items, and strongest co-occurring items.

    Raises
    ------
    UnknownIdError
        No event about this item has been learned and committed.
    OtherFormatError
        Another version wrote the state.
    """
    row_id = hash_id(item_id)
    newest_s = 0

    def look(value: bytes) -> None:
        nonlocal newest_s
        if len(value) == _ON_DISK.itemsize:  # else of another version, which is told where it is the item's own
            newest_s = max(newest_s, int(np.frombuffer(value, _ON_DISK, 1)["t_s"][0]))

    pages = await _pages_of(settings, settings.topic_item_state, row_id, look)
    if page_key(row_id, KIND_HEADER) not in pages:
        message = f"item {item_id!r}: no committed state; no event about it was learned"
        raise UnknownIdError(message)
    table, row = _row(settings.topic_item_state, row_id, pages, ENTITY_HEADER, ENTITY_PAGES)
    return item_report(item_id, table, row, await _names(settings), newest_s)


def item_report(item_id: str, table: RowTable, row: int, names: Names, newest_s: int) -> dict[str, Any]:
    """Return what an item's row holds: counts, popularities and strongest co-occurring items.

    Parameters
    ----------
    newest_s
        Time of the newest event of all items, in seconds since 2000. The row's own is that of its last event: by now
        less is left of it. This machine's clock would not do, as the events of a replay are old.
    """
    header = table.headers.records[row]
    as_of_s = max(newest_s, int(header["t_s"]))
    popularity = popularity_left(header["popularity"][:N_OVERALL], as_of_s - int(header["t_s"]))
    total = max(float(header["cooc_count"]), 1e-30)
    neighbours = [
        {
            "item_id": names.item(int(page["ids"][k])),
            "title": names.title(int(page["ids"][k])),
            "share": round(float(page["weights"][k]) / total, 5),
        }
        for page, k in _slots(table, row, ENTITY_NEIGHBOURS, int(header["n_neighbours"]))
    ]
    return {
        "item_id": item_id,
        "title": names.title(int(header["id"])),
        "n_events": int(header["n_events"]),
        "n_interactions": int(header["n"]),
        "n_repeat": int(header["n_repeat"]),
        "popularity": {
            f"{days:g}d": round(value, 3) for days, value in zip(POPULARITY_DAYS[:N_OVERALL], popularity, strict=True)
        },
        "trend": trend(popularity[P_SHORT], popularity[P_LONG]),
        "as_of_ms": _ms(as_of_s),
        "neighbours": sorted(neighbours, key=lambda n: (-n["share"], str(n["item_id"]))),
    }
