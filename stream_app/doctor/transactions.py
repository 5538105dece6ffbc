"""Checks that transactions can be begun, and compares clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    InvalidTransactionTimeout,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)

from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.kafka import client_options, started_admin, started_consumer
from stream_app.lag_records import event_time_ms
from stream_app.rights import Kind, Operation, Right
from stream_app.settings import PREFIX
from stream_app.topic_facts import fetch_topic_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaConsumer

    from stream_app.settings import Settings

TOLERANCE_MS: Final = 1_000
"""Clocks that are closer than this are well enough."""
_N_PROBES: Final = 5
_POLL_MS: Final = 100
_DELETION_DISABLED: Final = 73
"""TOPIC_DELETION_DISABLED, which aiokafka has no name for."""
_OTHER_UNITS: Final = ((1e17, "nanoseconds", "1,000,000"), (1e14, "microseconds", "1,000"))
"""Greater numbers than these are no milliseconds of this age, but may be in these units."""
_CLOCK_REMEDY: Final = "run a time service (NTP) on every machine"


def _producer(settings: Settings) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **client_options(settings),
        transactional_id=f"{settings.app_id}.doctor",
        transaction_timeout_ms=settings.transaction_timeout_ms,
    )


async def check_transactions(settings: Settings) -> list[Finding]:
    """Start a transactional producer as a task does; nothing is written to any topic of yours."""
    wanted = f"a transaction with the timeout of {settings.transaction_timeout_ms} ms that is set"
    producer = _producer(settings)
    try:
        await producer.start()
    except TransactionalIdAuthorizationFailed:
        remedy = (
            "kafka-acls.sh --add --allow-principal User:NAME --operation Write --operation Describe "
            f"--resource-pattern-type prefixed --transactional-id {settings.app_id}."
        )
        return [error("transactions", f"no right to transactional ids {settings.app_id}.*", wanted, remedy)]
    except InvalidTransactionTimeout:
        found = f"the broker allows no timeout of {settings.transaction_timeout_ms} ms"
        remedy = f"lower {PREFIX}TRANSACTION_TIMEOUT_MS, or raise the broker's transaction.max.timeout.ms"
        return [error("transactions", found, wanted, remedy)]
    except KafkaError as problem:
        return [error("transactions", f"the broker refused: {problem}", wanted, "see the broker's log")]
    finally:
        await producer.stop()
    return [ok("transactions", "a transactional producer can be started", wanted)]


async def check_clock_by_events(settings: Settings) -> list[Finding]:
    """Look for newest events that lie in the future: then this machine's clock is behind, or a sender's is ahead."""
    wanted = "no event from the future"
    topic = settings.topic_events
    facts = (await fetch_topic_facts(settings, [topic])).get(topic)
    times: dict[int, Times] = {}
    if facts is not None:
        tps = [TopicPartition(topic, partition) for partition in range(facts.n_partitions)]
        options = {"isolation_level": "read_uncommitted", "fetch_max_wait_ms": _POLL_MS}
        async with started_consumer(settings, **options) as consumer:
            times = await _newest_times_ms(consumer, tps)
    if not times:
        return [ok("clock", "no events yet to compare with", wanted)]
    now_ms = time.time_ns() // 1_000_000
    found = [*_judge_events(times, now_ms, settings.max_future_ms), *_judge_stamps(times, now_ms)]
    return found or [ok("clock", "the newest events are not from the future", wanted)]


class Times(NamedTuple):
    """Times of a partition's newest record, in milliseconds since 1970."""

    event_ms: int | None
    """``event_time_ms``, by which the worker judges; None if the record does not say."""
    stamp_ms: int
    """Kafka's timestamp, which the producer's host has set if the topic does not say otherwise."""


def _judge_events(times: Mapping[int, Times], now_ms: int, max_future_ms: int) -> list[Finding]:
    said = {partition: each.event_ms for partition, each in times.items() if each.event_ms is not None}
    worst = max(said, key=lambda partition: said[partition], default=None)
    if worst is None or said[worst] - now_ms <= TOLERANCE_MS:
        return []
    ahead_ms, wanted = said[worst] - now_ms, f"event_time_ms at most {max_future_ms} ms (max_future_ms) after now"
    found = f"event_time_ms of partition {worst}'s newest event is {said[worst]}, {ahead_ms} ms ahead of this machine"
    if ahead_ms <= max_future_ms:
        return [warning("clock", found, wanted, f"{_CLOCK_REMEDY}, those that make events first")]
    for least, unit, factor in _OTHER_UNITS:
        if said[worst] > least:
            remedy = (
                f"it looks like {unit}: divide by {factor} where events are made, it must be milliseconds since 1970"
            )
            break
    else:
        remedy = f"look whether it is milliseconds since 1970, as it must be; if so, {_CLOCK_REMEDY}"
    return [error("clock", f"{found}: it is rejected", wanted, remedy)]


def _judge_stamps(times: Mapping[int, Times], now_ms: int) -> list[Finding]:
    worst = max(times, key=lambda partition: times[partition].stamp_ms)
    ahead_ms = times[worst].stamp_ms - now_ms
    if ahead_ms <= TOLERANCE_MS:
        return []
    found = (
        f"Kafka's timestamp of partition {worst}'s newest event is {ahead_ms} ms ahead of this machine; no event is "
        "rejected for that"
    )
    remedy = (
        f"{_CLOCK_REMEDY}, on the producer's host first: it sets the timestamp, unless the topic says LogAppendTime"
    )
    return [warning("clock", found, f"timestamps at most {TOLERANCE_MS} ms after now", remedy)]


async def _newest_times_ms(consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> dict[int, Times]:
    """Return the times of each partition's newest record, where there is one."""
    begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    filled = [tp for tp in tps if begins[tp] < ends[tp]]
    times: dict[int, Times] = {}
    if not filled:
        return times
    consumer.assign(filled)
    for tp in filled:
        consumer.seek(tp, ends[tp] - 1)
    waiting = set(filled)
    while waiting:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=_POLL_MS)).items():
            # More than one, if some have come meanwhile.
            said = [at for record in records if (at := event_time_ms(record.value)) is not None]
            times[tp.partition] = Times(max(said, default=None), max(record.timestamp for record in records))
        # A marker of a transaction is passed over without a record.
        waiting = {tp for tp in waiting if tp.partition not in times and await consumer.position(tp) < ends[tp]}
    return times


async def check_clock_by_probe(settings: Settings) -> list[Finding]:
    """Commit a transaction to a topic of the doctor's own whose records the broker stamps, then delete the topic."""
    topic, wanted = f"{settings.app_id}.doctor", f"clocks within {TOLERANCE_MS} ms of each other"
    async with started_admin(settings) as admin:
        new = NewTopic(topic, 1, settings.replication_factor, topic_configs={"message.timestamp.type": "LogAppendTime"})
        answer: Any = await admin.create_topics([new])
        code = answer.topic_errors[0][1]
        if code:
            found = f"topic {topic} cannot be made: {for_code(code).__name__}"
            remedy = f"delete {topic} if it is left over, or grant the right to make topics, or leave out --probe"
            return [error("clock", found, "a topic to write to", remedy)]
        try:
            least_ms, most_ms = await _offset_ms(settings, topic)
        finally:
            deleted: Any = await admin.delete_topics([topic])
    left = left_over(settings, topic, deleted.topic_error_codes[0][1])
    found = f"a transaction was committed; the broker's clock minus this one's is {least_ms} to {most_ms} ms"
    apart_ms = max(least_ms, -most_ms, 0)
    if apart_ms <= TOLERANCE_MS:
        return [ok("clock", found, wanted), *left]
    return [warning("clock", found, wanted, _CLOCK_REMEDY), *left]


def left_over(settings: Settings, topic: str, code: int) -> list[Finding]:
    """Return the finding of a topic that the broker did not delete; none if it did.

    Parameters
    ----------
    code
        What the broker has answered: 0 is well.
    """
    if not code:
        return []
    delete = f"kafka-topics.sh --delete --topic {topic}"
    if code == TopicAuthorizationFailedError.errno:
        why = "no right to delete it"
        remedy = f"{Right((Operation.DELETE,), Kind.TOPIC, topic).command(settings)}, then {delete}"
    elif code == _DELETION_DISABLED:
        why, remedy = "the broker deletes no topics", f"set delete.topic.enable=true at the brokers, then {delete}"
    else:
        why, remedy = f"the broker refused: {for_code(code).__name__} (code {code})", delete
    return [warning("clock", f"topic {topic} of the probe is left over: {why}", "nothing left behind", remedy)]


async def _offset_ms(settings: Settings, topic: str) -> tuple[int, int]:
    """Return the least and the most that the broker's clock can be ahead, in milliseconds.

    The broker stamps a record between its sending and its receipt; each record narrows the bounds.
    """
    least, most = -(1 << 62), 1 << 62
    producer = _producer(settings)
    try:
        await producer.start()
        async with producer.transaction():
            for _ in range(_N_PROBES):
                sent_ms = time.time_ns() // 1_000_000
                stamped = await _send_when_there(producer, topic)
                received_ms = time.time_ns() // 1_000_000
                least, most = max(least, stamped - received_ms), min(most, stamped + 1 - sent_ms)
    finally:
        await producer.stop()
    return least, most


async def _send_when_there(producer: AIOKafkaProducer, topic: str) -> int:
    while True:
        try:
            receipt = await producer.send_and_wait(topic, b"crossaisle doctor")
        except UnknownTopicOrPartitionError:
            continue
        return int(receipt.timestamp)
