"""What the catalogue says of an item, as numbers: brand, price band and kind in its category, department, tags.

Each attribute is hashed to one of :data:`operators.arrays.N_ATTRIBUTE_NUMBERS` numbers, so that every worker gives it
the same one without a dictionary that grows with the catalogue. Two attributes may share a number; with 30,000 of them
one in ten does.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from operators.arrays import N_ATTRIBUTE_NUMBERS
from operators.serving import N_ATTRIBUTES, N_TAGS
from state.ids import hash_id

BANDS_PER_DOUBLING = 2
"""Price bands between a price and its double."""
LOWEST_PRICE = 0.01
_KEPT = 1 << 16
"""Numbers that are remembered: a catalogue names few brands and kinds, each of them often."""
_KIND_END = re.compile(r"[,:;(\[]")
_NO_TAGS = (0,) * N_TAGS


def attribute_numbers(
    path: Sequence[str], brand: str | None, price: float | None, title: str | None
) -> tuple[int, ...]:
    """Return the numbers of an item's attributes, in the order of :data:`operators.serving.BRAND` and those after it.

    Parameters
    ----------
    path
        Category, broad to fine; an item without one has no attributes.
    price
        In the shop's currency, 0 or more.
    title
        Its kind is what stands before the first comma, colon or bracket.

    Returns
    -------
    tuple of int
        :data:`operators.serving.N_ATTRIBUTES` numbers; 0 where there is nothing.

    Examples
    --------
    >>> attribute_numbers(["FILMS"], None, None, None)
    (0, 0, 0, 0)
    """
    if not path:
        return (0,) * N_ATTRIBUTES
    category = path[0] if len(path) == 1 else "\x1f".join(path)
    band = round(BANDS_PER_DOUBLING * math.log2(max(price, LOWEST_PRICE))) if price is not None else None
    return (
        _number("brand", category, None if brand is None else _plain(brand)),
        0 if band is None else _number("price", category, str(band)),
        _number("kind", category, kind_of(title)),
        _number("department", path[0], "") if len(path) > 1 else 0,
    )


def tag_numbers(tags: Sequence[str] | None) -> tuple[int, ...]:
    """Return the numbers of an item's first tags, in their order, no tag twice; 0 fills up to N_TAGS."""
    if not tags:
        return _NO_TAGS
    kept = list(dict.fromkeys(tag for tag in map(_plain, tags) if tag))[:N_TAGS]
    return (*(_number("tag", "", tag) for tag in kept), *(0,) * (N_TAGS - len(kept)))


def kind_of(title: str | None) -> str | None:
    """Return the part of a title that says what a thing is.

    Examples
    --------
    >>> kind_of("Yoghurt, strawberry (6 x 150 g)")
    'yoghurt'
    """
    if title is None:
        return None
    end = _KIND_END.search(title)
    return _plain(title[: end.start()] if end else title)


def _plain(text: str) -> str | None:
    return " ".join(text.casefold().split()) or None


@lru_cache(_KEPT)
def _number(what: str, where: str, value: str | None) -> int:
    if value is None:
        return 0
    return 1 + hash_id(f"{what}\x1f{where}\x1f{value}") % (N_ATTRIBUTE_NUMBERS - 1)
