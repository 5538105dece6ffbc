"""The demo's readers of topics, on a real broker: what somebody else has written there is passed over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream_app.demo.floor import ShopFloor
from stream_app.demo.state import DemoState
from stream_app.demo.traffic import SlateReader
from stream_app.records import encode_slate
from tests.stream_app import harness
from tests.stream_app.demo.test_floor import make_slate

if TYPE_CHECKING:
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
