"""What the broker says of topics: their ids and partition counts, asked once for all tasks that open together."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.errors import LeaderNotAvailableError, NoError, UnknownTopicOrPartitionError, for_code

from stream_app.changelog import RecoveryError
from stream_app.kafka import fetch_topic_ids, once_listed, started_admin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.settings import Settings

_KEEP_S = 1.0
_NEW_TOPIC_S = 3.0  # a broker that is asked may learn of a new topic later than the one that made it
_ASK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """Identity and size of a topic."""

    topic_id: str | None
    """Unique id: another one under the same name is another topic. None if the broker does not tell ids."""
    n_partitions: int


async def fetch_topic_facts(settings: Settings, topics: Sequence[str]) -> dict[str, TopicFacts]:
    """Return the facts of every topic that exists.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker does not answer, or the topics have no leader yet.
    """
    described = await once_listed(lambda: _describe(settings, topics))
    ids = await fetch_topic_ids(settings, list(topics))
    facts = {}
    for topic in described:
        error = for_code(topic["error_code"])
        if error is NoError:
            facts[topic["topic"]] = TopicFacts(ids.get(topic["topic"]), len(topic["partitions"]))
        elif error is not UnknownTopicOrPartitionError:
            raise error(topic["topic"])
    return facts


async def _describe(settings: Settings, topics: Sequence[str]) -> list[dict[str, Any]]:
    async with started_admin(settings) as admin:
        return list(await admin.describe_topics(list(topics)))


class TopicFactsCache:
    """The facts of some topics, asked again when they are older than a second."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._topics = list(topics)
        self._lock = asyncio.Lock()
        self._facts: dict[str, TopicFacts] = {}
        self._fetched_s = float("-inf")

    async def get(self, topic: str) -> TopicFacts:
        """Return the facts of one topic.

        Raises
        ------
        RecoveryError
            There is no such topic.
        aiokafka.errors.KafkaError
            The broker does not answer.
        """
        give_up_s = time.monotonic() + _NEW_TOPIC_S
        while True:
            async with self._lock:
                if time.monotonic() - self._fetched_s > _KEEP_S or topic not in self._facts:
                    try:
                        self._facts = await fetch_topic_facts(self._settings, self._topics)
                        self._fetched_s = time.monotonic()
                    except LeaderNotAvailableError:
                        if time.monotonic() > give_up_s:
                            raise
                        self._facts = {}
            if topic in self._facts:
                return self._facts[topic]
            if time.monotonic() > give_up_s:
                message = f"topic {topic}: it does not exist; make it with: crossaisle topics create"
                raise RecoveryError(message)
            await asyncio.sleep(_ASK_AGAIN_S)
