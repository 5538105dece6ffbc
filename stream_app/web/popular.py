"""The fallback for users that are not known: the most popular items outside some categories."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from operators.cap import cap_in_force
from stream_app.records import SlateItem
from stream_app.web.answer import ProblemError, Recommendations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from stream_app.replica import Replica
    from stream_app.settings import Settings

KEEP_S: Final = 1.0
"""A ranking is used for so many seconds: the replica is asked once a second, however many shoppers come."""


class PopularItem(NamedTuple):
    """One item of the ranking."""

    item_id: str
    category: str
    share: float
    """Its part of the remembered first events of users with the listed items, in [0, 1]."""


def rank_popular(replica: Replica) -> list[PopularItem]:
    """Return the popular items of every category, most popular first; called in a thread that may wait.

    What counts is the first event of each user with an item, with a half-life of 30 days. The counts are those of the
    replica's lists, which hold the first 16 items of each category.
    """
    keys: list[tuple[float, int]] = []
    with replica.reading() as entities:
        for category in range(int(entities.n_categories[0])):
            n = int(entities.category_n_top[category])
            keys += zip(
                entities.category_top_key[category, :n].tolist(),
                entities.category_top[category, :n].tolist(),
                strict=True,
            )
    keys.sort(key=lambda pair: (-pair[0], pair[1]))
    if not keys:
        return []
    highest = keys[0][0]
    weights = [2.0 ** (key - highest) for key, _ in keys]
    total = sum(weights)
    ids = replica.ids
    found = []
    for (_, row), weight in zip(keys, weights, strict=True):
        listed = replica.listed.get(int(ids[row]))
        if listed is not None:
            found.append(PopularItem(listed.item_id, listed.label, weight / total))
    return found


def is_excluded(category: str, excluded: Sequence[str]) -> bool:
    """Return whether a category is one of those excluded, or lies below one."""
    return any(category == each or category.startswith(f"{each} / ") for each in excluded)


class PopularSlates:
    """Fills fallback slates; the ranking behind them is at most a second old.

    Parameters
    ----------
    settings
        Slate size and category cap.
    replica
        Returns the worker's replica, None before there is one.
    executor
        The replica's thread.
    """

    def __init__(self, settings: Settings, replica: Callable[[], Replica | None], executor: Executor) -> None:
        self._settings = settings
        self._replica = replica
        self._executor = executor
        self._ranking: list[PopularItem] = []
        self._ranked_s = float("-inf")
        self._lock = asyncio.Lock()

    async def slate(self, user_id: str, excluded: Sequence[str], now_ms: int) -> Recommendations:
        """Return a popular slate outside the excluded categories and all below them.

        Raises
        ------
        ProblemError
            The worker has not read the items yet, or there is nothing to show.
        """
        ranking = await self._fresh_ranking()
        picked = self._capped([item for item in ranking if not is_excluded(item.category, excluded)])
        if not picked:
            detail = "exclude fewer categories" if ranking else "produce events about items of the catalogue first"
            raise ProblemError("nothing_popular", f"no popular item is left: {detail}")
        return Recommendations(
            source="popular",
            user_id=user_id,
            policy="popular",
            policy_version=0,
            emitted_at_ms=now_ms,
            items=[
                SlateItem(item.item_id, item.category, round(item.share, 6), propensity=1.0, reason="popular")
                for item in picked
            ],
            context_categories=list(excluded),
        )

    def _capped(self, items: Sequence[PopularItem]) -> list[PopularItem]:
        n_categories = len({item.category for item in items})
        cap = cap_in_force(self._settings.category_cap, self._settings.slate_size, n_categories)
        used: dict[str, int] = {}
        picked: list[PopularItem] = []
        for item in items:
            if len(picked) == self._settings.slate_size:
                break
            if cap == 0 or used.get(item.category, 0) < cap:
                used[item.category] = used.get(item.category, 0) + 1
                picked.append(item)
        return picked

    async def _fresh_ranking(self) -> list[PopularItem]:
        replica = self._replica()
        if replica is None:
            raise ProblemError("not_ready", "the worker has not read the items yet; try again in a second")
        async with self._lock:
            if time.monotonic() - self._ranked_s > KEEP_S:
                loop = asyncio.get_running_loop()
                self._ranking = await loop.run_in_executor(self._executor, rank_popular, replica)
                self._ranked_s = time.monotonic()
        return self._ranking
