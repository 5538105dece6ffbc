"""The item stage's input: what is no update of this version is refused in words that say where it is and what to do."""

from __future__ import annotations

import pytest

from state.memory_store import MemoryPageStore
from state.updates import UpdateError
from stream_app.item_stage import ItemProcessor
from stream_app.records import LocalRecord
from stream_app.settings import Settings


def processor() -> ItemProcessor:
    """Return the task of the only shard, with nothing learned."""
    found = ItemProcessor(Settings(), 0, 1, MemoryPageStore())
    found.restore(None)
    return found


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x09" + bytes(40), b'{"event_id": "e1"}' * 3])
def test_a_record_of_somebody_else_is_named_with_its_remedy(value: bytes) -> None:
    """The error tells topic, partition and offset, and how to get past it without losing anything else."""
    record = LocalRecord(b"0", value, topic="shop.item-updates", partition=2, offset=41)
    with pytest.raises(UpdateError, match=r"shop\.item-updates, partition 2, offset 41: .* before offset 42 "):
        processor().process([record], 0)


def test_a_record_without_a_value_is_passed_over() -> None:
    """A tombstone says nothing about any item."""
    stage = processor()
    stage.process([LocalRecord(b"0", None, topic="shop.item-updates")], 0)
    assert stage.item_events == 0
    assert len(stage.flush(0).pages) == 0
