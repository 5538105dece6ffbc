"""One item, looked up in the worker's replica: counts, trend and neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from state.ids import hash_id
from stream_app.inspect import item_report
from stream_app.web.answer import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.replica import Replica
    from stream_app.web.lookup import Lookup


class ReplicaNames:
    """What people call items and categories, as the replica knows it."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def item(self, item_hash: int) -> str | None:
        """Return an item's id, None where it is not known."""
        return self._replica.item_name(item_hash)

    def title(self, item_hash: int) -> str | None:
        """Return an item's title, None where it has none."""
        listed = self._replica.listed.get(item_hash)
        return listed.title if listed is not None else None

    def category(self, category_hash: int) -> tuple[str, ...]:
        """Return a category's path, empty where it is not known."""
        return self._replica.category_path(category_hash)


def describe_item(replica: Replica, item_id: str) -> dict[str, Any] | None:
    """Return what the replica holds of an item, None if that is nothing; called in a thread that may wait."""
    item_hash = hash_id(item_id)
    with replica.reading() as entities:
        listed = replica.listed.get(item_hash)
        row = replica.table.index.get(item_hash)
        if row < 0 or (listed is None and not entities.headers[row]["n_events"]):
            return None
        report = item_report(item_id, replica.table, row, ReplicaNames(replica), replica.newest_s)
        return {
            **report,
            "category": list(listed.category) if listed is not None else [],
            "is_in_catalog": listed is not None,
            "is_available": bool(entities.available[row]),
        }


class Items:
    """Looks items up; every worker knows all of them.

    Parameters
    ----------
    replica
        Returns the worker's replica, None before there is one.
    lookup
        Whose turn in the worker's threads is waited for.
    """

    def __init__(self, replica: Callable[[], Replica | None], lookup: Lookup) -> None:
        self._replica = replica
        self._lookup = lookup

    def title(self, item_id: str) -> str | None:
        """Return an item's title, None where it has none."""
        replica = self._replica()
        listed = replica.listed.get(hash_id(item_id)) if replica is not None else None
        return listed.title if listed is not None else None

    def with_titles(self, slate: dict[str, Any]) -> dict[str, Any]:
        """Add to each item of a slate its title, and the title of the item that it goes with."""
        for item in slate["items"]:
            item["title"] = self.title(item["item_id"])
            source = item["reason"].partition(":")[2]
            item["because_title"] = self.title(source) if source else None
        return slate

    async def describe(self, item_id: str) -> dict[str, Any]:
        """Return counts, popularities and neighbours of an item.

        Raises
        ------
        ProblemError
            The item is not known, or the worker has not read the items yet.
        """
        replica = self._replica()
        if replica is None:
            raise ProblemError("not_ready", "the worker has not read the items yet; try again in a second")
        found = await self._lookup.in_replica_turn(describe_item, replica, item_id)
        if found is None:
            detail = f"item {item_id!r}: no event about it was learned, and the catalogue does not list it"
            raise ProblemError("unknown_item", detail)
        return found
