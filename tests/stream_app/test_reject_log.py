"""Rejected events are told in the log, and not one by one."""

from __future__ import annotations

from structlog.testing import capture_logs

from stream_app.reject_log import EVERY_MS, RejectLog


def test_rejects_are_told_at_once_and_then_once_a_minute() -> None:
    """Each reject is in one line, a minute after the one before at the earliest, and wrong times name the clock."""
    told = RejectLog(3, "shop.rejects")
    with capture_logs() as lines:
        told.note([], 0)
        told.note(["not_json"], 1_000)
        told.note(["not_json", "bad_time"], 2_000)
        told.note(["bad_time"], EVERY_MS)
        told.note([], EVERY_MS + 1_000)
        told.note([], 3 * EVERY_MS)
        told.note(["empty"], 2_000)  # the clock went back
    assert [(line["event"], line["partition"], line["n_records"], line["by_code"]) for line in lines] == [
        ("events_rejected", 3, 1, {"not_json": 1}),
        ("events_rejected", 3, 3, {"bad_time": 2, "not_json": 1}),
        ("events_rejected", 3, 1, {"empty": 1}),
    ]
    assert all(line["remedy"].startswith("read topic shop.rejects: ") for line in lines)
    assert ["doctor --probe" in line["remedy"] for line in lines] == [False, True, False]
