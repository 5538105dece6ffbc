"""Produces records to a topic: keyed like every client's default, in batches, at an even rate if one is asked for.

The producer is idempotent: a retry writes nothing twice.
"""

from __future__ import annotations

import asyncio
import time
from itertools import chain, islice
from math import inf
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream_app.kafka import client_options
from stream_app.reading import ReadingError
from stream_app.rights import explain_refusal, refusal, writing
from stream_app.sender import STALL_TIMEOUT_S, BatchSender, KeyReader, ProduceError, RecordError
from stream_app.unreachable import why_missing, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stream_app.reading import Record
    from stream_app.settings import Settings

CONNECT_TIMEOUT_S: Final = 20.0
"""How long a broker may take to answer at the start."""
NO_ITEM_ID: Final = "no item_id (text, in a JSON object), and the catalogue keeps no record without one"

_REQUEST_TIMEOUT_S = STALL_TIMEOUT_S + 10.0
"""Batches expire after this, too: later than the sender gives up."""
_CHUNK_RECORDS = 256
_BATCH_BYTES = 131_072
_MAX_DEBT_S = 0.5
_TICK_S = 0.02
_LINGER_S = 0.1


class Pacer:
    """Says how many records are due, at an even rate; a hold-up is caught up in part only, without a burst.

    Parameters
    ----------
    rate
        Records per second, above 0; None for as many as there are.
    now_s
        A clock that never runs backwards, in seconds.

    Examples
    --------
    >>> pacer = Pacer(10.0, now_s=0.0)
    >>> pacer.due(now_s=0.0), pacer.due(now_s=0.5)
    (1, 5)
    """

    def __init__(self, rate: float | None, now_s: float) -> None:
        if rate is not None and not 0 < rate < inf:
            message = (
                f"the rate must be a number of records/s above 0, got {rate}; "
                "leave it out to produce as fast as possible"
            )
            raise ProduceError(message)
        self._rate = rate
        self._start_s = now_s
        self._n_released = 0

    def due(self, now_s: float) -> int:
        """Return how many records may go out now, and count them as gone."""
        if self._rate is None:
            return _CHUNK_RECORDS
        behind_s = now_s - self._start_s - self._n_released / self._rate
        if behind_s > _MAX_DEBT_S:
            self._start_s += behind_s - _MAX_DEBT_S
        n_allowed = min((now_s - self._start_s) * self._rate, self._n_released + _CHUNK_RECORDS)
        n_due = max(0, min(int(n_allowed) + 1 - self._n_released, _CHUNK_RECORDS))
        self._n_released += n_due
        return n_due

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait: until the next record is due, at least a tick so that fast rates go in batches."""
        if self._rate is None:
            return 0.0
        if int((now_s - self._start_s) * self._rate) >= self._n_released:  # as `due` counts, to the last bit
            return 0.0
        return max(self._start_s + self._n_released / self._rate - now_s, _TICK_S)


async def connect_producer(settings: Settings, topic: str | None = None) -> AIOKafkaProducer:
    """Return a started idempotent producer.

    Parameters
    ----------
    topic
        What it is to write to, for the error of a user who may not; the events if not given.

    Raises
    ------
    ProduceError
        The broker does not answer within ``CONNECT_TIMEOUT_S``.
    """
    producer = AIOKafkaProducer(
        **client_options(settings),
        enable_idempotence=True,
        max_batch_size=_BATCH_BYTES,
        request_timeout_ms=int(_REQUEST_TIMEOUT_S * 1_000),
    )
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await producer.start()
    except (KafkaError, OSError) as error:  # TimeoutError is an OSError
        await producer.stop()
        raise ProduceError(await why_not(settings, error, writing(topic or settings.topic_events))) from error
    except BaseException:
        await producer.stop()
        raise
    return producer


async def produce_records(
    settings: Settings,
    topic: str,
    records: Iterable[Record],
    *,
    rate: float | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_keyless: Callable[[], None] | None = None,
) -> int:
    """Produce records and return how many the broker has confirmed, which is all of them but those left out.

    Parameters
    ----------
    settings
        Where the broker is, and the topics' names.
    topic
        Name of the topic. In the catalogue's the key is ``item_id``, in any other ``user_id``, as UTF-8.
    records
        Bytes are sent as they are, dicts as JSON. Read in the event loop: getting the next one must not block for long.
    rate
        Records per second, above 0; as fast as possible if None.
    on_progress
        Called with the records confirmed so far, also when this ends early.
    on_keyless
        Called when the record read last has no ``item_id`` and is for the catalogue: a compacted topic takes no record
        without a key, and the broker would refuse its whole batch. It is left out; if None, it is an error.

    Raises
    ------
    ProduceError
        The broker is away or refuses, the topic is missing.
    RecordError
        A record is too large or has no key where one is needed. All records before it are produced.
    stream_app.reading.ReadingError
        Their file is damaged. All records before the damage are produced.
    """
    is_catalog = topic == settings.topic_catalog
    keys = KeyReader("item_id" if is_catalog else "user_id")
    pacer = Pacer(rate, time.monotonic())
    sender = BatchSender(await connect_producer(settings, topic), topic, on_progress)
    try:
        await _check_topic(settings, sender, topic)
        try:
            await _pump(sender, iter(records), keys, pacer, (on_keyless or _refuse) if is_catalog else None)
        except RecordError as error:
            await sender.drain()
            raise RecordError(str(error), sender.n_confirmed) from error
        except ReadingError:
            await sender.drain()
            raise
        await sender.drain()
    except (KafkaError, ProduceError) as error:
        if refusal(error) is not None:
            raise ProduceError(await explain_refusal(settings, error, writing(topic)), sender.n_confirmed) from error
        if isinstance(error, ProduceError):
            raise
        message = f"producing to topic {topic!r} failed: {error or type(error).__name__}"
        raise ProduceError(message, sender.n_confirmed) from error
    finally:
        await sender.close()
    return sender.n_confirmed


async def _check_topic(settings: Settings, sender: BatchSender, topic: str) -> None:
    if not await sender.find_topic():
        raise ProduceError(await why_missing(settings, topic, writing(topic)))


def _refuse() -> None:
    message = f"{NO_ITEM_ID}; add it"
    raise RecordError(message)


async def _pump(
    sender: BatchSender,
    records: Iterator[Record],
    keys: KeyReader,
    pacer: Pacer,
    on_keyless: Callable[[], None] | None = None,
) -> None:
    """Feed the sender until the records end; no record waits in an open batch for longer than ``_LINGER_S``.

    One record is read ahead: after the last one nothing is waited for. With ``on_keyless``, records without a key are
    left out, and it is called for each.
    """
    flushed_s = time.monotonic()
    task = asyncio.current_task()
    ahead = list(islice(records, 1))
    while ahead:
        if task is not None and task.cancelling():  # aiokafka may have caught it: Python 3.11's wait_for loses some
            raise asyncio.CancelledError
        n_due = pacer.due(time.monotonic())
        for record in islice(chain(ahead, records), n_due):
            key, value = keys.encode(record)
            if key is None and on_keyless is not None:
                on_keyless()
                continue
            await sender.add(key, value)
        now_s = time.monotonic()
        wait_s = pacer.wait_s(now_s)
        if wait_s > 0 or now_s - flushed_s > _LINGER_S:
            await sender.flush()
            flushed_s = now_s
        if n_due:
            ahead = list(islice(records, 1))
        if ahead:
            await asyncio.sleep(wait_s)
