"""The replica: a catalogue means the same however it was cut into batches, and however the items' pages came."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from operators.arrays import N_ATTRIBUTE_NUMBERS, N_CONTENT
from operators.signatures import signatures
from state.ids import hash_id
from state.layout import EPOCH_2000_S
from stream_app.replica import Replica
from stream_app.settings import Settings
from tests.stream_app.test_user_stage import NOW_MS, Record, World, shoppers

ITEMS = [f"i{k}" for k in range(30)]
ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.none()
        | st.fixed_dictionaries(
            {"category": st.lists(st.sampled_from("abc"), max_size=2)},
            optional={
                "brand": st.sampled_from(["X", " x", "Y"]),
                "price": st.floats(0, 50),
                "title": st.sampled_from(["Milk, 1 l", "milk", "Rolls (6)"]),
                "available": st.booleans(),
                "embedding": st.lists(st.sampled_from([-1.0, 0.0, 0.5, 3e38]), max_size=3),
                "tags": st.lists(st.sampled_from(["new", "NEW", "bio", "red", "old", "big"]), max_size=6),
            },
        ),
    ),
    max_size=12,
)


def record_of(item: str, entry: dict[str, Any] | None) -> Record:
    """Return the catalogue record of an item, a tombstone if there is no entry."""
    value = None if entry is None else json.dumps({"item_id": item, **entry}).encode()
    return Record(item.encode(), value)


def content(replica: Replica) -> dict[str, Any]:
    """Return what a replica knows, by ids: the numbers of rows hang on the order in which they came."""
    entities = replica.entities()
    headers = entities.headers
    names = {row: int(headers["id"][row]) for row in entities.rows[entities.rows >= 0].tolist()}
    items = {
        item: (
            replica.listed.get(item),
            int(headers["n"][row]),
            headers["popularity"][row].tobytes(),
            headers["target"][row].tobytes(),
            replica.category_paths[entities.category[row]] if entities.category[row] >= 0 else None,
            bool(entities.available[row]),
            entities.serving["attributes"][row].tolist(),
            entities.tags[row].tolist(),
            entities.serving["embedded"][row],
            entities.serving["signature"][row].tobytes(),
            int(replica._listed_s[row]),
            neighbours_of(replica, row, names),
        )
        for row, item in names.items()
    }
    tops = [
        {names[row] for row in rows[:n].tolist()}
        for rows, n in (
            (entities.top, entities.n_top[0]),
            (entities.fresh_top, entities.n_fresh_top[0]),
            *zip(entities.category_top, entities.category_n_top, strict=True),
            *zip(entities.newest["rows"], entities.newest["n"], strict=True),
        )
    ]
    return {
        "items": items,
        "tops": tops,
        "names": replica.names,
        "totals": replica.totals.tolist(),
        "attributes": entities.attribute_totals[1:].tolist(),
    }


def neighbours_of(replica: Replica, row: int, names: dict[int, int]) -> list[tuple[int, float]]:
    """Return ids and weights of an item's neighbours; each must stand beside the row that it has."""
    entities = replica.entities()
    found = []
    at = int(entities.headers["heads"][row, 0])
    while at:
        page = entities.neighbours[at]
        for neighbour, weight, its_row in zip(page["ids"], page["weights"], page["rows"], strict=True):
            if neighbour:
                assert names[int(its_row)] == int(neighbour)
                found.append((int(neighbour), float(weight)))
        at = int(page["next"])
    return found


@given(ENTRIES, st.integers(1, 12))
@hypothesis_settings(max_examples=50)
def test_batches_of_a_catalogue_do_not_matter(entries: list[tuple[int, dict[str, Any] | None]], size: int) -> None:
    """Entry by entry or many at once, items that have events and others: categories, lists and attributes are the same.

    Between two batches only the newest entry of an item counts, so that what was there before it leaves nothing behind.
    """
    world = World()
    world.catalogue(ITEMS)
    for start in range(0, 80, 40):
        world.users.process(shoppers(80, 1)[start : start + 40], NOW_MS)
        world.commit()
    one, many = (Replica(Settings()) for _ in range(2))
    for replica in (one, many):
        replica.apply_catalog([record_of(item, {"category": ["a"]}) for item in ITEMS[:4]])
        replica.apply_items([Record(key, page) for key, page in world.item_store._pages.items()])
    records = [record_of(f"i{k}", entry) for k, entry in entries]
    for n, record in enumerate(records):
        record.timestamp += 1_000 * n
    for record in records:
        one.apply_catalog([record])
    for start in range(0, len(records), size):
        many.apply_catalog(records[start : start + size])
    first, second = content(one), content(many)
    for found in (first, second):
        found["tops"] = [found["tops"][0], found["tops"][1], *({frozenset(top) for top in found["tops"][2:]},)]
        found["items"] = {item: facts for item, facts in found["items"].items() if facts[1] or facts[0]}
    assert first == second
    known = {f"i{k}": entry for k, entry in entries}
    assert all((hash_id(item) in many.listed) == (entry is not None) for item, entry in known.items())


def test_a_catalogue_gives_what_was_learned_its_attributes() -> None:
    """Events of an item count for the attributes of its newest entry, and for those alone."""
    world = World()
    world.users.process(shoppers(80, 1)[:40], NOW_MS)
    world.commit()
    replica = world.replica
    item = next(name for name in ITEMS if (row := replica.table.index.get(hash_id(name))) >= 0 and row)
    n = float(replica.table.headers.records["n"][replica.table.index.get(hash_id(item))])
    assert n > 0
    for brand in ("X", "Y"):
        replica.apply_catalog([record_of(item, {"category": ["a"], "brand": brand})])
        counted = replica.entities().attribute_totals
        assert np.flatnonzero(counted[1:]).size == 1
        assert counted[1:].max() == n


def test_a_changed_content_vector_takes_its_events_along() -> None:
    """Events count for the signature of the newest entry, for each of its bytes and bits; without a vector for none."""
    world = World()
    world.users.process(shoppers(80, 1)[:40], NOW_MS)
    world.commit()
    replica = world.replica
    item = next(name for name in ITEMS if replica.table.index.get(hash_id(name)) > 0)
    row = replica.table.index.get(hash_id(item))
    n = float(replica.table.headers.records["n"][row])
    for embedding in ([0.5, -1.0, 0.1], [0.5, 1.0], None, [-2.0], [0.0], [3e38, -3e38, 1e-300, 4.0]):
        entry: dict[str, Any] = {"category": ["a"]}
        replica.apply_catalog([record_of(item, entry if embedding is None else {**entry, "embedding": embedding})])
        entities = replica.entities()
        wanted, known = signatures([embedding])
        assert (entities.serving["signature"][row] == wanted[0]).all()
        assert replica.totals[2] == known[0]
        values, bits = np.split(entities.attribute_totals[N_ATTRIBUTE_NUMBERS:], [N_CONTENT])
        assert values.sum() == 8 * n * known[0]
        assert all(values[256 * k + value] == n * known[0] for k, value in enumerate(wanted[0].tolist()))
        assert (bits == n * np.unpackbits(wanted[0], bitorder="little")).all()
    replica.apply_catalog([record_of(item, None)])
    assert not replica.entities().attribute_totals[N_ATTRIBUTE_NUMBERS:].any()
    assert replica.totals[2] == 0


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_the_first_entry_lists_an_item_wherever_a_batch_ends(size: int) -> None:
    """Neither an entry after it in the same batch nor a tombstone that a batch holds with others changes that."""
    replica = Replica(Settings())
    listed = [(3, "i1"), (4, "i1"), (5, "i2"), (6, None), (7, "i1"), (8, "i1"), (9, "i2")]
    records = [record_of(item or "i1", {"category": ["a"], "price": day} if item else None) for day, item in listed]
    for record, (day, _) in zip(records, listed, strict=True):
        record.timestamp = 1000 * (EPOCH_2000_S + day)
    for start in range(0, len(records), size):
        replica.apply_catalog(records[start : start + size])
    rows = [replica.table.index.get(hash_id(item)) for item in ("i1", "i2")]
    assert replica._listed_s[rows].tolist() == [7, 5]
    newest = replica.entities().newest[0]
    found = zip(newest["rows"][:2].tolist(), newest["listed_s"][:2].tolist(), strict=True)
    assert dict(found) == {rows[0]: 7, rows[1]: 5}


def test_an_item_stays_listed_since_its_first_entry() -> None:
    """A shop that sends its catalogue every night does not make all of it new; what was taken out and comes back is."""
    replica = Replica(Settings())
    for day, entry, wanted in ((3, {}, 3), (5, {"price": 2.0}, 3), (6, None, None), (9, {}, 9)):
        record = record_of("i1", entry if entry is None else {"category": ["a"], **entry})
        record.timestamp = 1000 * (EPOCH_2000_S + day)
        replica.apply_catalog([record])
        row = replica.table.index.get(hash_id("i1"))
        assert replica._listed_s[row] == (wanted or 0)
        assert replica.entities().newest["n"][0] == (wanted is not None)
