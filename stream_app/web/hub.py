"""What the page shows, put together once a second and handed to all who watch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from mode import Service

from stream_app.changelog import RecoveryError
from stream_app.decoding import decode_or_none
from stream_app.observer import HISTORY
from stream_app.records import decode_reject, decode_slate
from stream_app.web.answer import ProblemError
from stream_app.web.feed import NewestRecords
from stream_app.web.health import health_words, is_silent
from stream_app.worker_report import decode_report

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from aiokafka import TopicPartition

    from stream_app.metrics import WorkerCollector
    from stream_app.observer import Observation, Observer
    from stream_app.settings import Settings
    from stream_app.web.lookup import Lookup

MAX_WATCHERS: Final = 32
REJECTS_KEPT: Final = 50
SLATES_PER_S: Final = 6
RATE_SPAN_S: Final = 5.0
"""Rates are means over about so many seconds."""

_TELL_AGAIN_S = 2.0
"""Pages are told how things are at least so often: also while Kafka does not answer, and nothing new is known."""
_KEEP_ALIVE_S = 15.0
_RETRY_S = 2.0
_REFUSED_RETRY_S = 30.0
_PEER_TIMEOUT_S = 0.7
_MAX_QUEUE = 120


class _Stream:
    """What is on its way to one page that watches."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_QUEUE)
        self._is_ended = False

    def put(self, message: bytes) -> None:
        """Add a message. A page that reads too slowly is ended: it connects again, and gets the present state."""
        if self._is_ended:
            return
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Let nothing more follow what the page has got: what waits would only hold up the end."""
        self._is_ended = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def get(self) -> bytes | None:
        """Return the next message, None at the end."""
        return await self._queue.get()


class Hub(Service):
    """Gathers the state of the application, and streams it.

    Parameters
    ----------
    settings
        Of the application.
    observer
        What the broker says, once a second.
    collector
        What this worker has learned.
    status
        Returns what ``/health/ready`` shows.
    lookup
        Asks other workers.
    with_titles
        Adds titles to a slate.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        collector: WorkerCollector,
        status: Callable[[], dict[str, Any]],
        lookup: Lookup,
        with_titles: Callable[[dict[str, Any]], dict[str, Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._observer = observer
        self._collector = collector
        self._status = status
        self._lookup = lookup
        self._with_titles = with_titles
        self._log = structlog.get_logger(__name__)
        self._watchers: set[_Stream] = set()
        self._is_watched = asyncio.Event()
        self._is_interrupted = False
        self._points: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._rejects: deque[dict[str, Any]] = deque(maxlen=REJECTS_KEPT)
        self._slates: deque[dict[str, Any]] = deque(maxlen=SLATES_PER_S)
        self._seen: dict[TopicPartition, int] = {}

    def report(self) -> dict[str, Any]:
        """Return what this worker tells the page of another one: readiness, tasks, quality and what it has learned."""
        return {
            **self._status(),
            "address": self._lookup.address,
            "version": version("crossaisle"),
            "quality": self._collector.quality(),
            "learned": self._collector.learned(),
            "arms": [arm._asdict() for arm in self._collector.arms()],
        }

    async def overview(self) -> dict[str, Any]:
        """Return what the page shows; ``at_ms`` is when Kafka answered last, and all but the workers is from then.

        Raises
        ------
        ProblemError
            The broker has not been asked yet.
        """
        observed = self._observer.latest
        if observed is None:
            raise ProblemError(
                "not_ready",
                "Kafka has not answered since this worker started; try again, and check the broker if it stays so",
            )
        workers = await self._workers(observed)
        now_ms = time.time_ns() // 1_000_000
        return {
            **self._point(observed, workers),
            "now_ms": now_ms,
            "kafka_answers": not is_silent(observed, now_ms),
            "app_id": self._settings.app_id,
            "version": version("crossaisle"),
            "worker": self._lookup.address,
            "health": health_words(observed, workers, now_ms, self._observer.problem),
            "lags": [self._lag_row(lag) for lag in observed.lags],
            "replica": {
                "lag_events": sum(lag.lag_events for lag in observed.replica),
                "staleness_s": max((lag.lag_s or 0.0 for lag in observed.replica), default=0.0),
            },
            "workers": workers,
            "learned": _summed(worker.get("learned", {}) for worker in workers),
            "arms": next((worker["arms"] for worker in workers if worker.get("arms")), []),
        }

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events: history, rejects and slates of before, then the state every second, and what comes.

        The state is told while Kafka does not answer, too; before Kafka has answered once, only the health is.

        Raises
        ------
        ProblemError
            Too many watch.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise ProblemError(
                "busy", f"{MAX_WATCHERS} pages are open at this worker; close one, or try another worker"
            )
        stream = _Stream()
        self._watchers.add(stream)
        self._is_watched.set()
        try:
            yield sse("history", list(self._points))
            yield sse("rejects", list(self._rejects))
            earlier = await self._of_known_users(list(self._slates))
            if earlier:
                yield sse("slates", earlier)
            while True:
                try:
                    message = await asyncio.wait_for(stream.get(), _KEEP_ALIVE_S)
                except TimeoutError:
                    message = b": still here\n\n"
                if message is None:
                    return
                yield message
        finally:
            self._watchers.discard(stream)
            if not self._watchers:
                self._is_watched.clear()

    async def on_stop(self) -> None:
        """End all streams."""
        self.close()

    def close(self) -> None:
        """End all streams: their pages connect again, to this worker or to the one that follows it."""
        for stream in self._watchers:
            stream.end()

    @Service.task
    async def _tell(self) -> None:
        while not self.should_stop:
            is_new = await self._is_observed_anew()
            observed = self._observer.latest
            if observed is None:
                self._send("health", health_words(None, [], 0, self._observer.problem))
                continue
            state = await self.overview() if self._watchers else None
            if is_new:
                self._points.append(self._point(observed, [self.report()] if state is None else state["workers"]))
            if state is not None:
                self._send("state", state)

    async def _is_observed_anew(self) -> bool:
        """Wait until something is observed, but not for long."""
        try:
            async with asyncio.timeout(_TELL_AGAIN_S), self._observer.changed:
                await self._observer.changed.wait()
        except TimeoutError:
            return False
        return True

    @Service.task
    async def _follow(self) -> None:
        """Read the newest slates and rejects while somebody watches."""
        while not self.should_stop:
            await self.wait_first(self._is_watched.wait())
            try:
                await self._feed()
            except (KafkaError, RecoveryError, OSError) as error:
                refused = isinstance(error, TopicAuthorizationFailedError)
                if not self._is_interrupted:
                    remedy = f"grant Read on {error.args[0]}" if refused else "none needed: goes on when Kafka answers"
                    self._log.warning("feed_interrupted", error=repr(error), remedy=remedy)
                self._is_interrupted = True
                await self.sleep(_REFUSED_RETRY_S if refused else _RETRY_S)

    async def _feed(self) -> None:
        settings = self._settings
        async with (
            NewestRecords(settings, settings.topic_recommendations, seen=self._seen) as slates,
            NewestRecords(settings, settings.topic_rejects, REJECTS_KEPT, self._seen) as rejects,
        ):
            is_earlier = True  # what comes first may be older than the page, and its user forgotten since
            while self._watchers and not self.should_stop:
                newest = [slate for record in await slates.take() if (slate := _slate(record)) is not None]
                newest = newest[-SLATES_PER_S:]
                if is_earlier:
                    newest = await self._of_known_users(newest)
                    is_earlier = False
                if newest:
                    titled = [self._with_titles(each) for each in newest]
                    self._slates.extend(titled)
                    self._send("slates", titled)
                refused = [_reject_row(record) for record in await rejects.take()]
                if refused:
                    self._rejects.extend(refused)
                    self._send("rejects", list(self._rejects))
                self._is_interrupted = False
                await self.sleep(1.0)

    async def _of_known_users(self, slates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those slates whose users the workers that made them know now: others were forgotten since."""
        owners = {(slate["user_id"], slate["as_of"]["partition"]) for slate in slates}
        answers = await asyncio.gather(*(self._lookup.knows(*owner, _PEER_TIMEOUT_S) for owner in owners))
        known = {owner for owner, answer in zip(owners, answers, strict=True) if answer}
        return [slate for slate in slates if (slate["user_id"], slate["as_of"]["partition"]) in known]

    def _send(self, event: str, value: Any) -> None:
        message = sse(event, value)
        for stream in self._watchers:
            stream.put(message)

    async def _workers(self, observed: Observation) -> list[dict[str, Any]]:
        mine = self._lookup.address
        others = [address for address in self._observer.addresses() if address != mine]
        answers = await asyncio.gather(
            *(self._lookup.peer(address, "/health/ready", _PEER_TIMEOUT_S) for address in others)
        )
        found = [{**self.report(), "answers": True}]
        for address, answer in zip(others, answers, strict=True):
            report = decode_report(answer) if answer is not None else None
            found.append({**(report or {}), "address": address, "answers": report is not None})
        for worker in found:
            owned = [member for member in observed.members if member.address == worker["address"]]
            worker["owns"] = {member.stage: sorted(member.partitions) for member in owned}
        return sorted(found, key=lambda worker: str(worker["address"]))

    def _lag_row(self, lag: Any) -> dict[str, Any]:
        row: dict[str, Any] = msgspec.to_builtins(lag)
        row["owner"] = self._observer.owner(lag.partition, lag.stage)
        return row

    def _point(self, observed: Observation, workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return one point of the charts."""
        earlier = self._earlier(observed)
        end, committed, lag_events = observed.total("user")
        end_before, committed_before, _ = earlier.total("user")
        span_s = max((observed.at_ms - earlier.at_ms) / 1_000, 1e-3)
        summaries = [summary for worker in workers for summary in worker.get("quality", {}).values()]
        known = [summary for summary in summaries if summary["log_loss"] > 0.0]
        return {
            "at_ms": observed.at_ms,
            "in_per_s": max(end - end_before, 0) / span_s,
            "learned_per_s": max(committed - committed_before, 0) / span_s,
            "lag_events": lag_events,
            "lag_s": observed.worst_s("user"),
            "item_lag_s": observed.worst_s("item"),
            "hit_rate": _mean(summary["hit_rate"] for summary in known),
            "log_loss": _mean(summary["log_loss"] for summary in known),
            "n_drifts": sum(summary["n_drifts"] for summary in summaries),
        }

    def _earlier(self, observed: Observation) -> Observation:
        """Return the observation that rates are counted from."""
        for each in self._observer.history:
            if observed.at_ms - each.at_ms <= RATE_SPAN_S * 1_000:
                return each
        return observed


def sse(event: str, value: Any) -> bytes:
    """Return a server-sent event with a JSON value."""
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _summed(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what workers have learned, numbers and numbers by name."""
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if isinstance(value, dict):
                out[name] = _summed([out.get(name, {}), value])
            else:
                out[name] = out.get(name, 0) + value
    return out


def _slate(record: Any) -> dict[str, Any] | None:
    """Return a slate as the page takes it, None where somebody else has written the record: it is passed over."""
    slate = decode_or_none(decode_slate, record.value)
    return None if slate is None else msgspec.to_builtins(slate)


def _reject_row(record: Any) -> dict[str, Any]:
    try:
        reject = decode_reject(record)
    except ValueError as error:
        return {"at_ms": record.timestamp, "code": "foreign", "reason": str(error), "where": ""}
    return {
        "at_ms": record.timestamp,
        "code": reject.code,
        "reason": reject.reason,
        "where": f"{reject.topic}, partition {reject.partition}, offset {reject.offset}",
    }
