"""64-bit ids of users, items, categories and events: XXH3 of their UTF-8 bytes.

Two strings share an id with probability ``n² / 2⁶⁵`` for ``n`` strings (3e-8 for a million). They then share a row:
for items the item stage counts it (the names differ), for users their histories mix.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec import json
from xxhash import xxh3_64_intdigest

from state.arrays import UInt64s


def hash_id(text: str) -> int:
    """Return the 64-bit id of a user, item, session or event string; never 0, which means "none"."""
    return xxh3_64_intdigest(text.encode()) or 1


def hash_ids(texts: Iterable[str], n: int) -> UInt64s:
    """Return :func:`hash_id` of each of ``n`` strings: no frame of Python for any of them."""
    out = np.fromiter(map(xxh3_64_intdigest, texts), np.uint64, n)  # it takes a string for its UTF-8 bytes
    out[out == 0] = 1
    return out


def hash_category(path: Sequence[str]) -> int:
    """Return the 64-bit id of a category path: of its levels as JSON, behind a mark that no item's id begins with."""
    return xxh3_64_intdigest(b"\x00category\x00" + json.encode(list(path))) or 1


def item_shard(row_id: Any, n_shards: np.uint64) -> Any:
    """Return the shard that owns an item or category: the upper half of its id modulo the number of shards.

    Parameters
    ----------
    row_id
        An id, or an array of ids, uint64. Kernels compile this function for one id.
    """
    return (row_id >> np.uint64(32)) % n_shards
