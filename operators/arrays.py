"""The arrays that kernels walk, grouped: users, entities, scratch space, accumulators."""

from typing import NamedTuple

import numpy as np

from operators.params import CONTENT_TABLES, CONTENT_VALUES, MAX_ITEMS, MAX_NEGATIVES, MAX_NEIGHBOURS, N_CATEGORY_NEW
from operators.weights import N_CATEGORY, N_COLUMNS, N_LOGS, N_LOGS_HAD
from state.arrays import Floats, Int32s, Rows, UInt8s, UInt64s
from state.layout import N_DELTAS, N_FACTORS, N_POPULARITIES, N_REPEATS, N_SLATE, N_SLOTS

MAX_CANDIDATES = 1280
MAX_TOUCHED_NEIGHBOURS = 8192
MAX_COOC_SOURCES = 128
MAX_CATEGORY_CANDIDATES = 512
N_ATTRIBUTE_NUMBERS = 1 << 18
"""Numbers that attributes of items are hashed to; 0 is none."""
N_CONTENT = CONTENT_TABLES * CONTENT_VALUES
"""Numbers that a signature points to, one of each table: they follow those of attributes."""
N_CONTENT_BITS = 8 * CONTENT_TABLES
NEAR, DIRECTION = 0, 1
"""Rows of the affinities of content vectors, shape ``(2, N_CONTENT)``."""
N_SERIALS = 65_536
"""Serial numbers of sessions, before they begin anew."""


NEWEST = np.dtype([("n", "<i4"), ("rows", "<i4", (N_CATEGORY_NEW,)), ("listed_s", "<f8", (N_CATEGORY_NEW,))])
"""Items of a category that were listed last, newest first, and when, in seconds since 2000."""


class Users(NamedTuple):
    """A user table's slabs: headers, and records, free list and free count of each chain."""

    headers: Rows
    items: Rows
    items_free: Int32s
    items_n_free: Int32s
    categories: Rows
    categories_free: Int32s
    categories_n_free: Int32s
    context: Rows
    context_free: Int32s
    context_n_free: Int32s
    dedupe: Rows
    dedupe_free: Int32s
    dedupe_n_free: Int32s
    exposures: Rows
    exposures_free: Int32s
    exposures_n_free: Int32s
    repeats: Rows
    repeats_free: Int32s
    repeats_n_free: Int32s


class Entities(NamedTuple):
    """The read replica of all items and categories.

    ``category`` is the dense category number of an item row (-1 unknown), ``available`` 1 where it may be recommended;
    ``category_rows`` maps dense numbers to entity rows, ``category_of_row`` back; ``category_vectors`` says which of
    :data:`operators.weights.N_CATEGORY_VECTORS` vectors each of them has, the same one in every worker; ``shared``
    lists those that are candidates for everybody, shape ``(N_SHARED_CATEGORIES,)``, of which the first ``n_categories``
    count.
    ``scan`` lists popular items, ``scan_factors`` their target factors and, in the last row, biases side by side, shape
    ``(N_FACTORS + 1, scan.size)``. ``totals`` holds the numbers of interactions, of items, and of items with a content
    vector, float64.
    ``serving`` (:data:`operators.serving.SERVING`) and ``tags`` hold what the blend reads of each row,
    ``attribute_totals`` the events of each attribute, then of each value of each byte of a signature, then of each of
    its bits, float64, shape ``(N_ATTRIBUTE_NUMBERS + N_CONTENT + N_CONTENT_BITS,)``. ``newest`` lists the items of each
    category that were listed last (:data:`NEWEST`).
    """

    headers: Rows
    neighbours: Rows
    keys: UInt64s
    rows: Int32s
    category: Int32s
    available: UInt8s
    category_of_row: Int32s
    category_rows: Int32s
    category_vectors: Int32s
    category_top: Int32s
    category_top_key: Floats
    category_n_top: Int32s
    newest: Rows
    top: Int32s
    top_key: Floats
    n_top: Int32s
    fresh_top: Int32s
    fresh_top_key: Floats
    n_fresh_top: Int32s
    scan: Int32s
    scan_factors: Floats
    totals: np.ndarray
    n_categories: Int32s
    shared: Int32s
    serving: Rows
    tags: Int32s
    attribute_totals: np.ndarray


ACCUMULATOR = np.dtype(
    [
        ("row", "<i4"),
        ("target", "<f4", (N_FACTORS,)),
        ("target_sq", "<f4"),
        ("context", "<f4", (N_FACTORS,)),
        ("context_sq", "<f4"),
        ("bias", "<f4"),
        ("bias_sq", "<f4"),
        ("blend_bias", "<f4"),
        ("blend_bias_sq", "<f4"),
        ("popularity", "<f4", (N_POPULARITIES,)),
        ("cooc_count", "<f4"),
        ("log_gaps", "<f4"),
        ("n", "<u4"),
        ("n_repeat", "<u4"),
        ("n_events", "<u4"),
        ("has_target", "u1"),
        ("has_context", "u1"),
    ]
)

CANDIDATE = np.dtype(
    [
        ("row", "<i4"),
        ("had", "u1"),
        ("page", "<i4"),
        ("slot", "<i4"),
        ("cooc", "<f4"),
        ("cooc_cosine", "<f4"),
        ("cooc_latest", "<f4"),
        ("slow", "<f4"),
        ("shared", "<f4"),
        ("vote", "<f4"),
        ("likeness", "<f4"),
        ("source", "<i4"),
        ("source_weight", "<f4"),
        ("score", "<f4"),
    ]
)

TOUCHED = np.dtype(
    [("row", "<i4"), ("source", "<i4"), ("cooc", "<f4"), ("cosine", "<f4"), ("latest", "<f4"), ("best", "<f4")]
)
"""A neighbour of some sources: sums of its shares of their events, of cosines, and of its shares of the latest ones'
events; the source that gives most, and how much."""

COOC_SOURCE = np.dtype(
    [("row", "<i4"), ("weight", "<f4"), ("latest", "<f4"), ("first", "<i4"), ("left", "<i4"), ("at", "<i4")]
)
"""An item whose neighbours count; its first listed page, and how many neighbours are to be listed from which page."""

COOC_PAGE = np.dtype(
    [
        ("at", "<i4"),
        ("n", "<i4"),
        ("source", "<i4"),
        ("per_event", "<f4"),
        ("per_norm", "<f4"),
        ("per_latest", "<f4"),
    ]
)
"""A page of ``n`` neighbours of a source, and what their weights are multiplied by for each of the three sums."""

EVENT = np.dtype(
    [
        ("user", "<i4"),
        ("row", "<i4"),
        ("id", "<u8"),
        ("event_hash", "<u8"),
        ("session", "<u8"),
        ("t_s", "<u4"),
        ("type", "u1"),
        ("weight", "<f4"),
        ("reward", "<f4"),
        ("slate", "<u8"),
    ]
)
"""One decoded event as the kernels see it: rows resolved, ids hashed, weight and reward looked up.

``slate`` is 0 where the event names none, :data:`operators.exposure.OTHER_SLATE` where that one is not of this
partition, else the slate's offset plus 1.
"""


class Accumulators(NamedTuple):
    """Summed gradients and counts of a batch or an interval: ``slot`` maps rows to records, -1 where untouched."""

    slot: Int32s
    records: Rows
    n: Int32s
    pair_a: Int32s
    pair_b: Int32s
    pair_weight: Floats
    n_pairs: Int32s


class Work(NamedTuple):
    """Scratch space of one task; nothing in it outlives a call but the capacity."""

    candidates: Rows
    position: Int32s
    features: Floats
    logs: Floats
    logs_had: Floats
    stale: Int32s
    scored: Floats
    touched: Rows
    neighbour_cooc: Floats
    neighbour_position: Int32s
    best: Int32s
    cooc_sources: Rows
    cooc_pages: Rows
    category_list: Int32s
    category_position: Int32s
    category_features: Floats
    category_weights: Floats
    category_log_p: Floats
    category_user: Floats
    category_context: Int32s
    category_votes: Floats
    category_bit: UInt64s
    repeat_pages: Int32s
    serials: Int32s
    serial_size: Int32s
    serial_hits: Int32s
    serial_mask: UInt64s
    serial_likeness: Floats
    serial_weight: Floats
    attribute_counts: Floats
    content: Floats
    taken: Floats
    every: Int32s
    guess: Floats
    query: Floats
    gradient: Floats
    sources: Int32s
    context_rows: Int32s
    coefficients: Floats
    negatives: Int32s
    logits: Floats
    picked: Int32s
    propensities: np.ndarray


def new_work(n_rows: int, n_categories: int) -> Work:
    """Return scratch space for ``n_rows`` entity rows and ``n_categories`` categories."""
    i4, f4 = np.int32, np.float32
    marks = np.full((n_rows, 2), -1, i4)  # who wants one mark of a row often wants the other: one cache line for both
    return Work(
        candidates=np.zeros(MAX_CANDIDATES, CANDIDATE),
        position=marks[:, 0],
        features=np.zeros((MAX_CANDIDATES, N_COLUMNS), f4),
        logs=np.zeros(MAX_CANDIDATES * N_LOGS, f4),
        logs_had=np.zeros(MAX_CANDIDATES * N_LOGS_HAD, f4),
        stale=np.zeros(MAX_CANDIDATES, i4),
        scored=np.zeros(MAX_CANDIDATES, f4),
        touched=np.zeros(MAX_TOUCHED_NEIGHBOURS, TOUCHED),
        neighbour_cooc=np.zeros(MAX_TOUCHED_NEIGHBOURS, f4),
        neighbour_position=marks[:, 1],
        best=np.zeros(MAX_TOUCHED_NEIGHBOURS + 1, i4),
        cooc_sources=np.zeros(MAX_COOC_SOURCES, COOC_SOURCE),
        cooc_pages=np.zeros(MAX_COOC_SOURCES * MAX_NEIGHBOURS // N_SLOTS, COOC_PAGE),
        category_list=np.zeros(MAX_CATEGORY_CANDIDATES, i4),
        category_position=np.full(n_categories, -1, i4),
        category_features=np.zeros((MAX_CATEGORY_CANDIDATES, N_CATEGORY), f4),
        category_weights=np.zeros(N_CATEGORY, f4),
        category_log_p=np.zeros(MAX_CATEGORY_CANDIDATES, f4),
        category_user=np.zeros((MAX_CATEGORY_CANDIDATES, 4), f4),
        category_context=np.zeros(n_categories, i4),
        category_votes=np.zeros((MAX_CATEGORY_CANDIDATES, 4), f4),
        category_bit=np.zeros(MAX_CATEGORY_CANDIDATES, np.uint64),
        repeat_pages=np.zeros(MAX_ITEMS // N_REPEATS + 2, i4),
        serials=np.zeros(MAX_ITEMS * (N_DELTAS + 1), i4),
        serial_size=np.zeros(N_SERIALS, i4),
        serial_hits=np.zeros(N_SERIALS, i4),
        serial_mask=np.zeros(N_SERIALS, np.uint64),
        serial_likeness=np.zeros(N_SERIALS, f4),
        serial_weight=np.zeros(N_SERIALS, f4),
        attribute_counts=np.zeros(N_ATTRIBUTE_NUMBERS + N_CONTENT, f4),
        content=np.zeros((2, N_CONTENT), f4),
        taken=np.zeros(1, f4),
        every=np.arange(MAX_CANDIDATES, dtype=i4),
        guess=np.zeros(MAX_CANDIDATES, f4),
        query=np.zeros(N_FACTORS, f4),
        gradient=np.zeros(N_FACTORS, f4),
        sources=np.zeros(64, i4),
        context_rows=np.zeros(64, i4),
        coefficients=np.zeros(64, f4),
        negatives=np.zeros(MAX_NEGATIVES, i4),
        logits=np.zeros(MAX_NEGATIVES + 1, f4),
        picked=np.zeros(N_SLATE, i4),
        propensities=np.zeros(N_SLATE, np.float64),
    )


def new_accumulators(n_rows: int, n_records: int, n_pairs: int) -> Accumulators:
    """Return empty accumulators for ``n_rows`` entity rows, touching at most ``n_records`` of them."""
    return Accumulators(
        slot=np.full(n_rows, -1, np.int32),
        records=np.zeros(n_records, ACCUMULATOR),
        n=np.zeros(1, np.int32),
        pair_a=np.zeros(n_pairs, np.int32),
        pair_b=np.zeros(n_pairs, np.int32),
        pair_weight=np.zeros(n_pairs, np.float32),
        n_pairs=np.zeros(1, np.int32),
    )
