"""A catalogue entry: what the shop knows of an item."""

from typing import Annotated

import msgspec

from stream_app.records.event import FEWEST_STARS, MOST_STARS

MOST_LEVELS = 32
LARGEST_COUNT = 2**53
"""Largest integer that every JSON reader takes exactly."""
LARGEST_FLOAT32 = 3.4028235e38

_Id = Annotated[str, msgspec.Meta(min_length=1)]
_Price = Annotated[float, msgspec.Meta(ge=0.0)]
_Stars = Annotated[float, msgspec.Meta(ge=FEWEST_STARS, le=MOST_STARS)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
_Component = Annotated[float, msgspec.Meta(ge=-LARGEST_FLOAT32, le=LARGEST_FLOAT32)]


class CatalogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item. Record key: ``item_id`` as UTF-8; the topic is compacted, a null value removes the item.

    Attributes
    ----------
    item_id
        The item; also the record's key.
    category
        Path from broad to fine, such as ``["GROCERY", "CHEESE"]``, at most 32 levels, none of them empty. An empty
        path means unknown: an item of unknown category is learned from but never recommended.
    brand, title
        For people, and for new items.
    price
        In the shop's currency, 0 or more.
    rating
        Mean of its ratings, in stars, 1 to 5; leave it out while there is none.
    n_sold
        Pieces sold so far, 0 or more.
    available
        False takes it out of new slates.
    tags
        Free words.
    embedding
        Content vector of any length, each component within the range of a 32-bit float; only its direction counts.
    """

    item_id: Annotated[_Id, msgspec.Meta(description="The item; also the record's key.")]
    category: Annotated[list[_Id], msgspec.Meta(description="Path, broad to fine.", max_length=MOST_LEVELS)]
    brand: Annotated[str | None, msgspec.Meta(description="Brand.")] = None
    price: Annotated[_Price | None, msgspec.Meta(description="Price in the shop's currency, 0 or more.")] = None
    title: Annotated[str | None, msgspec.Meta(description="What people call it.")] = None
    rating: Annotated[_Stars | None, msgspec.Meta(description="Mean rating, 1 to 5 stars.")] = None
    n_sold: Annotated[_Count | None, msgspec.Meta(description="Pieces sold so far.")] = None
    available: Annotated[bool, msgspec.Meta(description="False takes it out of new slates.")] = True
    tags: Annotated[list[str] | None, msgspec.Meta(description="Free words.")] = None
    embedding: Annotated[list[_Component] | None, msgspec.Meta(description="Content vector, 32-bit floats.")] = None
