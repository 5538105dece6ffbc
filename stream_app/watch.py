"""Follows the slates of the recommendations topic and finds the titles of their items in the catalogue topic.

Reads committed records only, so every slate is seen once, one commit interval after it was made at the latest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream_app.decoding import decode_or_none
from stream_app.kafka import client_options, started_admin, stop_consumer
from stream_app.records import Slate, decode_slate
from stream_app.rights import reading
from stream_app.unreachable import why_missing, why_not

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka.structs import ConsumerRecord

    from stream_app.rights import Right
    from stream_app.settings import Settings

CONNECT_TIMEOUT_S: Final = 20.0
"""How long the broker may take to answer at the start."""

_POLL_MS = 200
_REASON_WORDS = {
    "repeat": "had before",
    "taste": "fits this user's taste",
    "category": "from a category this user likes",
    "popular": "popular now",
}


class WatchError(Exception):
    """Slates cannot be followed. The message ends with the remedy."""


class WatchedSlate(NamedTuple):
    """A slate and what its items are called.

    Attributes
    ----------
    slate
        The record, decoded.
    value
        The record as it is in the topic.
    titles
        Item id to title, of those items (and items that reasons name) whose title the catalogue knows.
    """

    slate: Slate
    value: bytes
    titles: dict[str, str]

    def to_json(self) -> bytes:
        """Return the record as it is, with a ``title`` added to each item that has one."""
        record: dict[str, Any] = msgspec.json.decode(self.value)
        for item in record["items"]:
            title = self.titles.get(item["item_id"])
            if title is not None:
                item["title"] = title
        return msgspec.json.encode(record)


class _CatalogLine(msgspec.Struct):
    title: str | None = None


class CatalogTitles:
    """The titles of the catalogue topic, kept up to date.

    Use `load` once, then `run` in a task.
    """

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}
        self._decoder = msgspec.json.Decoder(_CatalogLine)

    def get(self, item_id: str) -> str | None:
        """Return an item's title, None if it has none."""
        return self._titles.get(item_id)

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        """Take in catalogue records; what is no entry is passed over (the worker rejects it)."""
        for record in records:
            if record.key is None:
                continue
            item_id = record.key.decode(errors="replace")
            line = decode_or_none(self._decoder.decode, record.value)
            if line is None and record.value is not None:
                continue
            title = None if line is None else line.title
            if title is None:
                self._titles.pop(item_id, None)
            else:
                self._titles[item_id] = title

    async def load(self, consumer: AIOKafkaConsumer) -> None:
        """Read up to the end that the topic has now."""
        ends = await consumer.end_offsets(consumer.assignment())
        while True:
            behind = [tp for tp, end in ends.items() if await consumer.position(tp) < end]
            if not behind:
                return
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                self.apply(records)

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Read on for as long as the task lives."""
        while True:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                self.apply(records)


class SlateWatcher:
    """Follows slates; an asynchronous context manager that is ready to miss nothing once it is entered.

    Parameters
    ----------
    settings
        Broker and topic names.
    user
        Follow this user's slates only.
    from_beginning
        Start with the oldest slate the topic holds, not with the next one.

    Raises
    ------
    WatchError
        On entering: the broker does not answer within ``CONNECT_TIMEOUT_S``, or a topic is missing.
    """

    def __init__(self, settings: Settings, *, user: str | None = None, from_beginning: bool = False) -> None:
        self._settings = settings
        self._key = None if user is None else user.encode()
        self._from_beginning = from_beginning
        self._titles = CatalogTitles()
        self._slates: AIOKafkaConsumer | None = None
        self._catalog: AIOKafkaConsumer | None = None
        self._tail: asyncio.Task[None] | None = None
        self.n_unreadable = 0
        """Records of the topic that are no slates, passed over."""

    async def __aenter__(self) -> Self:
        """Connect, take the place to start from, and read the catalogue."""
        settings = self._settings
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                slates, catalog = await self._partitions([settings.topic_recommendations, settings.topic_catalog])
                self._slates = await self._open(slates)
                if not self._from_beginning:
                    await self._slates.seek_to_end()
                    for tp in slates:
                        await self._slates.position(tp)
                self._catalog = await self._open(catalog)
            await self._titles.load(self._catalog)
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            await self._close()
            raise WatchError(await why_not(settings, error, self._rights)) from error
        except BaseException:
            await self._close()
            raise
        self._tail = asyncio.create_task(self._titles.run(self._catalog))
        return self

    @property
    def _rights(self) -> list[Right]:
        """What is needed to watch."""
        return reading(self._settings.topic_recommendations, self._settings.topic_catalog)

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._close()

    async def _partitions(self, topics: Sequence[str]) -> list[list[TopicPartition]]:
        async with started_admin(self._settings) as admin:
            # Asking about a missing topic by name would make it where brokers make topics by themselves.
            present = set(await admin.list_topics())
            for topic in topics:
                if topic not in present:
                    raise WatchError(await why_missing(self._settings, topic, self._rights))
            found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(list(topics))}
        return [[TopicPartition(topic, int(part["partition"])) for part in found[topic]] for topic in topics]

    async def _open(self, partitions: list[TopicPartition]) -> AIOKafkaConsumer:
        """Return a consumer at the beginning of partitions, without a group."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            await consumer.start()
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
        except BaseException:
            await stop_consumer(consumer)
            raise
        return consumer

    async def _close(self) -> None:
        if self._tail is not None:
            self._tail.cancel()
            await asyncio.wait([self._tail])
        for consumer in (self._slates, self._catalog):
            if consumer is not None:
                await stop_consumer(consumer)
        self._slates = self._catalog = self._tail = None

    async def slates(self) -> AsyncIterator[WatchedSlate]:
        """Yield slates as they are committed, without an end.

        Raises
        ------
        aiokafka.errors.KafkaError
            Slates, or the titles of the catalogue, can no longer be read.
        """
        while self._slates is not None:
            if self._tail is not None and self._tail.done():
                self._tail.result()  # without it, new items would go without titles, and nobody would know why
            for records in (await self._slates.getmany(timeout_ms=1_000)).values():
                for record in records:
                    if self._key is None or record.key == self._key:
                        watched = self._read(record)
                        if watched is not None:
                            yield watched

    def _read(self, record: ConsumerRecord) -> WatchedSlate | None:
        if record.value is None:
            return None
        slate = decode_or_none(decode_slate, record.value)
        if slate is None:
            self.n_unreadable += 1
            return None
        names = [item.item_id for item in slate.items] + [item.reason.partition(":")[2] for item in slate.items]
        titles = {name: title for name in names if (title := self._titles.get(name)) is not None}
        return WatchedSlate(slate, record.value, titles)


def explain(reason: str, titles: dict[str, str]) -> str:
    """Put an item's reason into words.

    Examples
    --------
    >>> explain("together:17", {"17": "Oat drink, 1 l"}), explain("repeat", {}), explain("brand_new", {})
    ('goes with Oat drink, 1 l', 'had before', 'brand new')
    """
    code, _, item_id = reason.partition(":")
    if code == "together" and item_id:
        return f"goes with {titles.get(item_id, item_id)}"
    return _REASON_WORDS.get(reason, reason.replace("_", " "))
