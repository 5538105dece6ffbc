"""Recall: candidates are distinct, known, wanted, outside the present context; and no mark is left."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.arrays import MAX_CANDIDATES
from state.ids import hash_id
from state.layout import FLAG_DISLIKED, N_USER_SLOTS
from tests.operators.world import HISTORIES, N_ITEMS, Step, World, context_rows, is_clear, shoppers


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
