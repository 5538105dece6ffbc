"""The demo's readers of topics, on a real broker: what somebody else has written there is passed over."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from stream_app.demo.control import failure
from stream_app.demo.floor import ShopFloor
from stream_app.demo.options import DemoError
from stream_app.demo.state import DemoState
from stream_app.demo.traffic import SlateReader, outgoing_events
from stream_app.reading import RecordFile
from stream_app.records import encode_slate
from stream_app.sender import RecordError
from tests.stream_app import harness
from tests.stream_app.demo.test_floor import make_slate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.settings import Settings


def test_records_that_are_no_slates_are_passed_over(app_settings: Settings) -> None:
    """The demo goes on and shows the slates among them."""
    harness.make_topics(app_settings)
    slate = encode_slate(make_slate("u", ("m", "popular")))
    values = [b"no JSON", b"\xff", b'{"x":' + b"[" * 60_000, slate, None]
    harness.send(app_settings, [(b"u", value) for value in values], topic=app_settings.topic_recommendations)
    state = DemoState({}, [])
    asyncio.run(SlateReader(app_settings, ShopFloor(state, {})).finish())
    assert state.n_slates == 1


def test_a_record_that_no_topic_takes_is_named_with_its_line(tmp_path: Path) -> None:
    """To run the demo again would end at the same record, and is not proposed."""
    path = tmp_path / "events.jsonl"
    lines = [json.dumps({"user_id": "u", "item_id": "i", "note": "x" * n}) for n in (1, 1, 1_000_000)]
    path.write_text("\n".join(lines))
    with pytest.raises(RecordError, match=r"events\.jsonl:3: a record of 1,000,\d+ bytes is larger") as raised:
        list(outgoing_events(path, 1.0))
    told = failure(ExceptionGroup("demo", [raised.value]))
    assert isinstance(told, DemoError)
    assert str(told).endswith("remove it")


def test_a_row_that_no_json_holds_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables may hold what JSON cannot."""
    path = tmp_path / "events.jsonl"
    path.write_text("{}\n")

    def rows(_file: RecordFile) -> Iterator[dict[str, object]]:
        yield {"user_id": "u", "item_id": object()}

    monkeypatch.setattr(RecordFile, "__iter__", rows)
    with pytest.raises(RecordError, match=r"events\.jsonl:0: a record cannot be written as JSON"):
        next(outgoing_events(path, 1.0))
