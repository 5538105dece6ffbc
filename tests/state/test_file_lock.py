"""Locks on files: one holder, or several that share; the end of a holder frees it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from state.file_lock import lock_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_one_holds_it_or_several_share_it(tmp_path: Path) -> None:
    """Who does not wait is told; who shares stands only in the way of those who do not."""
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert lock_file(first.fileno(), shared=True)
        assert lock_file(second.fileno(), shared=True)
        with path.open("w") as third:
            assert not lock_file(third.fileno(), wait=False)
    with path.open("w") as fourth, path.open("w") as fifth:
        assert lock_file(fourth.fileno())
        assert not lock_file(fifth.fileno(), wait=False)
        assert not lock_file(fifth.fileno(), shared=True, wait=False)
        fourth.close()
        assert lock_file(fifth.fileno())
