"""What files can do to a local store: locks, damage, full disks, and a system that refuses them."""

from __future__ import annotations

import errno
import os
import resource
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rocksdict import Options, Rdict

from state.rocks import unusable
from state.store import (
    STORE_FORMAT_VERSION,
    PageStore,
    StoreDamagedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = b"page-key-aaaa"


def test_full_disk_is_told_from_damage(tmp_path: Path) -> None:
    """What RocksDB says of a disk without room becomes an error of its own, with the remedy; the rest is damage."""
    full = unusable(tmp_path, OSError("IO error: No space left on device: While appending to file"))
    assert isinstance(full, StoreFullError)
    assert "CROSSAISLE_STATE_DIR" in str(full)
    assert isinstance(unusable(tmp_path, OSError("Corruption: bad block")), StoreDamagedError)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EACCES, "the right to read and write"),
        (errno.EPERM, "the right to read and write"),
        (errno.EROFS, "writable"),
        (errno.EIO, "look after its disk"),
    ],
)
def test_what_the_system_refuses_is_no_damage(tmp_path: Path, number: int, remedy: str) -> None:
    """A store whose files the system does not give away is not to be deleted: the error names what to do instead."""
    text = f"IO error: While open a file for random read: {tmp_path}/000008.sst: {os.strerror(number)}"
    refused = unusable(tmp_path, OSError(text))
    assert type(refused) is StoreError
    assert remedy in str(refused)
    assert "delete" not in str(refused)


def test_too_many_open_files_are_no_damage(tmp_path: Path) -> None:
    """A store that is opened while the process may open no more files is there once it may."""
    path = tmp_path / "s"
    write_tables(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    free = [n for n in range(max(taken) + 20) if n not in taken]
    for limit in free:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            with pytest.raises(StoreError, match="Too many open files") as caught:
                PageStore(path)
        except pytest.fail.Exception:
            break  # so many are enough
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not isinstance(caught.value, StoreDamagedError | StoreLockedError)
    assert limit > free[1]
    store = PageStore(path)
    assert store.get_many([b"key-%08d" % n for n in range(2000)]).count(None) == 0
    store.close()


def test_open_store_is_locked_for_others(tmp_path: Path) -> None:
    """Opening a store twice is a lock error that names the setting to change."""
    store = PageStore(tmp_path / "s")
    with pytest.raises(StoreLockedError, match="CROSSAISLE_STATE_DIR"):
        PageStore(tmp_path / "s")
    store.close()
    PageStore(tmp_path / "s").close()


def test_other_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """A store of another format is not read: the error names both formats and what to do, and frees the lock."""
    PageStore(tmp_path / "s").close()
    raw = Rdict(str(tmp_path / "s"), Options(raw_mode=True))
    raw.put(b"\x00position", struct.pack("<Bq", STORE_FORMAT_VERSION + 1, 3))
    raw.close()
    for _ in range(2):
        with pytest.raises(StoreFormatError, match=rf"format {STORE_FORMAT_VERSION + 1}.*delete the directory"):
            PageStore(tmp_path / "s")


def _truncate_manifest(path: Path) -> None:
    for file in path.glob("MANIFEST-*"):
        file.write_bytes(b"nonsense")


def _lose_current(path: Path) -> None:
    (path / "CURRENT").write_text("MANIFEST-999999\n")


def _cut_position(path: Path) -> None:
    raw = Rdict(str(path), Options(raw_mode=True))
    raw.put(b"\x00position", bytes([STORE_FORMAT_VERSION, 1]))
    raw.close()


def _drop_position(path: Path) -> None:
    raw = Rdict(str(path), Options(raw_mode=True))
    raw.delete(b"\x00position")
    raw.close()


@pytest.mark.parametrize("damage", [_truncate_manifest, _lose_current, _cut_position, _drop_position])
def test_damaged_store_can_be_destroyed_and_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Damage is found on opening and named; after destroy the directory holds a new store."""
    path = tmp_path / "s"
    store = PageStore(path)
    store.write([(PAGE, b"1")], position=4, checkpoint=b"c")
    store.close()
    damage(path)
    with pytest.raises(StoreDamagedError, match="rebuilt from the changelog"):
        PageStore(path)
    PageStore.destroy(path)
    again = PageStore(path)
    assert (again.get_many([PAGE]), again.position) == ([None], None)


def write_tables(path: Path) -> None:
    """Make a store of 2,000 pages that lie in table files, not in the log of writes."""
    store = PageStore(path)
    store.write([(b"key-%08d" % n, os.urandom(200)) for n in range(2000)], position=1, checkpoint=None)
    store.close()
    raw = Rdict(str(path), Options(raw_mode=True))
    raw.flush()
    raw.close()


def test_damaged_page_is_found_on_reading(tmp_path: Path) -> None:
    """A table file with flipped bytes is an error when a page is read, never a wrong page."""
    path = tmp_path / "s"
    write_tables(path)
    tables = list(path.glob("*.sst"))
    assert tables
    for table in tables:
        content = bytearray(table.read_bytes())
        for at in range(100, len(content) // 2, 500):
            content[at] ^= 0xFF
        table.write_bytes(content)
    with pytest.raises(StoreDamagedError):
        PageStore(path).get_many([b"key-%08d" % n for n in range(2000)])


def test_damage_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    """A flipped byte in what RocksDB reads of a table on opening is damage, wherever the store lies: a *block*."""
    path = tmp_path / "a-block-device" / "s"
    path.parent.mkdir()
    write_tables(path)
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    content[-80] ^= 0xFF
    table.write_bytes(content)
    with pytest.raises(StoreDamagedError, match="block checksum mismatch"):
        PageStore(path)
    PageStore.destroy(path)
    store = PageStore(path)
    assert store.position is None
    store.close()


def test_a_damaged_page_ends_the_batches(tmp_path: Path) -> None:
    """What cannot be read is an error, and never only the end of what there is."""
    path = tmp_path / "s"
    write_tables(path)
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 0xFF
    table.write_bytes(content)
    store = PageStore(path)
    read: list[dict[bytes, bytes]] = []
    with pytest.raises(StoreDamagedError):
        read.extend(store.batches(100))
    assert 0 < len(read) < 20
    store.close()
    PageStore(path).close()


def test_impossible_directory_names_the_setting(tmp_path: Path) -> None:
    """A path below a file cannot be a store; the error names the setting to change."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="CROSSAISLE_STATE_DIR"):
        PageStore(tmp_path / "file" / "s")
