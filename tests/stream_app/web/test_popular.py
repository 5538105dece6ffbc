"""The fallback slate: popular first, capped, and nothing out of the categories that are excluded."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.web.answer import ProblemError, Recommendations
from stream_app.web.popular import PopularSlates, is_excluded
from tests.stream_app.test_user_stage import NOW_MS, World, event

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS = [f"i{k}" for k in range(30)]


@pytest.fixture(scope="module")
def world() -> World:
    """Return a shop in which item ``k`` was bought ``k`` times."""
    world = World(category_cap=2)
    world.catalogue(ITEMS)
    world.users.process([event(100 * k + n, f"u{n}", f"i{k}") for k in range(30) for n in range(k)], NOW_MS)
    world.commit()
    return world


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Return a compute thread."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def ask(world: World, executor: ThreadPoolExecutor, *excluded: str, replica: Any = "known") -> Recommendations:
    """Return the fallback slate."""

    async def run() -> Recommendations:
        known = world.replica if replica == "known" else replica
        return await PopularSlates(world.settings, lambda: known, executor).slate("new", excluded, NOW_MS)

    return asyncio.run(run())


def test_the_most_popular_come_first(world: World, executor: ThreadPoolExecutor) -> None:
    """Items by how often they were bought, shares falling."""
    slate = ask(world, executor)
    assert [item.item_id for item in slate.items] == [f"i{k}" for k in range(29, 19, -1)]
    assert (slate.source, slate.slate_id, slate.user_id) == ("popular", None, "new")
    shares = [item.score for item in slate.items]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1


def test_excluded_categories_are_left_out(world: World, executor: ThreadPoolExecutor) -> None:
    """A category and all below it: a whole branch leaves nothing, which is a problem with its remedy."""
    slate = ask(world, executor, "shop / aisle-5", "shop / aisle-4")
    assert {item.category for item in slate.items} == {f"shop / aisle-{k}" for k in range(4)}
    assert slate.context_categories == ["shop / aisle-5", "shop / aisle-4"]
    with pytest.raises(ProblemError, match="exclude fewer") as problem:
        ask(world, executor, "shop")
    assert problem.value.code == "nothing_popular"


@pytest.mark.parametrize(("size", "most"), [(10, 4), (6, 2), (5, 2)])
def test_the_cap_in_force(executor: ThreadPoolExecutor, size: int, most: int) -> None:
    """Six aisles, five liked things of one: ten slots take twice its even share, up to six the cap that is set."""
    world = World(category_cap=2, slate_size=size)
    world.catalogue(ITEMS)
    liked = [k for k in range(30) if k % 6 == 0]
    bought = [*range(30), *liked, *liked]
    world.users.process([event(n, f"u{n}", f"i{k}") for n, k in enumerate(bought)], NOW_MS)
    world.commit()
    slate = ask(world, executor)
    assert len(slate.items) == size
    assert Counter(item.category for item in slate.items).most_common(1) == [("shop / aisle-0", most)]


def test_two_aisles_fill_a_slate(world: World, executor: ThreadPoolExecutor) -> None:
    """Where all aisles but two are excluded, ten slots are filled from these."""
    slate = ask(world, executor, *(f"shop / aisle-{k}" for k in range(4)))
    assert Counter(item.category for item in slate.items) == {"shop / aisle-4": 5, "shop / aisle-5": 5}


def test_a_name_that_only_begins_alike_is_not_excluded() -> None:
    """``DAIRY`` leaves ``DAIRY FREE`` in."""
    assert is_excluded("DAIRY / MILK", ["DAIRY"])
    assert is_excluded("DAIRY", ["DAIRY"])
    assert not is_excluded("DAIRY FREE", ["DAIRY"])


def test_before_anything_was_learned_it_says_so(executor: ThreadPoolExecutor) -> None:
    """No events, or no replica yet: a problem, not an empty slate."""
    with pytest.raises(ProblemError, match="produce events"):
        ask(World(), executor)
    with pytest.raises(ProblemError) as problem:
        ask(World(), executor, replica=None)
    assert problem.value.code == "not_ready"
