"""A worker with the smallest processor that can be wrong: it counts events per key and sends one output for each.

Run as a script it is a worker process like ``crossaisle worker``, with the settings of the environment.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import TopicPartition

from state.pages import Pages
from stream_app.application import WorkerStoppedError, create_app, run_worker
from stream_app.processor import Flush, Output, StageSpec
from stream_app.runtime import Plan, TailSpec
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from state.store import Store
    from stream_app.records import KafkaRecord

FULL_VARIABLE = "COUNTING_FULL_AT"
"""Environment variable: with so many events in an interval the processor is full."""


def page_key(key: bytes) -> bytes:
    """Return the page key of a counted key."""
    return b"the-count-of-" + key


class CountingProcessor:
    """Counts per key in pages, the total in the checkpoint, and where each event came from as its output."""

    def __init__(self, partition: int, store: Store, output_topic: str) -> None:
        self._partition = partition
        self._store = store
        self._output_topic = output_topic
        self._counts: dict[bytes, int] = {}
        self._outputs: list[Output] = []
        self.total = 0
        self._n_uncommitted = 0

    def restore(self, checkpoint: bytes | None) -> None:
        """Take up the total."""
        state: dict[str, Any] = msgspec.json.decode(checkpoint)["state"] if checkpoint else {"total": 0}
        self.total = state["total"]

    @property
    def stretch(self) -> int:
        """Never commit less often."""
        return 1

    @property
    def is_full(self) -> bool:
        """Whether a bound is reached, if the environment names one."""
        return self._n_uncommitted >= float(os.environ.get(FULL_VARIABLE, "inf"))

    def process(self, records: Sequence[KafkaRecord], now_ms: int, n_waiting: int = 0) -> None:
        """Count the records; one whose value is ``poison`` is more than this processor can take."""
        del now_ms, n_waiting
        for record in records:
            if record.value == b"poison":
                message = f"poison at offset {record.offset}"
                raise ValueError(message)
            key = record.key or b""
            if key not in self._counts:
                (page,) = self._store.get_many([page_key(key)])
                self._counts[key] = int(page or b"0")
            self._counts[key] += 1
            self.total += 1
            self._n_uncommitted += 1
            where = b"%d:%d" % (record.partition, record.offset)
            self._outputs.append(Output(self._output_topic, self._partition, key, where))

    def prompt(self, now_ms: int) -> list[Output]:
        """Return what came of the events just counted, ahead of the commit."""
        del now_ms
        outputs, self._outputs = self._outputs, []
        return outputs

    def flush(self, now_ms: int) -> Flush:
        """Return what was counted since the last commit."""
        del now_ms
        pages = Pages((page_key(key), b"%d" % n) for key, n in self._counts.items())
        return Flush(self.prompt(0), pages, {"total": self.total})

    def committed(self) -> None:
        """Begin the next interval with nothing in memory, so that every count goes through the store."""
        self._counts.clear()
        self._n_uncommitted = 0


def counting_spec(settings: Settings) -> StageSpec:
    """Return a stage that counts the events topic."""
    return StageSpec(
        name="user",
        input_topic=settings.topic_events,
        changelog_topic=settings.topic_user_state,
        group_id=f"{settings.app_id}.user",
        commit_interval_ms=settings.commit_interval_ms,
        open_processor=lambda partition, _, store: CountingProcessor(partition, store, settings.topic_recommendations),
        writes_to=lambda partition: [TopicPartition(settings.topic_recommendations, partition)],
    )


def main() -> None:
    """Run a counting worker."""
    settings = Settings()

    def make_plan(partitions: Mapping[str, int]) -> Plan:
        del partitions
        catalog = TailSpec(settings.topic_catalog, lambda _: None, remedy="send it again")
        return Plan(tails=[catalog], stages=[counting_spec(settings)])

    try:
        run_worker(create_app(settings, [], make_plan))
    except WorkerStoppedError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
