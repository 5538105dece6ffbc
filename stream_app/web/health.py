"""Health in plain words: what is wrong, where, and what to do, from what the broker and the workers say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_app.observer import Observation

BEHIND_S: Final = 5.0
"""A partition whose oldest record waits longer than this is behind."""
STALE_S: Final = 10.0
"""A worker whose item replica is older than this ranks with what was."""
SILENT_MS: Final = 5_000
"""Without an answer of the broker for so long, what is shown is old."""

_PHASES: Final = {
    "waiting for broker": "it waits for Kafka",
    "checking rights and topics": "it checks what it may do, and the topics",
    "compiling kernels": "it compiles its kernels, for two to four minutes when it is its first start on this machine",
    "catching up": "it reads the catalogue and the items",
    "stopping": "it stops",
}


def is_silent(observed: Observation | None, now_ms: int) -> bool:
    """Whether Kafka has not answered for so long that what is shown is old."""
    return observed is None or now_ms - observed.at_ms > SILENT_MS


def health_words(
    observed: Observation | None, workers: Sequence[Mapping[str, Any]], now_ms: int, problem: str = ""
) -> dict[str, Any]:
    """Return how things are: ``level`` (``good``, ``warn`` or ``bad``) and ``words``, the sentences, worst first.

    Parameters
    ----------
    observed
        The newest observation, None before the first; of an old one only its age is told.
    problem
        Why there is no newer one, where Kafka answers but not with what is asked.
    """
    if observed is None or is_silent(observed, now_ms):
        found = [*_silence(observed, problem), *_workers(workers)]
    else:
        are_starting = any(worker["answers"] and not worker["ready"] for worker in workers)
        found = [*_workers(workers), *_partitions(observed, are_starting), *_replica(observed)]
        if not found:
            return {"level": "good", "words": [_well(observed)]}
    level = "bad" if any(bad for bad, _ in found) else "warn"
    return {"level": level, "words": [words for _, words in sorted(found, key=lambda each: not each[0])]}


def _well(observed: Observation) -> str:
    if observed.lags and all(lag.end == 0 for lag in observed.lags if lag.stage == "user"):
        return "All is ready, and nothing has come in yet: produce events, from your shop or with crossaisle produce."
    return "Everything is learned as it comes in."


def _silence(observed: Observation | None, problem: str) -> list[tuple[bool, str]]:
    since, old = "this worker started", ""
    if observed is not None:
        at = datetime.fromtimestamp(observed.at_ms / 1_000, UTC)
        since, old = f"{at:%Y-%m-%d %H:%M:%S} UTC", " What is shown is from then."
    if problem:
        return [(True, f"Kafka does not tell how things are (since {since}): {problem}.{old}")]
    to_do = "Check the broker: workers wait for it, and go on by themselves."
    return [(True, f"Kafka does not answer (since {since}).{old} {to_do}")]


def _workers(workers: Sequence[Mapping[str, Any]]) -> list[tuple[bool, str]]:
    found: list[tuple[bool, str]] = []
    for worker in workers:
        owned = worker.get("owns", {}).get("user", [])
        address = worker["address"]
        if not worker["answers"]:
            what = f", and owns {_partition_words(owned)} of the events" if owned else ""
            text = (
                f"Worker {address} does not answer{what}. It hangs or is gone; another one takes over when its "
                "session ends."
            )
            found.append((True, text))
        elif not worker["ready"]:
            found.append((False, f"Worker {address} is not ready: {_unready(worker)}."))
    return found


def _unready(worker: Mapping[str, Any]) -> str:
    if worker.get("phase") != "running":
        phase = str(worker.get("phase"))
        return _PHASES.get(phase, phase)
    tasks = [task for stage in worker.get("stages", {}).values() for task in stage["tasks"]]
    restoring = [task["restore"] for task in tasks if task.get("restore")]
    if restoring:
        n_left = sum(restore["n_left"] for restore in restoring)
        if not n_left:
            return "it takes over its partitions"
        left_s = max((restore["left_s"] or 0.0 for restore in restoring), default=0.0)
        return f"it restores {n_left:,} records, about {left_s:.0f} s left"
    return "the group shares out its partitions"


def _replica(observed: Observation) -> list[tuple[bool, str]]:
    age_s = max((lag.lag_s or 0.0 for lag in observed.replica), default=0.0)
    if age_s <= STALE_S:
        return []
    return [(False, f"This worker ranks with items as they were {age_s:.0f} s ago: it needs more CPU.")]


def _partitions(observed: Observation, are_starting: bool) -> list[tuple[bool, str]]:
    """Tell of partitions without a worker, unless one is about to take them, and of those that are behind."""
    found: list[tuple[bool, str]] = [(True, lag.problem) for lag in observed.lags if lag.problem]
    for stage, what in (("user", "events"), ("item", "item updates")):
        owned = {p for member in observed.members if member.stage == stage for p in member.partitions}
        numbers = [lag.partition for lag in observed.lags if lag.stage == stage]
        orphans = [partition for partition in numbers if partition not in owned]
        if orphans and not are_starting:
            whole = "All partitions" if len(orphans) == len(numbers) else _partition_words(orphans).capitalize()
            has = "has" if whole.startswith("Partition ") else "have"
            found.append((True, f"{whole} of the {what} {has} no worker: start one with crossaisle worker."))
        late = [lag for lag in observed.lags if lag.stage == stage and (lag.lag_s or 0.0) > BEHIND_S]
        if late:
            worst = max(late, key=lambda lag: lag.lag_s or 0.0)
            n_events = sum(lag.lag_events for lag in late)
            where = _partition_words([lag.partition for lag in late])
            text = f"{n_events:,} {what} wait in {where}, the oldest for {worst.lag_s or 0.0:.0f} s."
            found.append((False, text))
    return found


def _partition_words(numbers: Sequence[int]) -> str:
    listed = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""  # noqa: PLR2004 - as listed
    return f"partition{'s' if len(numbers) != 1 else ''} {listed}{more}"
