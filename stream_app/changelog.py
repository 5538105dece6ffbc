"""The changelog of a task: its one key that is no page's, and when a task may go on from it and from a local store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stream_app.settings import PREFIX

if TYPE_CHECKING:
    from state.store import Origin
    from stream_app.settings import Settings

CHECKPOINT_KEY = b"\x00checkpoint"
"""Key of the checkpoint record; no page key is equal to it: read as one, its kind would be 105, which no page has."""

DELETE_RETENTION_MS: Final = 86_400_000
"""Kafka's default of ``delete.retention.ms``, for a broker that does not tell."""

MARK = 1
"""What the log holds after the last record of a commit: the mark of its transaction."""
_MARGIN = 10
"""One part in so many of ``delete.retention.ms`` is left for the replay, and for clocks that differ."""


class RecoveryError(Exception):
    """A task cannot be recovered without losing or repeating events; the message names the remedy."""


class StaleStoreError(Exception):
    """The changelog may no longer tell all that a local store lacks: it must be rebuilt from the beginning.

    The message says why.
    """


@dataclass(frozen=True, slots=True)
class Log:
    """One partition of a changelog, as the broker tells it."""

    topic: str
    partition: int
    begin: int
    """First offset."""
    end: int
    """Offset after the last committed record."""
    topic_id: str | None = None
    is_accepted: bool = False
    """Whether the operator has said that the topic was put back, or may lack records."""
    delete_retention_ms: int = DELETE_RETENTION_MS
    """For so long a removed page is told at least."""


def start_over(settings: Settings) -> str:
    """Return the sentence that tells an operator how to begin anew."""
    return f"put the topic back as it was, or {start_anew(settings)}"


def restore_state(settings: Settings, topic: str, topic_id: str | None) -> str:
    """Return the sentence that tells an operator what to do about a state topic that is not what it was."""
    return (
        f"put the topic back from a backup and set {PREFIX}ACCEPTED_TOPICS to {_identity(topic, topic_id)} or to the "
        "id that it has then (without a backup this accepts the loss; a topic without any state is refused), or "
        f"{start_anew(settings)}"
    )


def is_accepted(settings: Settings, topic: str, topic_id: str | None) -> bool:
    """Return whether the operator accepts a state topic as it is, by its id, or by its name where it has no id."""
    return _identity(topic, topic_id) in {name.strip() for name in settings.accepted_topics.split(",")}


def _identity(topic: str, topic_id: str | None) -> str:
    return topic_id or topic


def start_anew(settings: Settings) -> str:
    """Return the sentence that tells an operator how to begin anew where nothing can be put back."""
    return (
        f"start over with a new CROSSAISLE_APP_ID (now {settings.app_id!r}), "
        "which learns everything again from the events that the broker still has"
    )


def plan_replay(position: int | None, origin: Origin | None, log: Log, *, now_ms: int, remedy: str) -> int:
    """Return the changelog offset to replay from.

    Parameters
    ----------
    position, origin
        Of the local store: the next offset that it wants, None if the store is new, and what it was filled from.
    now_ms
        Present time, in milliseconds since 1970.
    remedy
        What the operator can do about a topic that is not what it was.

    Raises
    ------
    RecoveryError
        The topic was made anew or truncated. The store, which may be all that is left, is to be let alone.
    StaleStoreError
        The store may lack what the log, which is whole, no longer tells.
    """
    problem = "" if log.is_accepted else _lost(position, origin, log)
    stale = _stale(position, origin, log, now_ms) if position is not None else ""
    if not (problem or log.is_accepted) and log.begin > 0 and (position is None or stale):
        problem = f"{lacks(log.begin)}, and there is no local store that has them"
    if problem:
        message = f"changelog {log.topic}, partition {log.partition}: {problem}. To go on, {remedy}"
        raise RecoveryError(message)
    if stale:
        raise StaleStoreError(stale)
    return log.begin if position is None else position


def lacks(begin: int) -> str:
    """Return the words for a state topic whose first offset is not 0: compaction alone never moves it."""
    return f"the records before offset {begin} were deleted, and state with them"


def made_anew(topic: str, former_id: str, topic_id: str) -> str:
    """Return the words for a state topic that is not the one that the state was committed to."""
    return (
        f"topic {topic} was deleted and made anew (id {former_id} is now {topic_id}); what had been committed before "
        "is not in it"
    )


def _is_other(origin: Origin | None, log: Log) -> bool:
    return bool(origin and origin.topic_id and log.topic_id and origin.topic_id != log.topic_id)


def _lost(position: int | None, origin: Origin | None, log: Log) -> str:
    """Return how the local store shows that the topic is not what it was, or nothing."""
    if origin is not None and _is_other(origin, log):
        return made_anew(log.topic, str(origin.topic_id), str(log.topic_id))
    if position is not None and position > log.end:
        return (
            f"the local store is at offset {position}, but the topic ends at {log.end}; the topic was truncated or "
            "deleted and made anew"
        )
    return ""


def _stale(position: int, origin: Origin | None, log: Log, now_ms: int) -> str:
    """Return why a store may lack what the log no longer tells, or nothing.

    Compaction drops a tombstone ``delete.retention.ms`` after it has dropped what that removed. A store that had the
    page, and comes back later, would keep it for ever.
    """
    if _is_other(origin, log) or position > log.end:
        return "it was filled from an earlier topic of this name"
    if position < log.begin:
        return f"it wants offset {position}, the topic begins at {log.begin}"
    return "" if position + MARK >= log.end else _too_old(origin, log, now_ms)


def _too_old(origin: Origin | None, log: Log, now_ms: int) -> str:
    """Return why the log may not tell all that a store lacks that has missed something, or nothing."""
    if origin is None:
        return "it was written by an older version, does not tell as of when, and has missed records"
    margin_ms, age_ms = log.delete_retention_ms // _MARGIN, now_ms - origin.as_of_ms
    if age_ms < -margin_ms:
        return f"it is of a time that is {-age_ms} ms ahead of this machine's clock, and has missed records"
    if age_ms > log.delete_retention_ms - margin_ms:
        return (
            f"it has missed records and is {age_ms} ms old: delete.retention.ms of the topic is "
            f"{log.delete_retention_ms}, so that removals may be missing"
        )
    return ""


def check_clock(first_ms: int, origin: Origin | None, log: Log) -> None:
    """Make sure that the first record that a store lacks is not of a time before the store's.

    Parameters
    ----------
    first_ms
        Timestamp of the record, in milliseconds since 1970.

    Raises
    ------
    StaleStoreError
        It is: how old the store is cannot be known.
    """
    if origin is not None and first_ms < origin.as_of_ms - log.delete_retention_ms // _MARGIN:
        message = (
            "it is of a later time than records that it lacks: some machine's clock was wrong, and its age unknown"
        )
        raise StaleStoreError(message)
