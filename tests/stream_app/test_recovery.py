"""Tests of the checks that a checkpoint must pass before a task goes on from it."""

from __future__ import annotations

import msgspec
import pytest

from state.layout import STATE_FORMAT_VERSION
from stream_app.changelog import RecoveryError
from stream_app.processor import StageSpec
from stream_app.records import Checkpoint
from stream_app.recovery import CHECKPOINT_FORMAT_VERSION, check_changelog, check_checkpoint
from stream_app.settings import Settings
from stream_app.topic_facts import TopicFacts

SOURCE = TopicFacts("id-1", 4)


def _never(*_: object) -> None:
    raise AssertionError


SPEC = StageSpec("user", "events", "app.user-state", "app.user", 100, _never)  # type: ignore[arg-type]  # never called

GOOD = Checkpoint(
    format_version=CHECKPOINT_FORMAT_VERSION,
    stage="user",
    partition=1,
    n_partitions=4,
    input_topic="events",
    input_topic_id="id-1",
    input_offset=50,
    state={},
)


def check(checkpoint: Checkpoint, source: TopicFacts = SOURCE, *, begin: int = 0, end: int = 100) -> int:
    """Check a checkpoint of partition 1."""
    return check_checkpoint(msgspec.json.encode(checkpoint), SPEC, 1, source, begin, end, remedy="do this")


def check_topic(former: str | None, now: str | None, accepted: str = "") -> None:
    """Check a checkpoint of partition 1 that was committed to one topic, and stands in another."""
    raw = msgspec.json.encode(msgspec.structs.replace(GOOD, changelog_topic_id=former))
    check_changelog(raw, "user", 1, "app.user-state", TopicFacts(now, 4), Settings(accepted_topics=accepted))


def test_good_checkpoint_gives_its_offset() -> None:
    """A checkpoint that fits gives the offset to go on from, at both ends of the log too."""
    assert check(GOOD) == 50
    assert check(GOOD, begin=50, end=50) == 50


def test_broker_without_topic_ids_is_accepted() -> None:
    """Where ids are not told, now or then, they are not compared."""
    assert check(GOOD, TopicFacts(None, 4)) == 50
    assert check(msgspec.structs.replace(GOOD, input_topic_id=None)) == 50


def test_expired_events_are_skipped_not_repeated() -> None:
    """When Kafka has deleted events before they were read, the task goes on at the first one that is left."""
    assert check(GOOD, begin=60) == 60


@pytest.mark.parametrize(
    ("change", "source", "words"),
    [
        ({"format_version": CHECKPOINT_FORMAT_VERSION + 1}, SOURCE, "the checkpoint has format"),
        ({"state_format": STATE_FORMAT_VERSION + 1}, SOURCE, "state format 5, this version reads 4: start a worker of"),
        ({"stage": "item"}, SOURCE, "holds the state of stage item"),
        ({"partition": 2}, SOURCE, "partition 2"),
        ({"input_topic": "clicks"}, SOURCE, "read from clicks, not from events"),
        ({"input_topic_id": "id-0"}, SOURCE, "id id-0 is now id-1"),
        ({}, TopicFacts("id-1", 8), "has 8 partitions, the state was learned with 4"),
        ({"input_offset": 101}, SOURCE, "at offset 101 of events, which ends at 100"),
    ],
)
def test_checkpoint_that_does_not_fit_is_refused(change: dict[str, object], source: TopicFacts, words: str) -> None:
    """Whatever does not fit is an error that says what it is, where, and what to do."""
    checkpoint = msgspec.structs.replace(GOOD, **change)
    with pytest.raises(RecoveryError, match=rf"stage user, partition 1: .*{words}.* To go on, do this"):
        check(checkpoint, source)


def test_unreadable_checkpoint_is_refused() -> None:
    """A checkpoint record that is no checkpoint is an error, not a fresh start."""
    with pytest.raises(RecoveryError, match=r"cannot be read.*to go on, do this"):
        check_checkpoint(b"{}", SPEC, 1, SOURCE, 0, 100, remedy="do this")


@pytest.mark.parametrize(("former", "now"), [("c-1", "c-1"), (None, "c-1"), ("c-1", None)])
def test_changelog_that_is_the_same_or_not_told_is_accepted(former: str | None, now: str | None) -> None:
    """A checkpoint of an older version has no id of the changelog; it gets it with the next commit."""
    check_topic(former, now)


def test_checkpoint_of_an_older_version_is_read() -> None:
    """It lacks the field altogether."""
    raw = msgspec.json.decode(msgspec.json.encode(GOOD))
    del raw["changelog_topic_id"]
    assert check_checkpoint(msgspec.json.encode(raw), SPEC, 1, SOURCE, 0, 100, remedy="do this") == 50
    check_changelog(msgspec.json.encode(raw), "user", 1, "app.user-state", TopicFacts("c-1", 4), Settings())


def test_checkpoint_in_a_changelog_made_anew_is_refused() -> None:
    """It says what was committed for some seconds, not the state; the operator may accept exactly this topic."""
    words = (
        r"stage user, partition 1: topic app.user-state was .* \(id c-1 is now c-2\).*CROSSAISLE_ACCEPTED_TOPICS to c-2"
    )
    for accepted in ("", "c-1", "app.user-state"):
        with pytest.raises(RecoveryError, match=words):
            check_topic("c-1", "c-2", accepted)
    check_topic("c-1", "c-2", "c-0, c-2")
