"""B4: what there is to recover, counted on the real broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from benchmarks.b4_recovery import held
from state.codec import KIND_HEADER, KIND_NAME, page_key
from stream_app.changelog import CHECKPOINT_KEY
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings


def test_rows_pages_and_records_are_counted_apart(app_settings: Settings) -> None:
    """A page written twice is one page, what was removed or never committed is none, and a row is what has a header."""
    settings = app_settings.model_copy(update={"partitions": harness.N_PARTITIONS})
    harness.make_topics(settings)
    users, items = settings.topic_user_state, settings.topic_item_state
    committed: list[tuple[str, bytes, bytes | None]] = [
        (users, page_key(1, KIND_HEADER), b"first"),
        (users, page_key(1, KIND_HEADER), b"second"),
        (users, page_key(1, 1), b"page"),
        (users, page_key(2, KIND_HEADER), b"forgotten"),
        (users, page_key(2, KIND_HEADER), None),
        (users, CHECKPOINT_KEY, b"{}"),
        (items, page_key(3, KIND_HEADER), b"item"),
        (items, page_key(3, KIND_NAME), b"name"),
    ]

    async def run() -> dict[str, int]:
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=settings.app_id)
        await producer.start()
        try:
            async with producer.transaction():
                for topic, key, value in committed:
                    await producer.send_and_wait(topic, value, key, partition=0)
            await producer.begin_transaction()
            await producer.send_and_wait(items, b"aborted", page_key(4, KIND_HEADER), partition=1)
            await producer.abort_transaction()
        finally:
            await producer.stop()
        return await held(settings)

    assert asyncio.run(run()) == {"rows": 2, "pages": 4, "changelog_records": 8 + 1 + 3}
