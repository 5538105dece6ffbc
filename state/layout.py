"""Byte layouts of every row and page: in memory, and on disk, which is the local store and the changelog.

A row is a fixed-width *header* and up to :data:`N_CHAINS` chains of fixed-width *pages*. Fields after the marker
:data:`MEMORY_FIELDS` live in memory only and are cut off by the codec. Entities that a user's row names
(:data:`ENTITY_FIELDS`) are 64-bit ids on disk; in memory they are row numbers of the replica, half as wide, which a
kernel need not look up. Numbers are little endian; changing any on-disk field is a change of
:data:`STATE_FORMAT_VERSION`.

======  =====  ==================================================  =====  ==========  ============
row     chain  page                                                slots  disk bytes  memory bytes
======  =====  ==================================================  =====  ==========  ============
user           header                                                         438         347
user    0      items the user had                                      8      144         117
user    1      categories the user had                                 8      192         165
user    2      items of the present session, with times               10      120          85
user    3      hashes of the latest event ids, a ring                 16      128         133
user    4      slates shown last, a ring of one page each             10      103         108
user    5      what only items have that the user had again            4       60          65
entity         header                                                         338         350
entity  0      co-occurring entities and weights                      16      192         264
======  =====  ==================================================  =====  ==========  ============

An *entity* is an item or a category: both have popularities, a co-occurrence table and a bias; only items use the
factors. Decayed values of a header are as of its ``t_s``. Times are seconds since 2000-01-01 UTC
(:data:`EPOCH_2000_S`).

Bytes of a page that were 0 in every page ever written may become a field whose 0 says "not known": that is no change of
the format, in either direction.
"""

from functools import cache
from typing import Any

import numpy as np

STATE_FORMAT_VERSION = 4
EPOCH_2000_S = 946_684_800

N_FACTORS = 32
N_SLOTS = 16
N_USER_SLOTS = 8
N_CONTEXT_SLOTS = 10
N_REPEATS = 4
N_CHAINS = 6
N_ENTITY_CHAINS = 1
N_RECENT = 20
N_SLATE = 10
N_DEDUPE = 32
N_EXPOSURES = 4
N_POPULARITIES = 5
N_DELTAS = 7

USER_ITEMS, USER_CATEGORIES, USER_CONTEXT, USER_DEDUPE, USER_EXPOSURES, USER_REPEATS = 0, 1, 2, 3, 4, 5
ENTITY_NEIGHBOURS = 0
KIND_ITEM, KIND_CATEGORY = 0, 1
FLAG_BOUGHT, FLAG_DISLIKED = 1, 2
FLAG_BITS = 2
"""Bits of an item's flags; those above them hold the number of its place among the repeats, 0 is none.

Place ``n`` is slot ``n % N_REPEATS`` of page ``n // N_REPEATS - 1`` of chain :data:`USER_REPEATS`, so that the first is
:data:`N_REPEATS`. An item that the user had once needs none: its fast count is its slow one.
"""

MEMORY_FIELDS = ("heads", "tick", "dirty", "ahead", "next", "rows")
"""Fields that exist in memory only.

Chain heads, LRU tick, dirty mark, whether a row is ahead of its page, next page, rows of the ids.
"""

ENTITY_FIELDS = ("entity", "recent", "shown")
"""Fields that hold rows of the replica in memory, 0 where there is none, and 64-bit ids on disk."""

_USER_PAGE_MEMORY = [("next", "<i4"), ("dirty", "u1")]
_PAGE_MEMORY = [*_USER_PAGE_MEMORY, ("_pad", "u1", (3,))]

USER_HEADER = np.dtype(
    [
        ("id", "<u8"),
        ("session", "<u8"),
        ("recent", "<i4", (N_RECENT,)),
        ("shown", "<i4", (N_SLATE,)),
        ("last_s", "<u4"),
        ("n_events", "<u4"),
        ("factors", "<f4", (N_FACTORS,)),
        ("factors_g", "<f4"),
        ("n_decayed", "<f4"),
        ("n_repeat_decayed", "<f4"),
        ("n_items", "<u2"),
        ("n_repeats", "<u2"),
        ("n_categories", "<u2"),
        ("n_context", "<u2"),
        ("n_dedupe", "<u2"),
        ("dedupe_at", "<u2"),
        ("serial", "<u2"),
        ("n_pages", "u1", (N_CHAINS,)),
        ("n_recent", "u1"),
        ("n_shown", "u1"),
        ("shown_times", "u1", (N_SLATE,)),
        ("n_exposures", "u1"),
        ("exposure_at", "u1"),
        ("heads", "<i4", (N_CHAINS,)),
        ("tick", "<u4"),
        ("dirty", "u1"),
    ]
)

USER_ITEM_PAGE = np.dtype(
    [
        ("entity", "<i4", (N_USER_SLOTS,)),
        ("last_s", "<u4", (N_USER_SLOTS,)),
        ("slow", "<u2", (N_USER_SLOTS,)),  # decayed count as of last_s, in 1/256
        ("serial", "<u2", (N_USER_SLOTS,)),  # newest session serial
        ("flags", "<u2", (N_USER_SLOTS,)),
        *_USER_PAGE_MEMORY,
    ]
)

USER_REPEAT_PAGE = np.dtype(
    [
        ("first_s", "<u4", (N_REPEATS,)),
        ("fast", "<u2", (N_REPEATS,)),  # decayed count as of the item's last_s, in 1/256
        ("count", "<u2", (N_REPEATS,)),
        ("deltas", "u1", (N_REPEATS * N_DELTAS,)),  # serials before the newest, as distances; 0 is none, 255 is far
        *_USER_PAGE_MEMORY,
    ]
)

USER_CATEGORY_PAGE = np.dtype(
    [
        ("entity", "<i4", (N_USER_SLOTS,)),
        ("first_s", "<u4", (N_USER_SLOTS,)),
        ("last_s", "<u4", (N_USER_SLOTS,)),
        ("fast", "<u2", (N_USER_SLOTS,)),
        ("slow", "<u2", (N_USER_SLOTS,)),
        ("n_sessions", "<u2", (N_USER_SLOTS,)),
        ("serial", "<u2", (N_USER_SLOTS,)),
        *_USER_PAGE_MEMORY,
    ]
)

USER_CONTEXT_PAGE = np.dtype(
    [("entity", "<i4", (N_CONTEXT_SLOTS,)), ("t_s", "<u4", (N_CONTEXT_SLOTS,)), *_USER_PAGE_MEMORY]
)
USER_DEDUPE_PAGE = np.dtype([("ids", "<u8", (N_SLOTS,)), *_USER_PAGE_MEMORY])

USER_EXPOSURE_PAGE = np.dtype(
    [
        ("offset", "<u8"),  # of the event that the slate answers
        ("ids", "<u4", (N_SLATE,)),  # lower halves of the items' ids
        ("propensity", "<f8"),  # of the arm
        ("model", "<f8"),  # what the arm was expected to earn
        ("mask", "<u2", (N_SLATE,)),  # one bit per type of event that was attributed
        ("t_s", "<u4"),
        ("seen_s", "<u4"),  # newest impression, 0 is none
        ("reward", "<f4"),
        ("arm", "<u4"),  # lower half of the hash of its name
        ("n", "u1"),
        ("cell", "u1"),
        ("group", "u1"),
        *_USER_PAGE_MEMORY,
    ]
)

ENTITY_HEADER = np.dtype(
    [
        ("id", "<u8"),
        ("target", "<f4", (N_FACTORS,)),
        ("context", "<f4", (N_FACTORS,)),
        ("target_g", "<f4"),
        ("context_g", "<f4"),
        ("bias", "<f4"),
        ("bias_g", "<f4"),
        ("blend_bias", "<f4"),
        ("blend_bias_g", "<f4"),
        ("popularity", "<f4", (N_POPULARITIES,)),
        ("cooc_count", "<f4"),
        ("log_gaps", "<f4"),  # summed over repeats: log(1 + days since the user's last one)
        ("t_s", "<u4"),
        ("n", "<u4"),
        ("n_repeat", "<u4"),
        ("n_events", "<u4"),
        ("n_neighbours", "<u2"),
        ("n_pages", "<u2", (N_ENTITY_CHAINS,)),
        ("kind", "u1"),
        ("named", "u1"),
        ("heads", "<i4", (N_ENTITY_CHAINS,)),
        ("tick", "<u4"),
        ("dirty", "u1"),
        ("ahead", "u1"),  # of a replica's row: operators.ahead
        ("_pad", "u1", (2,)),
    ]
)

NEIGHBOUR_PAGE = np.dtype(
    [("ids", "<u8", (N_SLOTS,)), ("weights", "<f4", (N_SLOTS,)), *_PAGE_MEMORY, ("rows", "<i4", (N_SLOTS,))]
)

USER_PAGES = (
    USER_ITEM_PAGE,
    USER_CATEGORY_PAGE,
    USER_CONTEXT_PAGE,
    USER_DEDUPE_PAGE,
    USER_EXPOSURE_PAGE,
    USER_REPEAT_PAGE,
)
ENTITY_PAGES = (NEIGHBOUR_PAGE,)


@cache
def disk_layout(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the layout that ``dtype`` has on disk: all fields before the first memory-only one, entities as ids."""
    fields: list[Any] = []
    for name in dtype.names or ():
        if name in MEMORY_FIELDS:
            break
        field = dtype[name]
        fields.append((name, "<u8" if name in ENTITY_FIELDS else field.base, field.shape))
    return np.dtype(fields)


def disk_bytes(dtype: np.dtype[Any]) -> int:
    """Return how many bytes a record of ``dtype`` has on disk."""
    return disk_layout(dtype).itemsize
