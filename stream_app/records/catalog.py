"""A catalogue entry: what the shop knows of an item."""

from typing import Annotated

import msgspec


class CatalogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item. Record key: ``item_id`` as UTF-8; the topic is compacted, a null value removes the item.

    Attributes
    ----------
    item_id
        The item; also the record's key.
    category
        Path from broad to fine, such as ``["GROCERY", "CHEESE"]``; empty means unknown, and an item of unknown
        category is learned from but never recommended.
    brand, title
        For people, and for cold items.
    price
        In the shop's currency, 0 or more.
    rating
        Mean of its ratings, 1 to 5.
    n_sold
        Pieces sold so far, 0 or more.
    available
        False takes it out of new slates.
    tags
        Free words.
    embedding
        Content vector of any length, finite.
    """

    item_id: Annotated[str, msgspec.Meta(description="The item; also the record's key.", min_length=1)]
    category: Annotated[list[str], msgspec.Meta(description="Path, broad to fine.", max_length=32)]
    brand: Annotated[str | None, msgspec.Meta(description="Brand.")] = None
    price: Annotated[float | None, msgspec.Meta(description="Price in the shop's currency, 0 or more.")] = None
    title: Annotated[str | None, msgspec.Meta(description="What people call it.")] = None
    rating: Annotated[float | None, msgspec.Meta(description="Mean rating, 1 to 5.")] = None
    n_sold: Annotated[int | None, msgspec.Meta(description="Pieces sold so far.")] = None
    available: Annotated[bool, msgspec.Meta(description="False takes it out of new slates.")] = True
    tags: Annotated[list[str] | None, msgspec.Meta(description="Free words.")] = None
    embedding: Annotated[list[float] | None, msgspec.Meta(description="Content vector.")] = None
