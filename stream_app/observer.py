"""A worker's view of the whole application, once a second, from the broker: lag of every partition, and who owns it.

Every worker measures all partitions, its own and the others': one that hangs is seen by those that do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError
from mode import Service

from stream_app.lag import LagError, LagMeter
from stream_app.members import Member, fetch_members
from stream_app.partition_lag import PartitionLag
from stream_app.shared_settings import SettingsWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream_app.settings import Settings

EVERY_S: Final = 1.0
HISTORY: Final = 300
"""Observations kept for charts: five minutes."""

_STOP_TIMEOUT_S = 1.0


class Observation(NamedTuple):
    """What the broker said at one moment."""

    at_ms: int
    lags: tuple[PartitionLag, ...]
    members: tuple[Member, ...]
    replica: tuple[PartitionLag, ...] = ()
    """How far this worker's own replica is behind the item stage, by partition."""

    def total(self, stage: str) -> tuple[int, int, int]:
        """Return the sums over a stage's partitions: end offsets, committed offsets, lag in events."""
        of_stage = [lag for lag in self.lags if lag.stage == stage]
        return (
            sum(lag.end for lag in of_stage),
            sum(lag.committed or 0 for lag in of_stage),
            sum(lag.lag_events for lag in of_stage),
        )

    def worst_s(self, stage: str) -> float:
        """Return the highest known lag of a stage's partitions, in seconds."""
        return max((lag.lag_s or 0.0 for lag in self.lags if lag.stage == stage), default=0.0)


class Observer(Service):
    """Measure lag and ownership every :data:`EVERY_S` seconds; a broker that goes away is waited for.

    Parameters
    ----------
    settings
        Of the application.
    replica_positions
        Returns the next offset of item-state that this worker's replica wants, by partition.
    """

    mundane_level = "debug"  # what it starts and stops is told by events of our own

    def __init__(
        self, settings: Settings, replica_positions: Callable[[], Mapping[int, int]] = dict, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._replica_positions = replica_positions
        self._log = structlog.get_logger(__name__)
        self._settings_watch = SettingsWatch(settings)
        self._is_lost = False
        self.problem = ""
        """Why there is no newer observation, where Kafka answers but not with what is asked; else empty."""
        self.changed = asyncio.Condition()
        """Notified after every observation."""
        self.history: deque[Observation] = deque(maxlen=HISTORY)

    @property
    def latest(self) -> Observation | None:
        """The newest observation, None before the first."""
        return self.history[-1] if self.history else None

    def owner(self, partition: int, stage: str = "user") -> str | None:
        """Return the address of the worker that owns a partition, None while nobody does."""
        latest = self.latest
        members = latest.members if latest is not None else ()
        return next((m.address for m in members if m.stage == stage and partition in m.partitions), None)

    def addresses(self) -> list[str]:
        """Return the addresses of all workers, sorted."""
        latest = self.latest
        return sorted({member.address for member in latest.members}) if latest is not None else []

    @Service.task
    async def _observe(self) -> None:
        while not self.should_stop:
            meter = LagMeter(self._settings)
            try:
                await meter.start()
                await self._measure(meter)
            except (LagError, KafkaError, OSError) as error:
                if not self._is_lost:
                    self._log.warning(
                        "lag_unknown", error=str(error), remedy="none needed: measured when Kafka answers"
                    )
                self._is_lost = True
                self.problem = "" if _is_away(error) else str(error)
            finally:
                with contextlib.suppress(TimeoutError, KafkaError):
                    await asyncio.wait_for(meter.stop(), _STOP_TIMEOUT_S)
            await self.sleep(EVERY_S)

    async def _measure(self, meter: LagMeter) -> None:
        while not self.should_stop:
            started_s = time.monotonic()
            lags = await meter.measure()
            members = await fetch_members(meter.admin, self._settings)
            self._settings_watch.look(members)
            positions = self._replica_positions()
            replica = await meter.measure_replica(self._settings.topic_item_state, positions)
            if self._is_lost:
                self._log.info("lag_known_again")
            self._is_lost, self.problem = False, ""
            self.history.append(Observation(time.time_ns() // 1_000_000, tuple(lags), tuple(members), tuple(replica)))
            async with self.changed:
                self.changed.notify_all()
            await self.sleep(max(0.0, EVERY_S - (time.monotonic() - started_s)))


def _is_away(error: BaseException) -> bool:
    """Whether an error means that no broker answers, rather than that one refuses, or lacks a topic."""
    cause = error.__cause__ if isinstance(error, LagError) else error
    return isinstance(cause, OSError) or (isinstance(cause, KafkaError) and bool(cause.retriable))
