"""Bytes of an item update: what one user task learned about the entities of one item shard in one interval.

``header | counts[n_counts] | targets[n_targets] | contexts[n_contexts] | pairs[n_pairs] | names (MessagePack)``,
little endian, packed. Gradients are sums over events, in half precision; nothing in it names a user. Layouts:
:data:`HEADER`, :data:`COUNTS`, :data:`GRADIENTS`, :data:`PAIRS`; ``at`` and ``a`` are positions in ``counts``.
"""

from typing import NamedTuple

import msgspec
import numpy as np

from state.arrays import Rows
from state.layout import N_FACTORS, N_POPULARITIES

UPDATE_VERSION = 1

HEADER = np.dtype(
    [
        ("version", "u1"),
        ("n_factors", "u1"),
        ("as_of_s", "<u4"),
        ("n_counts", "<u4"),
        ("n_targets", "<u4"),
        ("n_contexts", "<u4"),
        ("n_pairs", "<u4"),
    ]
)
COUNTS = np.dtype(
    [
        ("id", "<u8"),
        ("kind", "u1"),
        ("n", "<u4"),
        ("n_repeat", "<u4"),
        ("n_events", "<u4"),
        ("popularity", "<f4", (N_POPULARITIES,)),
        ("cooc_count", "<f4"),
        ("log_gaps", "<f4"),
        ("bias", "<f4"),
        ("bias_sq", "<f4"),
        ("blend_bias", "<f4"),
        ("blend_bias_sq", "<f4"),
    ]
)
GRADIENTS = np.dtype([("at", "<u4"), ("square", "<f4"), ("gradient", "<f2", (N_FACTORS,))])
PAIRS = np.dtype([("a", "<u4"), ("b", "<u8"), ("weight", "<f4")])


class UpdateError(ValueError):
    """The bytes are not an item update of this version."""


class ItemUpdate(NamedTuple):
    """One item update: time, the five sections, and the strings behind ids that had no name yet."""

    as_of_s: int
    counts: Rows
    targets: Rows
    contexts: Rows
    pairs: Rows
    names: dict[int, str]


def encode_update(update: ItemUpdate) -> bytes:
    """Return the bytes of an update."""
    header = np.zeros(1, HEADER)
    header[0] = (
        UPDATE_VERSION,
        N_FACTORS,
        update.as_of_s,
        update.counts.shape[0],
        update.targets.shape[0],
        update.contexts.shape[0],
        update.pairs.shape[0],
    )
    sections = (header, update.counts, update.targets, update.contexts, update.pairs)
    return b"".join(section.tobytes() for section in sections) + msgspec.msgpack.encode(update.names)


def decode_update(raw: bytes) -> ItemUpdate:
    """Return the update in ``raw``; its arrays are read-only views.

    Raises
    ------
    UpdateError
        Another version wrote it, or it is cut off.
    """
    if len(raw) < HEADER.itemsize:
        msg = f"item update: it must have at least {HEADER.itemsize} bytes, got {len(raw)}"
        raise UpdateError(msg)
    header = np.frombuffer(raw, HEADER, 1)[0]
    if header["version"] != UPDATE_VERSION or header["n_factors"] != N_FACTORS:
        msg = (
            f"item update: version {header['version']} with {header['n_factors']} factors, this worker reads "
            f"{UPDATE_VERSION} with {N_FACTORS}"
        )
        raise UpdateError(msg)
    at = HEADER.itemsize
    sections = []
    for dtype, n in (
        (COUNTS, header["n_counts"]),
        (GRADIENTS, header["n_targets"]),
        (GRADIENTS, header["n_contexts"]),
        (PAIRS, header["n_pairs"]),
    ):
        end = at + dtype.itemsize * int(n)
        if end > len(raw):
            msg = f"item update: cut off at {len(raw)} bytes, wanted at least {end}"
            raise UpdateError(msg)
        sections.append(np.frombuffer(raw, dtype, int(n), at))
        at = end
    try:
        names = msgspec.msgpack.decode(raw[at:], type=dict[int, str])
    except msgspec.DecodeError as error:
        msg = f"item update: names cannot be read: {error}"
        raise UpdateError(msg) from error
    return ItemUpdate(int(header["as_of_s"]), sections[0], sections[1], sections[2], sections[3], names)
