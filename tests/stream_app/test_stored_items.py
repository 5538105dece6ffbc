"""What a replica takes from local stores: the same as from the topic, and nothing from one that is not to be used."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from rocksdict import Options, Rdict

from state.codec import KIND_HEADER, page_key
from state.ids import hash_id
from state.pages import Pages
from state.store import Origin, PageStore
from stream_app.kafka import fetch_topic_ids
from stream_app.recovery import store_folder
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.stored_items import StoredItems
from stream_app.tail import TailService
from tests.stream_app import harness
from tests.stream_app.test_replica import ITEMS, content
from tests.stream_app.test_user_stage import NOW_MS, Record, World, shoppers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stream_app.records import KafkaRecord


class Shard:
    """One shard of items: its changelog, and its local store as of half of it.

    Parameters
    ----------
    folder
        State directory of the worker.
    """

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder)
        self.path = store_folder(self.settings, "item", 0)
        world = World()
        world.catalogue(ITEMS)
        self.world = world
        self.log: list[Record] = []
        for start in range(0, 400, 40):
            world.users.process(shoppers(400, 2)[start : start + 40], NOW_MS)
            before = dict(world.item_store._pages)
            world.commit()
            after = world.item_store._pages
            self.log += [
                Record(key, page, offset=len(self.log) + k)
                for k, (key, page) in enumerate((k, v) for k, v in after.items() if before.get(k) != v)
            ]
            if start == 200:
                self.position = len(self.log)
                with closing(PageStore(self.path)) as store:
                    store.write(Pages(after.items()), position=self.position, checkpoint=b"{}")

    def from_topic(self) -> Replica:
        """Return a replica that read the whole topic."""
        replica = self.new()
        replica.apply_items(self.log)
        return replica

    def new(self) -> Replica:
        """Return a replica that knows the catalogue."""
        replica = Replica(self.settings)
        world = World()
        world.replica = replica
        world.catalogue(ITEMS)
        return replica

    def flush(self) -> None:
        """Write what the store has into a table file."""
        raw = Rdict(str(self.path), Options(raw_mode=True))
        raw.flush()
        raw.close()


def test_the_store_and_the_rest_of_the_topic_are_the_whole_topic(tmp_path: Path) -> None:
    """Counts, factors, neighbours, names, lists and totals are those of a replica that read the whole topic."""
    shard = Shard(tmp_path)
    assert 0 < shard.position < len(shard.log)
    replica = shard.new()
    position = StoredItems(shard.settings, replica.apply_stored).restore(0, 0, len(shard.log))
    assert position == shard.position
    assert replica.totals[0] > 0
    replica.apply_items(shard.log[position:])
    assert content(replica) == content(shard.from_topic())
    with closing(PageStore(shard.path)) as store:  # it is free for the task
        assert store.position == position


def _gone(shard: Shard) -> None:
    PageStore.destroy(shard.path)


def _unwritten(shard: Shard) -> None:
    PageStore.destroy(shard.path)
    PageStore(shard.path).close()


def _unreadable(shard: Shard) -> None:
    (shard.path / "CURRENT").write_bytes(b"garbage")


def _bad_page(shard: Shard) -> None:
    shard.flush()
    for table in shard.path.glob("*.sst"):
        raw = bytearray(table.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        table.write_bytes(raw)


def _other_format(shard: Shard) -> None:
    raw = Rdict(str(shard.path), Options(raw_mode=True))
    raw[b"\x00position"] = b"\xff" + bytes(8)
    raw.close()


def _other_layout(shard: Shard) -> None:
    with closing(PageStore(shard.path)) as store:
        store.write([(page_key(hash_id("i1"), KIND_HEADER), b"short")], position=shard.position, checkpoint=None)


@pytest.mark.parametrize("harm", [_gone, _unwritten, _unreadable, _bad_page, _other_format, _other_layout])
def test_a_store_that_cannot_be_read_is_passed_over(tmp_path: Path, harm: Callable[[Shard], None]) -> None:
    """The topic is read from its beginning then, and what was applied before damage was met leaves nothing behind."""
    shard = Shard(tmp_path)
    harm(shard)
    replica = shard.new()
    stored = StoredItems(shard.settings, replica.apply_stored)
    stored.pages_at_once = 7
    assert stored.restore(0, 0, len(shard.log)) is None
    replica.apply_items(shard.log)
    assert content(replica) == content(shard.from_topic())
    assert (shard.path.exists()) == (harm is not _gone)


@pytest.mark.parametrize(("begin", "n_missing"), [(0, 1), (1, 0)])
def test_a_store_beside_the_log_is_passed_over(tmp_path: Path, begin: int, n_missing: int) -> None:
    """A log that ends before the store's position was made anew; one that begins after it has lost what was between."""
    shard = Shard(tmp_path)
    replica = shard.new()
    stored = StoredItems(shard.settings, replica.apply_stored)
    assert stored.restore(0, begin * (shard.position + 1), shard.position + 5 * begin - n_missing) is None
    assert replica.totals[0] == 0


@pytest.mark.parametrize(("topic_id", "is_used"), [("id-1", True), (None, True), ("id-2", False)])
def test_a_store_of_a_former_topic_is_passed_over(tmp_path: Path, topic_id: str | None, *, is_used: bool) -> None:
    """Its position means nothing in a topic that was made anew, even where it lies between the ends of the log."""
    shard = Shard(tmp_path)
    with closing(PageStore(shard.path)) as store:
        store.write([], position=shard.position, checkpoint=None, origin=Origin("id-1", 0))
    position = StoredItems(shard.settings, shard.new().apply_stored).restore(0, 0, len(shard.log), topic_id)
    assert (position == shard.position) == is_used


def test_a_store_that_another_process_holds_is_passed_over(tmp_path: Path) -> None:
    """Nobody is waited for: the topic has the same pages."""
    shard = Shard(tmp_path)
    with closing(PageStore(shard.path)):
        assert StoredItems(shard.settings, shard.new().apply_stored).restore(0, 0, len(shard.log)) is None


def test_a_tail_reads_what_is_newer(app_settings: Settings) -> None:
    """A partition that was restored is read from there, the others from their beginnings, and all catch up."""
    harness.make_topics(app_settings)
    topic = app_settings.topic_item_state
    for partition in range(harness.N_PARTITIONS):
        harness.send(app_settings, [(b"%d" % n, b"page") for n in range(10)], topic=topic, partition=partition)
    applied: list[tuple[int, int]] = []
    asked: list[tuple[int, int, int]] = []
    ids: set[str | None] = set()
    restored = {0: 6, 2: 10}

    def apply(records: Sequence[KafkaRecord]) -> None:
        applied.extend((record.partition, record.offset) for record in records)

    def restore(partition: int, begin: int, end: int, topic_id: str | None) -> int | None:
        assert not applied
        ids.add(topic_id)
        asked.append((partition, begin, end))
        return restored.get(partition)

    async def run() -> dict[int, int]:
        with ThreadPoolExecutor(1) as executor:
            tail = TailService(app_settings, topic, apply, executor, None, restore)
            await tail.start()
            try:
                await asyncio.wait_for(tail.caught_up.wait(), harness.TIMEOUT_S)
                return tail.positions
            finally:
                await tail.stop()

    positions = asyncio.run(run())
    assert positions == dict.fromkeys(range(harness.N_PARTITIONS), 10)
    assert ids == set(asyncio.run(fetch_topic_ids(app_settings, [topic])).values())
    assert asked == [(partition, 0, 10) for partition in range(harness.N_PARTITIONS)]
    assert sorted(applied) == [
        (partition, offset)
        for partition in range(harness.N_PARTITIONS)
        for offset in range(restored.get(partition, 0), 10)
    ]
