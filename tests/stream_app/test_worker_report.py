"""Answers at a worker's address: a worker's report is read, anything else is no answer of a worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_app.worker_report import decode_report

REPORT: dict[str, Any] = {
    "ready": True,
    "phase": "running",
    "stages": {"user": {"ready": True, "tasks": [{"partition": 0, "read_offset": None, "restore": None}]}},
    "tails": {"item-state": {"ready": True, "offsets": {"0": 7}}},
    "quality": {"0": {"hit_rate": 0.5, "log_loss": 1.0, "auc": 0.7, "n_drifts": 0.0}},
    "learned": {"n_events": 3, "by_type": {"view": 3}, "rejects": {}},
    "arms": [{"name": "greedy"}],
}


def test_a_report_is_read_as_it_is() -> None:
    """What others do not look at stays in it; a worker that starts has neither stages nor figures."""
    assert decode_report(json.dumps(REPORT).encode()) == REPORT
    starting = {"ready": False, "phase": "compiling kernels", "stages": {}, "tails": {}}
    assert decode_report(json.dumps(starting).encode()) == starting


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>503 Service Unavailable</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"ready": true}',
        *(
            json.dumps({**REPORT, **change}).encode()
            for change in (
                {"ready": "yes"},
                {"tails": []},
                {"tails": {"item-state": {"offsets": {"first": 7}}}},
                {"stages": {"user": {}}},
                {"stages": {"user": {"tasks": [{"read_offset": 3}]}}},
                {"quality": {"0": {}}},
                {"learned": {"n_events": {"all": 3}}},
                {"learned": {"by_type": 3}},
                {"learned": {"n_events": "many"}},
                {"arms": ["greedy"]},
            )
        ),
    ],
)
def test_anything_else_is_not_one(raw: bytes) -> None:
    """A proxy's page, another program's JSON, and a report whose parts have other shapes."""
    assert decode_report(raw) is None
