"""Recall: candidates are distinct, known, wanted, outside the present context; and no mark is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.arrays import MAX_CANDIDATES
from operators.cooccurrence import FADING, N_LATEST
from operators.params import N_CATEGORY_NEW, NEW_DAYS, NEW_EVENTS
from operators.rank import begin, end
from operators.recall import N_NEW, N_NEW_EMBEDDED, may_recall
from state.ids import hash_id
from state.kernel import kernel
from state.layout import ENTITY_NEIGHBOURS, FLAG_DISLIKED, N_SLOTS, N_USER_SLOTS
from tests.operators.world import DAY_S, HISTORIES, N_AISLES, N_ITEMS, Step, World, context_rows, is_clear, shoppers

if TYPE_CHECKING:
    from operators.arrays import Entities, Users, Work
    from operators.params import LearnParams
    from state.arrays import Row, UInt8s
    from tests.operators.world import Gathered


def disliked_rows(world: World, user: int) -> set[int]:
    """Return the rows of the items that a user dislikes."""
    table = world.users.table
    header = table.headers.records[world.user_row(user)]
    found: set[int] = set()
    at, left = int(header["heads"][0]), int(header["n_items"])
    while at > 0 and left > 0:
        page = table.pages[0].records[at]
        slots = range(min(N_USER_SLOTS, left))
        found |= {int(page["entity"][k]) for k in slots if page["flags"][k] & FLAG_DISLIKED}
        left, at = left - N_USER_SLOTS, int(page["next"])
    return found


def of_latest(found: Gathered, row: int) -> float:
    """Return what part of the events of the user's latest items an item came with, the latest counting most."""
    recent = found.users.headers[found.u]
    total, weight = 0.0, 1.0
    for latest in recent["recent"][: min(int(recent["n_recent"]), N_LATEST)].tolist():
        header = found.entities.headers[latest]
        at, left = int(header["heads"][ENTITY_NEIGHBOURS]), int(header["n_neighbours"])
        while latest > 0 and at > 0 and left > 0 and header["cooc_count"] > 0.0:
            page = found.entities.neighbours[at]
            came = page["rows"][: min(left, N_SLOTS)] == row
            total += weight * float(page["weights"][: came.size][came].sum() / header["cooc_count"])
            left, at = left - N_SLOTS, int(page["next"])
        weight *= FADING
    return total


@kernel
def possible(
    users: Users, u: int, entities: Entities, globals_: Row, work: Work, now_s: int, params: LearnParams, out: UInt8s
) -> None:
    """Write to ``out``, by entity row, whether recall may list it."""
    n_categories, _, n_context, _ = begin(users, u, entities, globals_, work, now_s, params)
    for row in range(1, out.shape[0]):
        out[row] = may_recall(users, u, entities, work, n_context, row)
    end(users, u, work, n_categories)


@settings(max_examples=60)
@given(HISTORIES, st.integers(0, N_ITEMS))
def test_what_is_listed_was_possible(history: list[Step], n_in_catalogue: int) -> None:
    """No candidate is an item of which it was said that recall does not list it; and no mark is left."""
    world = World(n_in_catalogue)
    world.live(history)
    work = world.new_work()
    for user in world.known_users():
        out = np.zeros(world.replica.n_rows, np.uint8)
        params, globals_ = world.users._learn, world.users.globals[0]
        possible(world.arrays, world.user_row(user), world.entities, globals_, work, world.now_s(user), params, out)
        assert is_clear(work)
        with world.gathered(user, work) as found:
            assert all(out[row] for row in found.rows)


def test_few_items_are_possible_for_one_user() -> None:
    """In a shop with far more items than are popular, most are ruled out at once."""
    world = World()
    world.catalogue(range(5_000))
    world.live(shoppers(200, 3), 50)
    user = world.known_users()[0]
    out = np.zeros(world.replica.n_rows, np.uint8)
    params, globals_ = world.users._learn, world.users.globals[0]
    possible(
        world.arrays, world.user_row(user), world.entities, globals_, world.new_work(), world.now_s(user), params, out
    )
    assert 0 < out.sum() < 1_000


@settings(max_examples=100)
@given(HISTORIES, st.integers(0, N_ITEMS))
def test_candidates_keep_their_promises(history: list[Step], n_in_catalogue: int) -> None:
    """Candidates are distinct items of known category, none of the context, none disliked; had says what it says."""
    world = World(n_in_catalogue)
    world.live(history)
    work = world.new_work()
    for user in world.known_users():
        context, disliked = context_rows(world, user), disliked_rows(world, user)
        had = {world.item_row(s.item) for s in history if s.user == user and s.kind != "impression"}
        with world.gathered(user, work) as found:
            rows = found.rows
            assert len(rows) == len(set(rows)) <= MAX_CANDIDATES
            assert all(work.position[row] == k for k, row in enumerate(rows))
            assert all(found.entities.category[row] >= 0 for row in rows)
            assert not set(rows) & context
            assert not set(rows) & disliked
            for c in work.candidates[: found.n]:
                if c["had"]:
                    assert int(c["row"]) in had
                    assert found.users.items[c["page"]]["entity"][c["slot"]] == c["row"]
                assert c["cooc"] >= 0.0
                assert c["cooc_cosine"] >= 0.0
                assert np.isclose(c["cooc_latest"], of_latest(found, int(c["row"])), rtol=1e-4, atol=1e-6)
        assert is_clear(work), "release() must leave nothing behind"


@settings(max_examples=60)
@given(HISTORIES)
def test_recall_is_a_function_of_the_state(history: list[Step]) -> None:
    """Gathering twice, in used or in fresh scratch space, lists the same candidates in the same order."""
    world = World()
    world.live(history)
    used = world.new_work()
    for user in world.known_users():
        with world.gathered(user, used) as first:
            rows = first.rows
        with world.gathered(user, used) as again:
            assert again.rows == rows
        with world.gathered(user) as fresh:
            assert fresh.rows == rows


def test_own_items_come_back_when_the_session_is_over() -> None:
    """What a user had in earlier sessions is a candidate in the next one; what is in the basket is not."""
    world = World()
    world.live([Step(0, 1, "purchase", 1.0, 1), Step(0, 2, "purchase", 2.0, 2), Step(0, 3, "purchase", 3.0, 3)])
    with world.gathered(0) as found:
        assert {world.item_row(1), world.item_row(2)} <= set(found.rows)
        assert world.item_row(3) not in found.rows


def test_what_goes_together_is_recalled() -> None:
    """An item that others bought together with the context is a candidate, with the context item as its source."""
    world = World()
    together = [Step(k % 3, item, "purchase", float(k), k) for k in range(30) for item in (6, 12)]
    world.live(together + shoppers(20, 5))
    world.live([Step(3, 6, "purchase", 390.0, 99)])
    with world.gathered(3) as found:
        c = found.work.candidates[found.work.position[world.item_row(12)]]
        assert c["cooc"] > 0
        assert found.entities.headers[c["source"]]["id"] == hash_id("i6")


def test_an_item_without_events_is_recalled() -> None:
    """What was listed lately is a candidate before anybody had it, unless it is not available, or of the context."""
    world = World(10)
    world.live([Step(0, item, "purchase", 300.0 + item / 10, 1) for item in range(10)])
    world.live([Step(0, 0, "purchase", 390.0, 2)])
    listed_s = world.now_s(0) - DAY_S
    world.catalogue(range(10, 20), listed_s=listed_s, available=False)
    world.catalogue(range(20, 25), listed_s=listed_s)
    new = [world.item_row(item) for item in range(20, 25)]
    with world.gathered(0) as found:
        assert set(new[1:]) <= set(found.rows)
        assert new[0] not in found.rows, "its category is the context's"
        assert not {world.item_row(item) for item in range(10, 20)} & set(found.rows)


def test_an_item_is_new_for_a_while() -> None:
    """With enough events, or long after it was listed, an item has to be a candidate for another reason."""
    world = World(10)
    world.live([Step(0, item, "purchase", 300.0 + item / 10, 1) for item in range(10)])
    world.live([Step(0, 0, "purchase", 390.0, 2)])
    old, young, taken = 21, 22, 23
    now_s = world.now_s(0)
    for item, days in ((old, NEW_DAYS + 1), (young, NEW_DAYS - 1), (taken, 1)):
        world.catalogue([item], listed_s=now_s - int(days * DAY_S))
    world.live([Step(1, taken, "purchase", 389.0, None) for _ in range(NEW_EVENTS)])
    assert all(world.item_row(taken) not in line["rows"][: line["n"]] for line in world.entities.newest)
    with world.gathered(0) as found:
        assert world.item_row(young) in found.rows
        assert world.item_row(old) not in found.rows


def test_new_items_are_bounded_in_number() -> None:
    """However many items are new, few of them are candidates, and of those with content vectors the fitting ones."""
    for embedded, bound in ((False, N_NEW), (True, N_NEW_EMBEDDED)):
        world = World(0)
        vectors = {kind: [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]][kind] for kind in (0, 1)}
        for item in range(40 * N_AISLES):
            world.catalogue([item], **({"embedding": vectors[item // N_AISLES % 2]} if embedded else {}))
        world.live([Step(0, item, "purchase", 300.0 + item, item) for item in range(N_AISLES)])
        had = {world.item_row(item) for item in range(N_AISLES)}
        with world.gathered(0) as found:
            new = set(found.rows) - had
            assert 0 < len(new) <= bound
            assert (world.entities.newest["n"] <= N_CATEGORY_NEW).all()
            if embedded:
                fitting = {world.item_row(item) for item in range(40 * N_AISLES) if item // N_AISLES % 2 == 0}
                assert len(new & fitting) > 0.6 * len(new)
