"""How far one stage is behind in one partition: from offsets and the first uncommitted record to the lag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from stream_app.lag_records import Found


HELD_TOO_LONG_S: Final = 60.0
"""From this age on an open transaction is a problem: as long as Kafka lets a producer take that sets no other time."""


class PartitionLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far one stage is behind in one partition.

    Attributes
    ----------
    stage
        ``"user"`` or ``"item"``; ``"replica"`` for a reader without a group.
    group, topic, partition
        What was measured.
    end
        Last stable offset: the offset after the last record that a worker can read.
    committed
        Offset of the next record to process; None if nothing was ever committed.
    lag_events
        Records to process; markers between them are counted, so that it may be a little too high, and is 0 only when
        nothing is left.
    lag_s
        Age of the first of them by the wall clock, in seconds; 0 when there is none; None when it could not be read in
        time.
    lag_event_s
        How much later the newest readable record happened than the first uncommitted one, by the events' own times, in
        seconds; 0 when there is none; None when a time could not be read.
    held_events
        Offsets from ``end`` on that nobody who reads committed records can read yet: the first of them belongs to a
        transaction that has not ended. Not part of the lag.
    held_s
        Age of the first of them by the wall clock, in seconds; 0 when there is none, or when transactions end as they
        should; None when it could not be read in time.
    position
        Offset of the next record that the owner will read, as it says; None where it was not asked or did not answer.
    owner
        Address of the worker that owns the partition; None where nobody does or the group was not asked.
    problem
        A sentence with a remedy when the committed offset does not fit the topic or a transaction is held open, else
        None.
    """

    stage: str
    group: str
    topic: str
    partition: int
    end: int
    committed: int | None
    lag_events: int
    lag_s: float | None
    lag_event_s: float | None = None
    held_events: int = 0
    held_s: float | None = 0.0
    position: int | None = None
    owner: str | None = None
    problem: str | None = None


class Held(NamedTuple):
    """What waits for the end of a transaction: offsets after the last stable one, and the first one's age."""

    n_offsets: int
    age_s: float | None


NOTHING_HELD: Final = Held(0, 0.0)


class Stage(NamedTuple):
    """A stage, its group, and the topic that it reads."""

    name: str
    group: str
    topic: str


def lag_of(
    stage: Stage,
    tp: TopicPartition,
    *,
    committed: int,
    begin: int,
    end: int,
    found: Found | None,
    now_ms: int,
    held: Held = NOTHING_HELD,
) -> PartitionLag:
    """Return the lag of a partition.

    Parameters
    ----------
    stage
        Who reads it.
    tp
        Topic and number.
    committed
        Offset of the next record to process; -1 if nothing was ever committed.
    begin, end
        First offset that is still there, last stable offset.
    found
        What was found from the committed offset on; None if nothing was looked for.
    now_ms
        Wall clock in milliseconds since 1970.
    held
        What waits behind the end.
    """
    problem = None
    if held.age_s is not None and held.age_s >= HELD_TOO_LONG_S:
        problem = (
            f"a transaction has been open at offset {end} for {held.age_s:,.0f} s, and nobody reads beyond it "
            "before it ends: stop or repair its producer, or let kafka-transactions.sh find-hanging and abort it"
        )
    lag_events = 0
    age_s: float | None = 0.0
    event_s: float | None = 0.0
    if found is not None and found.first < end:
        lag_events = end - found.first
        age_s = None if found.timestamp_ms is None else max(now_ms - found.timestamp_ms, 0) / 1_000
        event_s = found.event_span_s
    elif found is None and committed > end:
        problem = (
            f"committed offset {committed} lies beyond the end {end}: the topic was recreated or truncated; "
            "the worker will say how to reset"
        )
    if 0 <= committed < begin:
        problem = (
            f"{begin - committed:,} records from offset {committed} on were deleted before they were read: raise "
            f"retention.ms of {tp.topic}, or start workers sooner"
        )
    return PartitionLag(
        stage=stage.name,
        group=stage.group,
        topic=tp.topic,
        partition=tp.partition,
        end=end,
        committed=committed if committed >= 0 else None,
        lag_events=lag_events,
        lag_s=age_s,
        lag_event_s=event_s,
        held_events=held.n_offsets,
        held_s=held.age_s,
        problem=problem,
    )
