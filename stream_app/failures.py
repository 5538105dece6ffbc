"""What a task does about its failures: how long it waits before it recovers, and when it gives up."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError, KafkaTimeoutError

from state.store import StoreDamagedError

if TYPE_CHECKING:
    from aiokafka import TopicPartition

MAX_FAILURES: Final = 8
"""Failures in a row, with no commit between them, after which a task gives up. Waiting for a broker is no failure."""

_MAX_BACKOFF_S = 5.0
_FIRST_BACKOFF_S = 0.1
_RETRY_S = 0.5
_WARN_EVERY_S = 30.0


class TaskFailedError(Exception):
    """A task fails every time it tries to go on; the message names the place and the remedy."""


def forget_frames(error: BaseException) -> None:
    """Let go of the variables in an error's traceback: who keeps the error would keep the rows of a closed task."""
    cleared: list[BaseException] = []
    chain: BaseException | None = error
    while chain is not None and chain not in cleared:
        traceback.clear_frames(chain.__traceback__)
        cleared.append(chain)
        chain = chain.__cause__ or chain.__context__


def _passes(error: BaseException) -> bool:
    """Whether an error is only that Kafka does not answer, or not yet; aiokafka wraps some in errors of other kinds."""
    looked_at: list[BaseException] = []
    cause: BaseException | None = error if isinstance(error, KafkaError) else None
    while cause is not None and cause not in looked_at:
        if isinstance(cause, KafkaTimeoutError) or (isinstance(cause, KafkaError) and cause.retriable):
            return True
        looked_at.append(cause)
        cause = cause.__cause__
    return False


class Failures:
    """The failures of one task since its last commit.

    Parameters
    ----------
    stage
        Name of the stage.
    source
        Partition of the input.
    log
        Bound to the task.

    Attributes
    ----------
    rebuild
        Whether the local store is damaged and must be made anew.
    """

    def __init__(self, stage: str, source: TopicPartition, log: Any) -> None:
        self.rebuild = False
        self._stage, self._source, self._log = stage, source, log
        self._n = 0
        self._warned_s = float("-inf")

    def reset(self) -> None:
        """Take note of a commit."""
        self._n = 0

    def note(self, error: Exception, offset: int | None) -> float:
        """Count a failure and return how long to wait before recovering, in seconds.

        Parameters
        ----------
        offset
            Input offset of the last commit, if there is a task open.

        Raises
        ------
        TaskFailedError
            It was one too many.
        """
        if isinstance(error, StoreDamagedError):
            self.rebuild = True
        if _passes(error):
            if time.monotonic() - self._warned_s > _WARN_EVERY_S:
                self._warned_s = time.monotonic()
                self._log.warning(
                    "task_interrupted", error=repr(error), remedy="none needed: recovers when Kafka answers"
                )
            return _RETRY_S
        self._n += 1
        if self._n >= MAX_FAILURES:
            where = "before it read from" if offset is None else f"after offset {offset} of"
            message = (
                f"stage {self._stage}, partition {self._source.partition}: failed {self._n} times in a "
                f"row {where} {self._source.topic}, last with {type(error).__name__}: {error}; nothing of it was "
                "committed. Mend the cause that the log shows and start the worker again"
            )
            raise TaskFailedError(message) from error
        self._log.error("task_failed", error=repr(error), n_failures=self._n, after_offset=offset, exc_info=error)
        return float(min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (self._n - 1)))
