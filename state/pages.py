"""The changed pages of one commit interval: blocks of equal width as arrays, and what does not fit one singly.

Thousands of pages leave a task at each commit. As one Python object per field they cost more than what they hold took
to learn; as arrays they go into the changelog's record batches in one kernel.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np

from state.arrays import Int32s, Rows, UInt8s
from state.codec import KEY_BYTES, on_disk
from state.numbering import Numbering

KEYS = np.dtype([("id", ">u8"), ("kind", "u1"), ("page", ">u2")])
"""Layout of a page key, as :mod:`state.codec` says."""


class Block(NamedTuple):
    """Pages of one layout: keys, shape ``(n, KEY_BYTES)``, and bytes, shape ``(n, width)``, both uint8."""

    keys: UInt8s
    values: UInt8s


def make_block(
    records: Rows,
    numbers: Int32s,
    ids: np.ndarray,
    kind: int,
    pages: Int32s | int,
    numbering: Numbering | None = None,
) -> Block:
    """Return the block of the records with these numbers.

    Parameters
    ----------
    records
        Slab they stand in.
    numbers
        Their numbers there, shape ``(n,)``.
    ids, kind, pages
        What their keys are made of: ids of the rows, shape ``(n,)``; the kind; the page numbers.
    numbering
        Gives the ids of numbers; wanted where the layout has entities.
    """
    keys = np.empty(numbers.shape[0], KEYS)
    keys["id"], keys["kind"], keys["page"] = ids, kind, pages
    return Block(keys.view(np.uint8).reshape(-1, KEY_BYTES), on_disk(records, numbers, numbering))


class Pages:
    """Changed pages: iterating yields ``(key, bytes)``, blocks first; None as bytes removes a page.

    Parameters
    ----------
    singles
        Pages that are not in a block.
    blocks
        Pages that are.

    Examples
    --------
    >>> list(Pages([(b"key", b"value"), (b"gone", None)]))
    [(b'key', b'value'), (b'gone', None)]
    """

    def __init__(self, singles: Iterable[tuple[bytes, bytes | None]] = (), blocks: Iterable[Block] = ()) -> None:
        self.singles = list(singles)
        self.blocks = list(blocks)

    def __len__(self) -> int:
        return len(self.singles) + sum(len(block.keys) for block in self.blocks)

    def __iter__(self) -> Iterator[tuple[bytes, bytes | None]]:
        for keys, values in self.bytes_of_blocks():
            yield from zip(keys, values, strict=True)
        yield from self.singles

    def bytes_of_blocks(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Yield the keys and the pages of each block."""
        for block in self.blocks:
            yield _split(block.keys), _split(block.values)


def _split(rows: UInt8s) -> list[bytes]:
    """Return each row of a matrix of bytes; ``void`` scalars come out as bytes in one call."""
    if rows.shape[1] == 0:
        return [b""] * rows.shape[0]
    scalars = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1])))
    return cast("list[bytes]", scalars.reshape(-1).tolist())
