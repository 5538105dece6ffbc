"""Record batches that are packed by a kernel read back as what went in."""

from __future__ import annotations

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from state.pages import Block, Pages
from stream_app.packing import BATCH_BYTES, PackedBatch, pack

BLOCKS = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 20), st.integers(0, 900)), max_size=4)


def block(n: int, n_key: int, n_value: int) -> Block:
    """Return a block of random bytes."""
    rng = np.random.default_rng([n, n_key, n_value])
    return Block(rng.integers(0, 256, (n, n_key), np.uint8), rng.integers(0, 256, (n, n_value), np.uint8))


def read(batches: list[PackedBatch]) -> list[tuple[int, bytes, bytes, int]]:
    """Read batches as a consumer would, after giving each a producer's state."""
    out = []
    for batch in batches:
        batch._set_producer_state(7, 3, 11)
        raw = bytes(batch._build())
        assert len(raw) == batch.size()
        records = MemoryRecords(raw)
        found = records.next_batch()
        assert found.validate_crc()
        assert (found.is_transactional, found.producer_id) == (True, 7)
        out += [(r.offset, r.key, r.value, r.timestamp) for r in found]
        assert found.next_offset == batch.record_count()
        assert not records.has_next()
    return out


@given(BLOCKS, st.sampled_from([100, 5_000, BATCH_BYTES]))
@settings(deadline=None, max_examples=50)
def test_batches_read_back(sizes: list[tuple[int, int, int]], batch_bytes: int) -> None:
    """Every key and value comes out in its order with its timestamp, and no batch but one of one record is larger."""
    blocks = [block(n, 11, n_value) for n, _, n_value in sizes]
    batches = pack(Pages(blocks=blocks), 1_700_000_000_000, batch_bytes)
    wanted = [(k.tobytes(), v.tobytes()) for b in blocks for k, v in zip(b.keys, b.values, strict=True)]
    found = read(batches)
    assert [(key, value) for _, key, value, _ in found] == wanted
    assert {t for *_, t in found} <= {1_700_000_000_000}
    assert all(batch.size() <= batch_bytes or batch.record_count() == 1 for batch in batches)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 8_191, 8_192, 8_193])
def test_offsets_at_the_edges_of_varints(n: int) -> None:
    """Offsets count up from 0 where a varint grows by a byte."""
    assert [offset for offset, *_ in read(pack(Pages(blocks=[block(n, 11, 3)]), 5, 10**7))] == list(range(n))


def test_a_packed_batch_takes_nothing_more() -> None:
    """It is closed, so that the producer sends it as it is."""
    batch = pack(Pages(blocks=[block(2, 11, 5)]), 5)[0]
    assert batch.closed()
    assert batch.append(timestamp=None, key=b"k", value=b"v") is None
