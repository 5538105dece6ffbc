"""Crash points for tests: the process kills itself at a chosen place of a commit, as a power cut would.

``CROSSAISLE_FAULT=point:n`` makes the ``n``-th pass of ``point`` the last thing the process does. Without the variable
a crash point costs one comparison. Points: :data:`POINTS`.
"""

from __future__ import annotations

import os
import signal
import threading
import time

POINTS = ("in_interval", "before_transaction", "in_transaction", "after_commit", "in_local_write")
"""Slates sent ahead of the commit; before the rest of the transaction; inside it, everything sent; committed, not yet
written locally; while writing locally."""


def _armed() -> tuple[str, int]:
    value = os.environ.get("CROSSAISLE_FAULT", "")
    if not value:
        return "", 0
    point, _, nth = value.partition(":")
    if point not in POINTS or not nth.isdigit() or int(nth) < 1:
        message = f"CROSSAISLE_FAULT must be point:n with n >= 1 and a point of {', '.join(POINTS)}, got {value!r}"
        raise ValueError(message)
    return point, int(nth)


_point, _left = _armed()


def hit(point: str) -> None:
    """Kill the process with SIGKILL if this is the chosen pass of ``point``."""
    if point == _point and _last_pass():
        _kill()


def hit_during(point: str) -> None:
    """Like :func:`hit`, but return and kill from another thread, so that the next call is cut off half-way."""
    if point == _point and _last_pass():
        threading.Thread(target=_kill).start()


def survive() -> None:
    """Wait for the end that :func:`hit_during` has announced; return at once if it has not."""
    if _point == "in_local_write" and _left == 0:
        time.sleep(60)


def _last_pass() -> bool:
    global _left  # noqa: PLW0603  # one counter per process is what a crash point is
    _left -= 1
    return _left == 0


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
