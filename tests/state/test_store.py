"""Tests of the local store: one suite over both kinds, and what is on disk after reopening, closing and kill -9."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rocksdict import Options, Rdict

from state.memory_store import MemoryPageStore
from state.store import (
    Origin,
    PageStore,
    StoreError,
)
from state.waiting import MAX_TAKEN_BYTES
from tests.stream_app.harness import wait_for

if TYPE_CHECKING:
    from state.store import Store

BATCHES_IN_MEMORY = MAX_TAKEN_BYTES // (50 * 1600)
"""Of the writer that is killed: what it takes until it has them put on disk."""
A, B, C = b"page-key-aaaa", b"page-key-bbbb", b"page-key-cccc"


@pytest.fixture(params=["disk", "disk at once", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return an empty store of each kind; on disk, pages wait for more to come, or go there with each write."""
    if request.param == "disk at once":
        monkeypatch.setattr("state.waiting.MAX_TAKEN_BYTES", 0)
        return PageStore(tmp_path / "store")
    return PageStore(tmp_path / "store") if request.param == "disk" else MemoryPageStore()


def test_new_store_is_empty(store: Store) -> None:
    """A new store has no page, no position and no checkpoint."""
    assert store.get_many([A, B]) == [None, None]
    assert store.position is None
    assert store.checkpoint is None


def test_no_keys_give_no_pages(store: Store) -> None:
    """Asking for nothing returns nothing."""
    assert store.get_many([]) == []


def test_pages_come_back_in_the_order_of_the_keys(store: Store) -> None:
    """Each key gets its own page, repeated keys too, and None where there is none."""
    store.write([(A, b"1"), (B, b"")], position=7, checkpoint=b"c")
    assert store.get_many([C, B, A, A]) == [None, b"", b"1", b"1"]
    assert (store.position, store.checkpoint) == (7, b"c")


def test_none_removes_a_page(store: Store) -> None:
    """A page written as None is gone, and removing an absent page is allowed."""
    store.write([(A, b"1"), (B, b"2")], position=1, checkpoint=None)
    store.write([(A, None), (C, None)], position=2, checkpoint=None)
    assert store.get_many([A, B, C]) == [None, b"2", None]


def test_last_write_of_a_key_counts(store: Store) -> None:
    """Within one batch the last entry of a key wins, as in the changelog."""
    store.write([(A, b"1"), (B, b"2"), (A, b"3"), (B, None)], position=1, checkpoint=None)
    assert store.get_many([A, B]) == [b"3", None]


def test_no_checkpoint_keeps_the_old_one(store: Store) -> None:
    """A write without a checkpoint moves the position and keeps the checkpoint."""
    store.write([], position=1, checkpoint=b"first")
    store.write([], position=5, checkpoint=None)
    assert (store.position, store.checkpoint) == (5, b"first")


def test_no_origin_keeps_the_old_one(store: Store) -> None:
    """A write without an origin leaves what was noted before; a new store has none."""
    assert store.origin is None
    store.write([(A, b"1")], position=4, checkpoint=None, origin=Origin("id-1", 7))
    store.write([(A, b"2")], position=5, checkpoint=None)
    assert store.origin == Origin("id-1", 7)
    store.write([], position=5, checkpoint=None, origin=Origin(None, 8))
    assert store.origin == Origin(None, 8)


@pytest.mark.parametrize("origin", [Origin("3f1c-id", 1_764_000_000_000), Origin(None, 0)])
def test_the_origin_survives_reopening(tmp_path: Path, origin: Origin) -> None:
    """Id and time are there after the store was closed and opened, and are no page."""
    with closing(PageStore(tmp_path / "s")) as store:
        store.write([(A, b"1")], position=1, checkpoint=b"c", origin=origin)
    with closing(PageStore(tmp_path / "s")) as again:
        assert again.origin == origin
        assert list(again.batches(10)) == [{A: b"1"}]


def test_an_origin_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """A later version may note more: what is not known counts as not noted."""
    PageStore(tmp_path / "s").close()
    raw = Rdict(str(tmp_path / "s"), Options(raw_mode=True))
    raw[b"\x00origin"] = b"\xff" + bytes(8)
    raw.close()
    with closing(PageStore(tmp_path / "s")) as store:
        assert store.origin is None


def test_what_has_waited_for_an_hour_goes_to_disk(tmp_path: Path) -> None:
    """A crash then goes back by no more than that: a store that is old lacks what the changelog tells no more."""
    hour_ms, path = 3_600_000, tmp_path / "s"
    store = PageStore(path)
    for k, as_of_ms in enumerate((5, hour_ms, hour_ms + 5, hour_ms + 6)):
        store.write([(A, b"%d" % k)], position=k + 1, checkpoint=None, origin=Origin("id", as_of_ms))
    store._opened().close()  # as a crash leaves it: what waits is gone
    store._db = None
    with closing(PageStore(path)) as again:
        assert (again.position, again.origin) == (3, Origin("id", hour_ms + 5))


@pytest.mark.parametrize("key", [b"\x00position", b"\x00checkpoint", b"\x00origin"])
def test_own_keys_are_refused_and_nothing_is_written(store: Store, key: bytes) -> None:
    """A page under one of the store's own keys is an error that leaves the store as it was."""
    with pytest.raises(ValueError, match="store's own"):
        store.write([(A, b"1"), (key, b"x")], position=1, checkpoint=b"c")
    assert store.get_many([A]) == [None]
    assert (store.position, store.checkpoint) == (None, None)


def test_negative_position_is_refused(store: Store) -> None:
    """A position is an offset, so it cannot be negative."""
    with pytest.raises(ValueError, match="got -1"):
        store.write([], position=-1, checkpoint=None)


def test_everything_survives_reopening(tmp_path: Path) -> None:
    """Pages, position and checkpoint are there after the store was closed and opened."""
    store = PageStore(tmp_path / "s")
    store.write([(A, b"1")], position=2**40, checkpoint=b"c")
    store.close()
    store.close()
    again = PageStore(tmp_path / "s")
    assert again.get_many([A]) == [b"1"]
    assert (again.position, again.checkpoint) == (2**40, b"c")


def test_untouched_store_reopens_as_new(tmp_path: Path) -> None:
    """A store that was opened and never written has no position the next time either."""
    PageStore(tmp_path / "s").close()
    assert PageStore(tmp_path / "s").position is None


def test_closed_store_says_so(tmp_path: Path) -> None:
    """Using a closed store is an error that says that it is closed."""
    store = PageStore(tmp_path / "s")
    store.close()
    with pytest.raises(StoreError, match="it is closed"):
        store.get_many([A])


def test_closing_does_not_mind_files_that_are_gone(tmp_path: Path) -> None:
    """A store whose directory was deleted under it closes all the same: what it held is in the changelog."""
    store = PageStore(tmp_path / "store")
    store.write([(b"key-of-a-page", b"1")], position=1, checkpoint=None)
    PageStore.destroy(tmp_path / "store")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get_many([b"key-of-a-page"])


def test_all_pages_come_in_batches(tmp_path: Path) -> None:
    """Each page comes once, in the order of the keys, without the store's own entries; then the files can be closed."""
    path = tmp_path / "s"
    store = PageStore(path)
    pages = {b"key-%08d" % n: b"%d" % n for n in range(20)}
    store.write(pages.items(), position=1, checkpoint=b"c")
    batches = list(store.batches(7))
    assert [key for batch in batches for key in batch] == sorted(pages)
    assert {key: page for batch in batches for key, page in batch.items()} == pages
    assert max(map(len, batches)) <= 7
    store.close()
    PageStore(path).close()


def test_what_waits_hides_what_is_on_disk(tmp_path: Path) -> None:
    """A page changed or removed since the last write to disk is the new one, or none; others come from disk."""
    with contextlib.closing(PageStore(tmp_path / "s")) as store:
        store.write([(A, b"1"), (B, b"2"), (C, b"3")], position=1, checkpoint=b"c")
    with contextlib.closing(PageStore(tmp_path / "s")) as store:
        store.write([(A, b"10"), (B, None)], position=2, checkpoint=None)
        assert store.get_many([C, B, A, A]) == [b"3", None, b"10", b"10"]
        assert dict(next(store.batches(9))) == {A: b"10", C: b"3"}
    with contextlib.closing(PageStore(tmp_path / "s")) as store:
        assert store.get_many([A, B, C]) == [b"10", None, b"3"]
        assert (store.position, store.checkpoint) == (2, b"c")


@pytest.mark.parametrize("n_keys", [1, 100])
def test_waiting_pages_go_to_disk_when_enough_were_taken(tmp_path: Path, n_keys: int) -> None:
    """By what was written in all: a page that is written again and again does not wait forever."""
    page, n_written = bytes(100_000), 0
    with contextlib.closing(PageStore(tmp_path / "s")) as store:
        while n_written * len(page) < MAX_TAKEN_BYTES:
            assert not list((tmp_path / "s").glob("*.sst"))
            store.write([(b"key-%04d" % (n_written % n_keys), page)], position=n_written + 1, checkpoint=None)
            n_written += 1
        wait_for(lambda: bool(list((tmp_path / "s").glob("*.sst"))), "the table, which a thread of RocksDB writes")


def test_destroy_of_nothing_does_nothing(tmp_path: Path) -> None:
    """Destroying a store that is not there is allowed."""
    PageStore.destroy(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    """After kill -9 in the middle of writing, every page is of the batch that the position names, and few are lost."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from state.store import PageStore
        store = PageStore(Path(sys.argv[1]))
        for n in range(1, 10**9):
            page = n.to_bytes(8, "little") * 200
            store.write([(b"key-%08d" % k, page) for k in range(50)], position=n, checkpoint=page[:8])
            if n == 400:
                print("going", flush=True)
        """
    )
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "going\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        store = PageStore(tmp_path / "s")
        position = store.position
        assert position is not None
        assert position >= 400 - 3 * BATCHES_IN_MEMORY
        expected = position.to_bytes(8, "little")
        assert store.checkpoint == expected
        assert store.get_many([b"key-%08d" % k for k in range(50)]) == [expected * 200] * 50
        store.close()
