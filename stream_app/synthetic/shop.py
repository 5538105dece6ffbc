"""The shelves of a synthetic shop, and the people who come to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from stream_app.synthetic.params import ShopParams

N_STYLES: Final = 4
"""Dimensions of a style."""
_YEAR_DAYS = 365.0
_STYLE_PULL = 1.2

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """Return probabilities in proportion to the exponentials."""
    exps: Floats = np.exp(logits - logits.max())
    out: Floats = exps / exps.sum()
    return out


class Shop:
    """The shelves: items, categories, and what is known of them.

    Parameters
    ----------
    params
        Sizes and strengths.
    rng
        Drawn from in a fixed order.
    """

    def __init__(self, params: ShopParams, rng: np.random.Generator) -> None:
        n, c = params.n_items, params.n_categories
        self.department = np.sort(np.arange(c) % params.n_departments)
        sizes = rng.dirichlet(np.full(c, 2.0))
        self.category: Int64s = np.concatenate([np.arange(c), rng.choice(c, n - c, p=sizes)]).astype(np.int64)
        self.style = np.asarray(rng.normal(0, 1, (n, N_STYLES)) / N_STYLES**0.5, np.float64)
        self.appeal: Floats = rng.normal(0, 1.0, n)
        self.birth: Int64s = np.where(rng.random(n) < params.new_items, rng.integers(1, max(params.days, 2), n), 0)
        self.birth[:c] = 0
        self.price = np.asarray(
            np.round(np.exp(rng.normal(1.0, 0.6, c)[self.category] + rng.normal(0, 0.35, n)), 2), np.float64
        )
        self.brand: Int64s = self.department[self.category] * 10 + rng.integers(0, 10, n)
        self.peak_day: Floats = rng.uniform(0, _YEAR_DAYS, c)
        self.season: Floats = params.season * rng.random(c)
        self.companion: Int64s = (np.arange(c) + rng.integers(1, c, c)) % c
        self.members = [np.flatnonzero(self.category == k) for k in range(c)]

    def season_of(self, day: float) -> Floats:
        """Return the log of how wanted each category is on a day, against its mean; shape ``(n_categories,)``."""
        phase = 2 * np.pi * (day - self.peak_day) / _YEAR_DAYS
        out: Floats = self.season * np.cos(phase)
        return out


@dataclass(slots=True)
class Person:
    """What a user is like, from one day on.

    Attributes
    ----------
    taste
        Log of how much each category is wanted, shape ``(n_categories,)``.
    style
        What style is liked, shape ``(N_STYLES,)``.
    staples
        Items that are bought again.
    cycle_days
        After how many days, each.
    """

    taste: Floats
    style: Floats
    staples: Int64s
    cycle_days: Floats


def draw_person(shop: Shop, params: ShopParams, rng: np.random.Generator) -> Person:
    """Draw a user: a liking for departments, for categories in them, a style, and staples that match it."""
    of_department = rng.normal(0, 1.0, params.n_departments)
    taste: Floats = of_department[shop.department] + rng.normal(0, 1.0, params.n_categories)
    style: Floats = rng.normal(0, 1, N_STYLES) * _STYLE_PULL
    n = int(rng.poisson(params.n_staples))
    categories = rng.choice(params.n_categories, min(n, params.n_categories), replace=False, p=softmax(taste))
    staples = [int(pick(shop, int(c), style, 0, rng, None)) for c in categories]
    return Person(taste, style, np.array(staples, np.int64), rng.uniform(5, 45, len(staples)))


def pick(shop: Shop, category: int, style: Floats, day: float, rng: np.random.Generator, had: set[int] | None) -> int:
    """Draw an item of a category that is in the shop on a day; -1 if all that there are have been had."""
    members = shop.members[category]
    members = members[shop.birth[members] <= day]
    if had:
        members = members[[item not in had for item in members.tolist()]]
    if not members.size:
        return -1
    chances = softmax(shop.appeal[members] + shop.style[members] @ style)
    return int(members[np.searchsorted(np.cumsum(chances)[:-1], rng.random(), side="right")])


def content_vectors(shop: Shop, params: ShopParams) -> Floats:
    """Return content vectors as a model of texts or pictures might give them, shape ``(n_items, embedding)``.

    Items of one category lie around a point of their own; where around it tells their style, and some of it is noise.
    """
    rng = np.random.default_rng([params.seed, 2])
    n = params.embedding
    centres = rng.normal(0, 1, (params.n_categories, n)) / n**0.5
    of_style = rng.normal(0, 1, (N_STYLES, n)) / n**0.5
    noise = params.embedding_noise * rng.normal(0, 1, (params.n_items, n)) / n**0.5
    out: Floats = centres[shop.category] + shop.style @ of_style + noise
    return out


def category_path(shop: Shop, category: int) -> list[str]:
    """Return the path of a category by its number."""
    return [f"department {shop.department[category]}", f"category {category}"]
