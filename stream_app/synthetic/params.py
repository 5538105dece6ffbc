"""What shop to make: sizes, strengths, and three kinds of shops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

_OPTIONS: Final = {
    "seed": "--seed", "n_users": "--users", "n_items": "--items", "n_categories": "--categories", "days": "--days",
    "embedding": "--embedding",
}  # fmt: skip


class SyntheticError(Exception):
    """The shop cannot be made. The message ends with the remedy."""


@dataclass(frozen=True, slots=True)
class ShopParams:
    """What shop to make.

    Attributes
    ----------
    seed
        Of everything.
    n_users, n_items, n_departments, n_categories
        Sizes; categories are spread over the departments.
    days
        How long it is open.
    visits_per_day
        Mean visits of a user per day; users differ by a factor of about two to both sides.
    basket
        Mean items per visit, at least 1.
    n_staples
        Mean staples of a user; 0 for a shop in which nothing is bought again on a cycle.
    loyalty
        Probability that another purchase in a category is of the item bought there last.
    again
        Whether an item may be taken twice at all.
    ratings
        Whether users rate items (1 to 5 stars, by how well the style matches) rather than buy them.
    sessions
        Whether the events of a visit carry a session.
    new_items
        Share of the items that enter the shop after its first day.
    season
        Strength of the seasons: log of the ratio of a category's high to its mean.
    drift_day
        Day on which tastes change; none if None.
    drift_users
        Share of the users whose tastes change then.
    embedding
        Components of the items' content vectors; 0 for a catalogue without.
    embedding_noise
        Length of what is noise in them, where what the style says has a length of 1 in the mean.
    """

    seed: int = 0
    n_users: int = 1_000
    n_items: int = 5_000
    n_departments: int = 8
    n_categories: int = 80
    days: int = 180
    visits_per_day: float = 0.12
    basket: float = 6.0
    n_staples: float = 12.0
    loyalty: float = 0.4
    again: bool = True
    ratings: bool = False
    sessions: bool = True
    new_items: float = 0.2
    season: float = 0.7
    drift_day: int | None = 120
    drift_users: float = 0.5
    embedding: int = 0
    embedding_noise: float = 0.5

    def check(self) -> None:
        """Raise if a value is out of range.

        Raises
        ------
        SyntheticError
            It is; the message names the option, where there is one, and what would do.
        """
        least = {"seed": 0, "n_users": 1, "n_departments": 1, "days": 1, "basket": 1, "n_staples": 0, "embedding": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                message = f"{_told(name)} must be at least {value}, got {getattr(self, name)}; give {value} or more"
                raise SyntheticError(message)
        fewest = max(self.n_departments, 2)
        if self.n_categories < fewest:
            each = ", one for each department" if self.n_departments == fewest else ""
            message = (
                f"{_told('n_categories')} must be at least {fewest}{each}, got {self.n_categories}; "
                f"give {fewest} or more"
            )
            raise SyntheticError(message)
        if self.n_items < self.n_categories:
            or_fewer = f", or {_told('n_categories')} {self.n_items} or fewer" if self.n_items >= fewest else ""
            message = (
                f"{_told('n_items')} must be at least {self.n_categories}, one for each category, got {self.n_items}; "
                f"give {self.n_categories} or more{or_fewer}"
            )
            raise SyntheticError(message)


def _told(name: str) -> str:
    """Return what a size is called where people give it."""
    return _OPTIONS.get(name, name)


KINDS: Final = {
    "groceries": ShopParams(),
    "films": ShopParams(
        n_items=3_000, n_departments=1, n_categories=18, visits_per_day=0.03, basket=12.0, n_staples=0.0,
        loyalty=0.0, again=False, ratings=True, sessions=False,
    ),
    "courses": ShopParams(
        n_users=4_000, n_items=800, n_departments=6, n_categories=40, visits_per_day=0.03, basket=1.2, n_staples=0.0,
        loyalty=0.0, again=False, sessions=False,
    ),
}  # fmt: skip
"""Shops of different kinds: things bought again and again, things rated once, things taken once and rarely."""


def with_sizes(params: ShopParams, **sizes: int | None) -> ShopParams:
    """Return parameters with the sizes replaced that are not None; the day of drift stays at two thirds."""
    out = replace(params, **{name: value for name, value in sizes.items() if value is not None})  # type: ignore[arg-type]  # all of them are integers
    if sizes.get("days") is not None and out.drift_day is not None:
        out = replace(out, drift_day=out.days * 2 // 3)
    return out
